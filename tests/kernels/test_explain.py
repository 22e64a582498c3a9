"""``dcrnn_fast.explain`` says what runs and why."""

import json

import pytest
import torch

import dcrnn_fast
from dcrnn_fast.kernels.explain import explanation, facts
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


def test_facts_are_plain_values_and_say_what_is_printed() -> None:
    require_library()
    known = json.loads(json.dumps(facts(torch.bfloat16)))
    said = explanation(torch.bfloat16)
    assert not known["library"]["broken"]
    assert known["library"]["reason"] is None
    assert f"CPU unit for bfloat16: {known['units']['chosen']}\n" in said
    for operator, choice in known["operators"].items():
        assert f"\n{operator}: {choice['chosen']}" in said
    assert (known["gpu"]["reason"] is None) == bool(known["gpu"]["devices"])


def test_says_why_the_kernels_are_passed_by() -> None:
    said = explanation(torch.float16)
    assert "dcrnn_seq2seq: manual\n  not cpu: no kernels for torch.float16" in said
