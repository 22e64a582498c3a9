"""The choice of a backend: its names, what importing it costs, what torch.compile makes of it, variables."""

import subprocess
import sys
from typing import get_args

import pytest
import torch

from dcrnn_fast.config import training
from dcrnn_fast.errors import is_of_the_user
from dcrnn_fast.kernels import diffusion_conv, dispatch
from dcrnn_fast.kernels.dispatch import Backend, constant_when_traced
from dcrnn_fast.kernels.explain import OPERATORS, facts
from dcrnn_fast.kernels.gpu.words import read_words
from dcrnn_fast.kernels.native import why_not_cpu
from dcrnn_fast.kernels.variables import VariableError
from tests.checkout import ROOT
from tests.kernels.compiled import require_library
from tests.kernels.operators import Case, convolution_leaves, make_terms

HEAVY = ("torch._dynamo", "torch._inductor", "sympy", "triton", "scipy", "pandas", "matplotlib")


def test_the_flag_and_the_operators_have_the_same_backends() -> None:
    assert get_args(Backend) == get_args(training.Backend)
    for implementations in OPERATORS.values():
        assert {one.name for one in implementations} == {*get_args(Backend)} - {"auto"}


def test_neither_the_import_nor_a_training_step_on_the_cpu_loads_a_compiler() -> None:
    require_library()
    program = f"""
import sys, torch
from dcrnn_fast.kernels import DiffusionTerms, diffusion_conv
start, node, one = torch.tensor([0, 1, 2, 3]).int(), torch.tensor([1, 2, 0]).int(), torch.ones(3)
terms = DiffusionTerms(start, node, one, start, node, one, 3, 2)
weight = torch.randn(8, 5, requires_grad=True)
diffusion_conv(torch.randn(2, 3, 4), terms, weight).sum().backward()
print([name for name in {HEAVY} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_constants_are_marked_as_torch_marks_them() -> None:
    def ours() -> int:
        return 1

    def theirs() -> int:
        return 1

    assert vars(constant_when_traced(ours)) == vars(torch.compiler.assume_constant_result(theirs)) != {}


def test_a_compiled_program_takes_the_choice_for_a_constant() -> None:
    require_library()
    case = Case()
    x_BNC, weight_IO, bias_O = (tensor.detach() for tensor in convolution_leaves(case, torch.float32))
    terms = make_terms(case, torch.float32)
    compiled = torch.compile(lambda: diffusion_conv(x_BNC, terms, weight_IO, bias_O), fullgraph=True, backend="eager")
    assert torch.equal(compiled(), diffusion_conv(x_BNC, terms, weight_IO, bias_O))


def test_a_variable_that_names_nothing_is_the_users_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    require_library()
    with pytest.raises(VariableError, match="DCRNN_FAST_TRITON: unknown word 'foo'") as words:
        read_words("tile,foo")
    monkeypatch.setenv("DCRNN_FAST_CPU", "sse9")
    for ask in (facts, lambda: why_not_cpu(torch.zeros(1))):
        with pytest.raises(VariableError, match="DCRNN_FAST_CPU is 'sse9'") as unit:
            ask()
    assert is_of_the_user(words.value)
    assert is_of_the_user(unit.value)
    assert not is_of_the_user(ValueError("DCRNN_FAST_CPU: not by its words"))


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, True),
        ({"RANK": "1"}, True),
        ({"RANK": "0", "WORLD_SIZE": "2"}, True),
        ({"RANK": "1", "WORLD_SIZE": "2"}, False),
    ],
)
def test_a_rank_that_an_ordinary_shell_has_left_silences_no_note(
    variables: dict[str, str], said: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    dispatch._say.cache_clear()
    dispatch._say("a backend was chosen")
    assert ("a backend was chosen" in caplog.text) == said
    dispatch._say.cache_clear()
