"""Tests of the Triton kernels in Triton's interpreter. Only where TRITON_INTERPRET=1 was set before Python started:

    TRITON_INTERPRET=1 .venv/bin/python -m pytest tests/kernels/interpreted

``tests/kernels/test_triton_interpreter.py`` starts such a process in every run of the tests.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

if os.environ.get("TRITON_INTERPRET") != "1":
    collect_ignore_glob = ["test_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what is in this folder; pytest calls it for the items of all folders."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.gpu_kernels)


@pytest.fixture(autouse=True)
def _poisoned_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fresh memory is NaN: a kernel that does not write what it owns is found."""
    monkeypatch.delenv("DCRNN_FAST_TRITON", raising=False)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


# Moving values about is right in the interpreter, and so are casts.
MOVES = {
    "create_fp_ext", "create_fp_trunc", "create_fp_to_fp", "create_bitcast", "create_load", "create_masked_load",
    "create_store", "create_masked_store", "create_splat", "create_unsplat", "create_broadcast", "create_expand_dims",
    "create_reshape", "create_trans", "create_select", "create_join", "create_split", "create_cat", "create_gather",
    "create_addptr", "create_make_range", "create_get_program_id", "create_get_num_programs",
}  # fmt: skip


@pytest.fixture
def no_bfloat16_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every operation of the interpreter but moves and casts refuses bfloat16 operands."""
    import triton.language as tl  # not above: this file is imported where triton must not be, too
    from triton.runtime import interpreter

    def refusing(name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def checked(*operands: Any, **named: Any) -> Any:
            for operand in operands:
                kind = getattr(operand, "dtype", None)
                if kind is not None and getattr(kind, "scalar", None) == tl.bfloat16:
                    raise AssertionError(f"{name} on bfloat16")
            return operation(*operands, **named)

        return checked

    builder = interpreter.interpreter_builder
    for name in dir(builder):
        if name.startswith("create_") and name not in MOVES:
            monkeypatch.setattr(builder, name, refusing(name, getattr(builder, name)), raising=True)
