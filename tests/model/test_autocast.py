"""Precisions by name."""

import pytest
import torch

from dcrnn_fast.model.precision import autocast

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("fp32", torch.float32), ("bf16x3", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_a_product_has_the_precisions_dtype_and_nothing_stays_behind(precision: str, dtype: torch.dtype) -> None:
    x = torch.ones(2, 2)
    with autocast(precision, CPU):
        assert (x @ x).dtype == dtype
    assert (x @ x).dtype == torch.float32
