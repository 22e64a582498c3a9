"""What only a GPU can show: ``python -m pytest -m gpu`` on a machine with one.

Shape legend: see ``bench/cases.py``.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import dcrnn_fast
from bench.cases import KNOWN_SHAPES, MANUAL, SHAPES, Case, assert_within_budget, make_seq2seq, make_terms
from dcrnn_fast import verify
from dcrnn_fast.data.dataset import Batch
from dcrnn_fast.data.device_windows import DeviceWindows
from dcrnn_fast.data.opening import open_data
from dcrnn_fast.errors import UserError
from dcrnn_fast.kernels import CellWeights, DiffusionTerms, dcrnn_seq2seq
from dcrnn_fast.kernels.native import library
from dcrnn_fast.kernels.selfcheck import kept
from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.ranks.stopping import StopRequest
from dcrnn_fast.training.fit import fit
from dcrnn_fast.training.run import Run, make_run
from dcrnn_fast.training.static_step import StaticStep
from dcrnn_fast.training.step import EagerStep
from tests.training.rank_programs import debug_config

pytestmark = pytest.mark.gpu

BACKENDS = ["specification", "manual", "triton", "cuda"]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
TINY = ("--city-nodes", "20", "--city-days", "3", "--max-train-windows", "39", "--max-validation-windows", "20")
LARGE = Case(B=16, P=12, F=12, N=207, C=2, O=1, H=64, L=2, M=5, density=0.04)


@pytest.fixture(scope="module")
def gpu() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU here, or this PyTorch was built without CUDA")
    return torch.device("cuda", 0)


def on(device: torch.device, terms: DiffusionTerms) -> DiffusionTerms:
    return DiffusionTerms.from_tensors([t.to(device) for t in terms.tensors], terms.num_nodes, terms.num_terms)


def taken(backend: str, case: Case, monkeypatch: pytest.MonkeyPatch) -> Case:
    """The case as ``backend`` computes it: ``cuda`` diffuses by tiles and takes units in eights; skips without it."""
    if backend == "cuda":
        require_compiled()
        monkeypatch.setenv("DCRNN_FAST_TRITON", "tile,fused")
        return replace(case, H=-(-case.H // 8) * 8)
    return case


def require_compiled() -> None:
    facts = library().facts
    if "cuda" not in facts:
        pytest.skip(f"no CUDA kernels were compiled: {facts.get('no_cuda', library().reason)}")


def results(case: Case, dtype: torch.dtype, backend: str, device: torch.device, save: str = "all") -> list[Tensor]:
    """The prediction and all gradients of the encoder-decoder, on the host."""
    inputs = make_seq2seq(case)
    leaves = [tensor.detach().to(device, dtype).requires_grad_() for tensor in inputs.differentiable]
    x, labels, weight, bias, *flat = leaves
    known = flat.pop() if case.K else None
    cells = [CellWeights(*flat[k : k + 4]) for k in range(0, len(flat), 4)]
    prediction = dcrnn_seq2seq(
        x, on(device, make_terms(case, dtype)), cells[: case.L], cells[case.L :], weight, bias, future_steps=case.F,
        labels_BFNO=labels, feed_label_F=inputs.feed_label_F.to(device), known_BFNK=known, backend=backend, save=save,
    )  # fmt: skip
    # No label is read where none is fed.
    gradients = torch.autograd.grad(prediction.double().square().sum(), leaves, materialize_grads=True)
    return [tensor.detach().cpu() for tensor in (prediction, *gradients)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", [*SHAPES, *KNOWN_SHAPES, pytest.param(LARGE, id="metr_la_size")])
def test_the_encoder_decoder_equals_float64(gpu, monkeypatch, case: Case, dtype: torch.dtype, backend: str) -> None:
    case = taken(backend, case, monkeypatch)
    truth = results(case, torch.float64, "specification", torch.device("cpu"))
    plain = results(case, dtype, "specification", gpu)
    times = MANUAL if (backend, dtype) == ("manual", torch.float32) else 2
    assert_within_budget(results(case, dtype, backend, gpu), plain, truth, times)


@pytest.mark.parametrize("backend", ["manual", "triton", "cuda"])
def test_results_repeat_bit_for_bit(gpu, monkeypatch, backend: str) -> None:
    case = taken(backend, LARGE, monkeypatch)
    one, other = (results(case, torch.bfloat16, backend, gpu) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("backend", ["triton", "cuda"])
@pytest.mark.parametrize("save", ["h", "segments:5"])
@pytest.mark.parametrize("case", [pytest.param(LARGE, id="metr_la_size")])
def test_states_alone_give_the_same(gpu, monkeypatch, case: Case, save: str, backend: str) -> None:
    """The prediction and the gradients of inputs and labels to the bit, the weights' within the error budget."""
    case = taken(backend, case, monkeypatch)
    truth = results(case, torch.float64, "specification", torch.device("cpu"))
    plain = results(case, torch.bfloat16, "specification", gpu)
    got, everything = (results(case, torch.bfloat16, backend, gpu, how) for how in (save, "all"))
    assert all(torch.equal(a, b) for a, b in zip(got[:3], everything[:3], strict=True))
    assert_within_budget(got, plain, truth)


def test_states_alone_take_less_memory(gpu) -> None:
    peaks = []
    for save in ("all", "segments:3", "h"):
        torch.cuda.reset_peak_memory_stats(gpu)
        results(LARGE, torch.bfloat16, "triton", gpu, save)
        peaks.append(torch.cuda.max_memory_allocated(gpu))
    assert peaks[0] > 1.5 * max(peaks[1:])


