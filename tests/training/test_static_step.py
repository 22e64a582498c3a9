"""The step with fixed shapes: the same training as launch by launch, nothing in it that a CUDA graph cannot hold."""

import copy
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.training import TrainingConfig
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.device_windows import DeviceWindows
from dcrnn_fast.data.opening import open_data
from dcrnn_fast.errors import UserError
from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.ranks.stopping import StopRequest
from dcrnn_fast.training.fit import fit
from dcrnn_fast.training.loop import validate
from dcrnn_fast.training.progress import Outcome
from dcrnn_fast.training.run import Run, make_run
from dcrnn_fast.training.static_step import StaticStep
from dcrnn_fast.training.step import EagerStep
from tests.capture_lint import CaptureLint
from tests.training.rank_programs import debug_config

TINY = ("--city-nodes", "5", "--city-days", "3", "--max-train-windows", "39", "--max-validation-windows", "20")


def quiet(_: str) -> None:
    pass


def two_runs(*flags: str) -> tuple[Run, Run]:
    config = debug_config(*TINY, "--batch-size", "8", *flags)
    data = open_data(config.data, config.graph)
    return make_run(config, data, Ranks()), make_run(config, data, Ranks())


def epoch_of(run: Run, stepper: EagerStep | StaticStep) -> list[Outcome]:
    run.model.train()
    outcomes = [stepper.take(batch, k, 2.0**-7, StopRequest()) for k, batch in enumerate(run.batches.epoch(0))]
    return [outcome for outcome in outcomes if outcome is not None]


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--loss", "rmse", "--accumulate", "3", "--teacher-forcing", "off", "--known-ahead", "calendar"),
        ("--loss", "huber", "--precision", "bf16", "--teacher-forcing", "on"),
        ("--loss", "mse", "--optimizer", "adamw", "--weight-decay", "0.1", "--backend", "manual"),
    ],
    ids=" ".join,
)
def test_static_and_eager_steps_train_alike(flags: tuple[str, ...]) -> None:
    eager, static = two_runs(*flags)
    wanted, got = epoch_of(eager, EagerStep(eager)), epoch_of(static, StaticStep(static, quiet))
    assert len(wanted) == len(got) == math.ceil(39 / (8 * eager.config.training.accumulate))
    precise = eager.config.training.precision == "fp32"
    for one, other in zip(wanted, got, strict=True):
        assert (one.observed, one.finite) == (other.observed, other.finite)
        assert other.loss == pytest.approx(one.loss, rel=1e-5 if precise else 1e-2)
        assert other.norm == pytest.approx(one.norm, rel=1e-4 if precise else 0.05)
    if precise:
        for one, other in zip(eager.model.parameters(), static.model.parameters(), strict=True):
            torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)


def test_a_series_on_the_device_serves_training_and_validation(monkeypatch) -> None:
    """The same bits as windows from the host, and none is gathered there."""
    host, device = two_runs("--known-ahead", "calendar")
    device.device_windows = DeviceWindows(device.data, torch.device("cpu"))
    wanted = epoch_of(host, EagerStep(host)), validate(host, StopRequest())
    monkeypatch.setattr(ForecastData, "gather", None)
    got = epoch_of(device, EagerStep(device)), validate(device, StopRequest())
    assert got[0] == wanted[0]
    assert got[1] is not None
    assert wanted[1] is not None
    assert got[1].overall() == wanted[1].overall()


@pytest.mark.parametrize("there", [True, False], ids=["series_there", "series_on_the_host"])
def test_a_step_can_be_captured(there: bool) -> None:
    _, run = two_runs("--backend", "manual", "--accumulate", "2", "--known-ahead", "calendar")
    if there:
        run.device_windows = DeviceWindows(run.data, torch.device("cpu"))
    stepper = StaticStep(run, quiet)
    with CaptureLint() as lint:
        stepper.micro_batch()
        stepper.update()
    assert lint.calls > 500


