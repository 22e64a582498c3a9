"""``dcrnn_fast.explain`` says what runs and why."""

import pytest
import torch

import dcrnn_fast
from dcrnn_fast.kernels.explain import explanation
from dcrnn_fast.kernels.native import library
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


def test_names_a_unit_for_each_storage_type(monkeypatch: pytest.MonkeyPatch) -> None:
    require_library()
    monkeypatch.delenv("DCRNN_FAST_CPU", raising=False)
    module = library().module
    assert module is not None
    lacking = {name for name, why_not in module.cpu_units() if why_not}
    said = explanation()
    for storage, fastest in (
        ("float32", ["avx512", "avx2", "generic"]),
        ("bfloat16", ["amx", "avx512_bf16", "avx512", "avx2", "generic"]),
    ):
        chosen = next(name for name in fastest if name not in lacking)
        assert f"CPU unit for {storage}: {chosen}\n" in said
    assert ("  not avx512_bf16: it has nothing for float32\n" in said) == ("avx512_bf16" not in lacking)
    monkeypatch.setenv("DCRNN_FAST_CPU", "avx512")
    if "avx512" not in lacking:
        assert "CPU unit for bfloat16: avx512\n" in explanation(torch.bfloat16)


def test_float64_is_generic() -> None:
    require_library()
    assert "CPU unit for float64: generic\n" in explanation(torch.float64)