@pytest.mark.timeout(1200)  # it compiles some 240 kernels
def test_every_kernel_passes_its_self_check(gpu, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv(kept.CACHE_VARIABLE, str(tmp_path))
    assert [verdict for verdict in dcrnn_fast.selfcheck(gpu) if verdict.problem] == []


@pytest.mark.parametrize("backend", ["triton", "cuda"])
def test_golden_vectors(gpu, monkeypatch, golden_dir: Path, tmp_path: Path, backend: str) -> None:
    taken(backend, LARGE, monkeypatch)
    for path in golden_dir.glob("*.npz"):
        with np.load(path) as archive:
            if backend != "cuda" or json.loads(str(archive["config"]))["rnn_units"] % 8 == 0:
                shutil.copy(path, tmp_path)
    assert verify.main(["--golden", str(tmp_path), "--backend", backend, "--device", gpu.type]) == 0


def open_run(device: torch.device, *flags: str) -> Run:
    config = debug_config(*TINY, "--batch-size", "8", "--device", "cuda", *flags)
    return make_run(config, open_data(config.data, config.graph), Ranks(device=device))


def losses_of(run: Run, make: Callable[[Run], EagerStep | StaticStep]) -> list[float]:
    stepper = make(run)
    run.model.train()
    outcomes = [stepper.take(batch, k, 0.01, StopRequest()) for k, batch in enumerate(run.batches.epoch(0))]
    return [outcome.loss for outcome in outcomes if outcome is not None]


@pytest.mark.parametrize("backend", ["manual", "triton", "cuda"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("save", ["all", "segments:2"])
def test_a_captured_step_trains_as_an_eager_one(gpu, monkeypatch, backend: str, precision: str, save: str) -> None:
    if backend == "manual" and save != "all":
        pytest.skip("refused: manual keeps everything")
    taken(backend, LARGE, monkeypatch)
    said: list[str] = []
    flags = ("--backend", backend, "--precision", precision, "--save", save)
    eager = losses_of(open_run(gpu, *flags), EagerStep)
    static = losses_of(open_run(gpu, *flags), lambda run: StaticStep(run, said.append))
    assert said == ["cuda graphs: captured, one for a micro-batch and one for the update"]
    np.testing.assert_allclose(static, eager, rtol=1e-3 if precision == "fp32" else 2e-2)


def test_a_failed_capture_trains_on_launch_by_launch(gpu, monkeypatch) -> None:
    """A micro-batch that waits for the device cannot be captured; nothing of the attempt stays behind."""
    eager = losses_of(open_run(gpu, "--backend", "manual"), EagerStep)
    predict, said = Run.predict, list[str]()

    def waits(run: Run, batch: Batch, feed_label_F: Tensor | None = None) -> Tensor:
        forecast = predict(run, batch, feed_label_F)
        forecast.detach().sum().item()
        return forecast

    monkeypatch.setattr(Run, "predict", waits)
    static = losses_of(open_run(gpu, "--backend", "manual"), lambda run: StaticStep(run, said.append))
    assert said[0].startswith("cuda graphs: the capture failed (")
    assert torch.cuda.current_stream(gpu) == torch.cuda.default_stream(gpu)
    np.testing.assert_allclose(static, eager, rtol=1e-3)


def test_a_series_that_does_not_fit_is_captured_too(gpu) -> None:
    """Each step's windows come from the host, to where the graph reads them."""
    said: list[str] = []

    def on_the_host(run: Run) -> StaticStep:
        run.device_windows = None
        return StaticStep(run, said.append)

    eager = losses_of(open_run(gpu, "--backend", "manual"), EagerStep)
    static = losses_of(open_run(gpu, "--backend", "manual"), on_the_host)
    assert said == ["cuda graphs: captured, one for a micro-batch and one for the update"]
    np.testing.assert_allclose(static, eager, rtol=1e-3)


def test_windows_are_gathered_on_the_gpu(gpu) -> None:
    run = open_run(gpu)
    assert run.device_windows is not None
    starts = run.data.train.starts_W[:5]
    host, device = run.data.gather(starts), DeviceWindows(run.data, gpu).batch(starts)
    torch.testing.assert_close(device.x_BPNC.cpu(), host.x_BPNC, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(device.y_BFNO.cpu(), host.y_BFNO, rtol=0, atol=0)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("graphs", [(), ("--cuda-graphs",)], ids=["eager", "graphs"])
def test_training_learns_and_resumes(gpu, tmp_path: Path, precision: str, graphs: tuple[str, ...]) -> None:
    if precision == "fp16" and graphs:
        pytest.skip("refused: the loss scale of fp16 moves")
    # The first loss scales of fp16 overflow: with several steps an epoch, each has one that counts.
    batches = ("--batch-size", "4") if precision == "fp16" else ()
    flags = (
        *TINY, *graphs, *batches, "--precision", precision, "--device", "cuda", "--results", str(tmp_path), "--epochs",
    )  # fmt: skip
    first = fit(debug_config(*flags, "4"))
    assert first.history[-1]["train_loss"] < 0.8 * first.history[0]["train_loss"]
    second = fit(debug_config(*flags, "6", "--resume", "auto"))
    assert second.epochs == 6


def test_out_of_memory_names_what_fits(gpu, tmp_path: Path) -> None:
    torch.cuda.set_per_process_memory_fraction(0.005)
    try:
        with pytest.raises(UserError, match=r"GPU out of memory .*--batch-size \d+ --accumulate \d+"):
            fit(
                debug_config(
                    "--city-nodes", "400", "--city-days", "6", "--batch-size", "512", "--hidden-units", "128",
                    "--device", "cuda", "--results", str(tmp_path),
                )
            )  # fmt: skip
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
