"""``dcrnn_fast.explain`` says what runs and why."""

import pytest
import torch

import dcrnn_fast
from dcrnn_fast.kernels.explain import explanation
from tests.kernels.compiled import require_library


def test_names_the_unit_and_every_reason(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    require_library()
    monkeypatch.setenv("DCRNN_FAST_CPU", "generic")
    dcrnn_fast.explain()
    said = capsys.readouterr().out
    assert "CPU unit for float32: generic\n" in said
    assert "\n  not avx2: " in said
    assert "\ndcrnn_seq2seq: cpu\n" in said
    assert "\ndiffusion_conv: cpu" in said


def test_says_why_the_kernels_are_passed_by() -> None:
    said = explanation(torch.float16)
    assert "dcrnn_seq2seq: manual\n  not cpu: no kernels for torch.float16" in said
