"""The diffusion terms as tensors, and the choice between a dense and a sparse product."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from bench.cases import SHAPES, Case, make_operators, make_terms
from dcrnn_fast.kernels import DiffusionTerms
from dcrnn_fast.kernels.diffusion_conv.plain import stacked_operator


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("case", SHAPES)
def test_stack_is_the_operators_below_each_other(case: Case, transposed: bool) -> None:
    operators = make_operators(case)[1:]
    matrix = stacked_operator(make_terms(case, torch.float64), torch.float64, transposed=transposed).matrix.to_dense()
    wanted = [operator.T.toarray() if transposed else operator.toarray() for operator in operators]
    np.testing.assert_array_equal(matrix.numpy(), np.vstack([np.zeros((0, case.N)), *wanted]))


def test_the_sparse_graph_takes_the_sparse_product_and_the_dense_one_the_dense() -> None:
    dense, sparse = (make_terms(shape.values[0], torch.float32) for shape in (SHAPES[0], SHAPES[3]))
    assert stacked_operator(dense, torch.float32, transposed=False).matrix.layout == torch.strided
    assert stacked_operator(sparse, torch.float32, transposed=False).matrix.layout == torch.sparse_csr


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_dense_and_sparse_products_agree(dtype: torch.dtype) -> None:
    terms = make_terms(Case(N=71, M=3, density=0.02), dtype)
    x_NR = torch.randn(71, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    operator = stacked_operator(terms, dtype, transposed=False)
    dense = operator.matrix.to_dense().double() @ x_NR.double()
    torch.testing.assert_close(operator.apply(x_NR).double(), dense, rtol=2 * torch.finfo(dtype).eps, atol=1e-6)


def test_refuses_what_are_no_terms() -> None:
    eye = sp.csr_array(sp.eye_array(3))
    with pytest.raises(ValueError, match="at least the identity"):
        DiffusionTerms.from_operators([])
    with pytest.raises(ValueError, match="first operator must be the identity"):
        DiffusionTerms.from_operators([2 * eye])
    with pytest.raises(ValueError, match=r"operator 1 is \(4, 4\), the first is 3 nodes"):
        DiffusionTerms.from_operators([eye, sp.csr_array(sp.eye_array(4))])
