"""A graph that ranks share: the same training as on one process, of any layout, with the same mistakes refused."""

from pathlib import Path

import numpy as np
import pytest

from dcrnn_fast.config.training import TrainingConfig
from dcrnn_fast.errors import UserError
from dcrnn_fast.idle import refuse_idle_in_training
from tests.training.node_programs import STEPS
from tests.training.rank_programs import debug_config
from tests.training.rank_server import RankServer

SMALL = (
    *("--city-nodes", "12", "--city-days", "3", "--max-train-windows", "40", "--past-steps", "3"),
    *("--future-steps", "4", "--hidden-units", "4", "--num-layers", "2", "--global-batch-size", "8"),
    *("--sampling-decay", "5", "--backend", "manual"),
)
"""twelve sensors, a third of whose targets is missing; coins of both sides within ten steps"""


def trained(
    rank_server: RankServer,
    folder: Path,
    world: int,
    parts: int,
    source: str,
    *flags: str,
    dtype: str = "float64",
    seconds: float = 120,
) -> dict:
    """``ten_steps`` of so many processes, that many of which share a graph."""
    name = f"{world}of{parts}"
    flags = (*flags, "--node-parallel", str(parts))
    rank_server.run(
        folder / f"job{name}", world, "node_programs:ten_steps", str(folder / name), source, dtype, *flags,
        seconds=seconds,
    )  # fmt: skip
    return dict(np.load(folder / f"{name}.npz"))


def assert_same(shared: dict, whole: dict, tolerance: float) -> None:
    """The maximal error over the maximal value of each array."""
    assert shared["outcomes"][:, 2].tolist() == whole["outcomes"][:, 2].tolist(), "observed targets"
    for name in sorted(whole.keys() - {"sent"}):
        error = np.abs(shared[name] - whole[name]).max() / np.abs(whole[name]).max()
        assert error <= tolerance, (name, error)
    assert whole["sent"] == 0
    assert shared["sent"] > 0


@pytest.mark.parametrize(
    ("world", "parts", "source", "more"),
    [
        (2, 2, "uneven", ("--batch-size", "4", "--known-ahead", "calendar")),
        pytest.param(4, 2, "uneven", ("--batch-size", "2", "--loss", "rmse"), marks=pytest.mark.slow),
        pytest.param(4, 4, "uneven", ("--batch-size", "4", "--scaler", "sensor"), marks=pytest.mark.slow),
        pytest.param(
            3,
            3,
            "islands",
            ("--batch-size", "8", "--loss-unit", "deviation", "--ema-decay", "0.9"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_ten_steps_are_those_of_one_process(
    tmp_path: Path, rank_server: RankServer, world: int, parts: int, source: str, more: tuple[str, ...]
) -> None:
    """In float64, where only rounding can differ: missing targets, coins, several targets, a sensor's own scaler,
    sensors without a link.
    """
    flags = (*SMALL, *more)
    whole = trained(rank_server, tmp_path, 1, 1, source, *flags)
    assert len(whole["outcomes"]) == STEPS
    assert len(set(whole["outcomes"][:, 2].tolist())) > 3, "windows differ in their missing targets"
    shared = trained(rank_server, tmp_path, world, parts, source, *flags)
    assert_same(shared, whole, 1e-10)


def test_what_cannot_be_shared_is_refused_in_one_line() -> None:
    for name in ("compile", "cuda_graphs"):
        with pytest.raises(UserError, match=f"^{name} must be off with node_parallel, whose exchange"):
            TrainingConfig(node_parallel=2, **{name: True})  # type: ignore[arg-type]
    with pytest.raises(UserError, match="node_parallel must be at least 1, got 0"):
        TrainingConfig(node_parallel=0)
    with pytest.raises(UserError, match="--graph-partition needs --node-parallel of at least 2"):
        refuse_idle_in_training(debug_config("--graph-partition", "metis"), ["--graph-partition"], on_gpu=False)


@pytest.mark.prove
@pytest.mark.timeout(1300)
@pytest.mark.parametrize(
    ("world", "parts", "dtype", "loss", "save", "tolerance"),
    [
        (2, 2, "float64", "mae", "all", 1e-8),
        (4, 4, "float32", "mse", "segments:4", 1e-4),
        (4, 2, "float32", "mse", "h", 1e-4),
    ],
)
@pytest.mark.parametrize(
    ("source", "flags"),
    [
        ("metr_la_graph/adj_mx.pkl", ("--batch-size", "4")),
        ("pems_bay_graph/adj_mx_bay.pkl", ("--batch-size", "4")),
        ("city", ("--batch-size", "2", "--city-nodes", "2000", "--city-days", "2")),
    ],
    ids=["metr-la", "pems-bay", "2000"],
)
def test_ten_steps_on_large_graphs(
    tmp_path: Path,
    rank_server: RankServer,
    real_data: Path,
    world: int,
    parts: int,
    dtype: str,
    loss: str,
    save: str,
    tolerance: float,
    source: str,
    flags: tuple[str, ...],
) -> None:
    """In float32 with squared errors: the gradient of an absolute error changes its sign by rounding near 0, so that
    two backends of one process differ by 1e-4 after ten steps.
    """
    source = source if source == "city" else str(real_data / source)
    flags = (*flags, "--global-batch-size", "8", "--hidden-units", "16", "--num-layers", "2", "--sampling-decay", "5")
    flags = (*flags, "--loss", loss)
    whole = trained(rank_server, tmp_path, 1, 1, source, *flags, dtype=dtype, seconds=600)
    shared = trained(rank_server, tmp_path, world, parts, source, *flags, "--save", save, dtype=dtype, seconds=600)
    assert_same(shared, whole, tolerance)


@pytest.mark.prove
@pytest.mark.timeout(1300)
def test_absolute_errors_in_float32_differ_as_two_backends_of_one_process_do(
    tmp_path: Path, rank_server: RankServer, real_data: Path
) -> None:
    """The gradient of an error near 0 is its sign, which rounding turns: norms that agreed to 1e-7 then jump by 2e-4.

    It happens after the same steps between two backends of one process, and in float64 not at all. A bias whose values
    are small shows it first, at more than 1e-4 of its own largest value; of the largest weight it is 3e-5.
    """
    source = str(real_data / "metr_la_graph/adj_mx.pkl")
    flags = ("--batch-size", "4", "--global-batch-size", "8", "--hidden-units", "16", "--num-layers", "2")
    flags = (*flags, "--sampling-decay", "5", "--loss", "mae")

    def run(folder: str, parts: int, backend: str) -> dict:
        words = (*flags, "--backend", backend)
        return trained(
            rank_server, tmp_path / folder, parts, parts, source, *words, dtype="float32", seconds=600,
        )  # fmt: skip

    whole = run("whole", 1, "cpu")
    largest = max(np.abs(whole[name]).max() for name in whole.keys() - {"sent", "outcomes"})
    for other in (run("manual", 1, "manual"), run("shared", 2, "cpu")):
        np.testing.assert_allclose(other["outcomes"][:4, 1], whole["outcomes"][:4, 1], rtol=1e-6)
        for name in whole.keys() - {"sent", "outcomes"}:
            assert np.abs(other[name] - whole[name]).max() <= 1e-4 * largest, name
