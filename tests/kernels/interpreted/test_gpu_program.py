"""What ``pytest -m gpu`` runs, run here: nobody should find its mistakes on the first GPU."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.cases import Case
from tests.conftest import GOLDEN
from tests.gpu import test_on_gpu as program
from tests.kernels.emulated import emulated_operators

CPU = torch.device("cpu")
TINY = Case(B=1, P=1, F=2, N=3, C=1, O=1, H=3, L=1, M=2)


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(program, "require_compiled", lambda: None)
    with emulated_operators():
        yield


@pytest.mark.parametrize("backend", program.BACKENDS)
def test_small_cases(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program.test_the_encoder_decoder_equals_float64(CPU, monkeypatch, TINY, torch.float32, backend)


@pytest.mark.slow
@pytest.mark.parametrize("backend", program.BACKENDS)
def test_known_channels(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program.test_the_encoder_decoder_equals_float64(CPU, monkeypatch, replace(TINY, K=2), torch.float32, backend)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["triton", "cuda"])
def test_states_alone(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(B=1, P=3, F=2, N=3, C=1, O=1, H=8, L=1, M=2)
    program.test_states_alone_give_the_same(CPU, monkeypatch, case, "segments:2", backend)


@pytest.mark.slow
@pytest.mark.parametrize("backend", program.BACKENDS)
@pytest.mark.parametrize("dtype", program.DTYPES, ids=str)
@pytest.mark.parametrize("case", [shape for shape in program.SHAPES if shape.id in ("small_dense", "no_diffusion")])
def test_the_corners(case: Case, dtype: torch.dtype, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program.test_the_encoder_decoder_equals_float64(CPU, monkeypatch, case, dtype, backend)


@pytest.mark.slow
def test_golden_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "golden").mkdir()
    for name in ("dual_k0_l1.npz", "dual_k3_l1.npz"):  # 8 units, and 4
        (tmp_path / "golden" / name).write_bytes((GOLDEN / name).read_bytes())
    (tmp_path / "taken").mkdir()
    program.test_golden_vectors(CPU, monkeypatch, tmp_path / "golden", tmp_path / "taken", "cuda")
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["dual_k0_l1.npz"]