def test_a_series_that_does_not_fit_the_device_stays_on_the_host(monkeypatch) -> None:
    """A captured step reads what the host gathered, at addresses that stay; the same bits as from the device."""
    device, host = two_runs("--accumulate", "2", "--known-ahead", "calendar")
    device.device_windows = DeviceWindows(device.data, torch.device("cpu"))
    wanted = epoch_of(device, StaticStep(device, quiet))
    monkeypatch.setattr(DeviceWindows, "__init__", None)
    stepper = StaticStep(host, quiet)
    before = addresses(stepper)
    assert len(before) == 5
    assert epoch_of(host, stepper) == wanted
    assert addresses(stepper) == before


def addresses(stepper: StaticStep) -> list[int]:
    """Where a captured step reads its windows."""
    batch = stepper._windows.gather(stepper._starts_B)
    return [tensor.data_ptr() for name in batch.__slots__ if isinstance(tensor := getattr(batch, name), torch.Tensor)]


class Streams:
    """``torch.cuda`` as far as a capture asks of it: what is the current stream, and a capture that cannot be ended."""

    def __init__(self) -> None:
        self.current, self.synchronized = "default", 0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        streams = self

        class Stream:
            def __init__(self, *_: object) -> None:
                self.name = "beside"

            def wait_stream(self, other: object) -> None:
                pass

        class Entered:
            def __init__(self, stream: Stream) -> None:
                self.stream = stream

            def __enter__(self) -> None:
                self.before, streams.current = streams.current, self.stream.name

            def __exit__(self, *_: object) -> None:
                streams.current = self.before

        class Graph:
            def capture_begin(self, *_: object, **__: object) -> None:
                pass

            def capture_end(self) -> None:
                raise RuntimeError("operation failed due to a previous error during capture")

        def current_stream(device: object = None) -> Stream:
            stream = Stream()
            stream.name = streams.current
            return stream

        def synchronize(device: object = None) -> None:
            streams.synchronized += 1

        fakes = {
            "Stream": Stream, "stream": Entered, "CUDAGraph": Graph, "current_stream": current_stream,
            "set_stream": lambda stream: setattr(streams, "current", stream.name), "synchronize": synchronize,
            "empty_cache": lambda: None,
        }  # fmt: skip
        for name, fake in fakes.items():
            monkeypatch.setattr(torch.cuda, name, fake)
        monkeypatch.setattr(torch.cuda.graph, "default_capture_stream", None)
        monkeypatch.setattr(torch._C, "_host_emptyCache", lambda: None, raising=False)


def test_a_capture_that_fails_leaves_the_stream_as_it_was(monkeypatch) -> None:
    _, run = two_runs()
    said: list[str] = []
    stepper = StaticStep(run, quiet)
    run.ranks = Ranks(device=torch.device("cuda", 0))
    streams = Streams()
    streams.install(monkeypatch)

    def waits() -> None:
        if streams.current not in ("default", "beside"):
            raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(stepper, "_micro_batch", waits)
    monkeypatch.setattr(torch.cuda.graph, "default_capture_stream", SimpleNamespace(name="capture"))
    stepper._capture(said.append)
    assert streams.current == "default"
    assert streams.synchronized
    assert stepper.micro_batch == StaticStep._micro_batch.__get__(stepper)
    assert said == [
        "cuda graphs: the capture failed (operation not permitted when stream is capturing); "
        "the same step runs launch by launch"
    ]


def test_an_error_of_the_warm_up_is_no_failed_capture(monkeypatch) -> None:
    _, run = two_runs()
    stepper = StaticStep(run, quiet)
    run.ranks = Ranks(device=torch.device("cuda", 0))
    Streams().install(monkeypatch)

    def wrong() -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(stepper, "_micro_batch", wrong)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        stepper._capture(quiet)


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: torch.tensor(1.0) + x,
        lambda x: torch.repeat_interleave(x, torch.arange(3)),
    ],
)
def test_the_lint_sees_what_cannot_be_captured(wait) -> None:
    with pytest.raises(RuntimeError, match="cannot stand in a CUDA graph"), CaptureLint():
        wait(torch.linspace(-1, 1, 3))


