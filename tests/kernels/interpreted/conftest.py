"""Tests of the Triton kernels in Triton's interpreter. Only where TRITON_INTERPRET=1 was set before Python started:

    TRITON_INTERPRET=1 .venv/bin/python -m pytest tests/kernels/interpreted

``tests/kernels/test_triton_interpreter.py`` starts such a process in every run of the tests.
"""

import os
from collections.abc import Iterator

import pytest
import torch

if os.environ.get("TRITON_INTERPRET") != "1":
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(autouse=True)
def _poisoned_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fresh memory is NaN: a kernel that does not write what it owns is found."""
    monkeypatch.delenv("DCRNN_FAST_TRITON", raising=False)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