def test_the_lint_sees_an_item_inside_an_operator() -> None:
    """There it is not yet the operator that it is made of."""
    x, refused = torch.ones(()), pytest.raises(RuntimeError, match="cannot stand in a CUDA graph")
    with refused, CaptureLint(), torch._C._AutoDispatchBelowAutograd():
        x.item()


def test_a_wait_inside_an_operator_of_ours_is_seen(monkeypatch) -> None:
    from dcrnn_fast.kernels.dcrnn_seq2seq import manual

    before = manual._decoder_input

    def waits(t, prediction_FNBO, labels_FNBO, feed_label_F, known_FNBK):
        if t and feed_label_F[t - 1]:
            return labels_FNBO[t - 1]
        return before(t, prediction_FNBO, labels_FNBO, feed_label_F, known_FNBK)

    _, run = two_runs("--backend", "manual")
    stepper = StaticStep(run, quiet)
    monkeypatch.setattr(manual, "_decoder_input", waits)
    with pytest.raises(RuntimeError, match="cannot stand in a CUDA graph"), CaptureLint():
        stepper.micro_batch()


def test_warming_up_changes_nothing() -> None:
    _, run = two_runs()
    before = copy.deepcopy(run.model.state_dict())
    StaticStep(run, quiet)
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())
    for state in run.optimizer.state.values():
        assert not state["exp_avg"].any()
        assert not state["exp_avg_sq"].any()
        assert state["step"] == 0


def test_a_bad_step_moves_neither_weights_nor_moments() -> None:
    _, run = two_runs()
    run.device_windows = DeviceWindows(run.data, torch.device("cpu"))
    stepper = StaticStep(run, quiet)
    batches = list(run.batches.epoch(0))
    good = stepper.take(batches[0], 0, 0.01, StopRequest())
    assert good is not None
    assert good.finite
    before = copy.deepcopy((run.model.state_dict(), run.optimizer.state_dict()["state"]))
    run.device_windows._values_TNC.fill_(math.nan)  # only windows' inputs and targets; counting is the host's
    bad = stepper.take(batches[1], 1, 0.01, StopRequest())
    assert bad is not None
    assert not bad.finite
    assert all(torch.equal(value, before[0][name]) for name, value in run.model.state_dict().items())
    for number, state in run.optimizer.state_dict()["state"].items():
        assert all(torch.equal(value, before[1][number][name]) for name, value in state.items())


def test_fit_says_that_a_cpu_has_no_graphs_and_resumes_either_way(tmp_path: Path, capsys) -> None:
    flags = (*TINY, "--batch-size", "8", "--save-every-epochs", "1", "--results")
    whole = fit(debug_config(*flags, str(tmp_path / "whole"), "--epochs", "3", "--cuda-graphs"))
    assert capsys.readouterr().out.count("cuda graphs: the device is cpu; the same step runs launch by launch") == 1
    fit(debug_config(*flags, str(tmp_path / "half"), "--epochs", "1", "--cuda-graphs"))
    static = fit(debug_config(*flags, str(tmp_path / "half"), "--epochs", "3", "--cuda-graphs", "--resume", "auto"))
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, static.model.state_dict()[name])
    eager = fit(
        debug_config(
            *flags, str(tmp_path / "eager"), "--epochs", "3", "--resume",
            str(tmp_path / "half" / "checkpoints" / "epoch_0001.pt"),
        )
    )  # fmt: skip
    assert "cuda_graphs: was True, now False" in capsys.readouterr().out
    rows = [row["train_loss"] for row in whole.history], [row["train_loss"] for row in eager.history]
    np.testing.assert_allclose(rows[0], rows[1], rtol=1e-4)


def test_fp16_is_refused() -> None:
    with pytest.raises(UserError, match="cuda_graphs must be off with fp16"):
        Config(training=TrainingConfig(cuda_graphs=True, precision="fp16"))
