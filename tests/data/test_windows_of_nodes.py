"""Windows gathered of some nodes alone are the columns of those of all, bit for bit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.dataset import Batch, ForecastData
from dcrnn_fast.data.device_windows import DeviceWindows, series_bytes
from dcrnn_fast.data.opening import assemble_data
from tests.data.made_series import random_series, ring

NODES = np.array([5, 0, 3])
"""in no order: they are gathered in ascending order"""
STARTS = np.array([3, 70, 3, 41])


def made_data(folder: Path, **choices: object) -> ForecastData:
    """Seven sensors of two channels, readings with more digits than float32 holds, memory-mapped."""
    series = random_series(80, 7, 2, seed=5)
    for name in ("values_TNC", "observed_TNC"):
        np.save(folder / name, getattr(series, name))
        series = replace(series, **{name: np.load(folder / f"{name}.npy", mmap_mode="r")})
    rest_TNC = np.random.default_rng(0).uniform(-1e-6, 1e-6, series.values_TNC.shape).astype(np.float32)
    series = replace(series, rest_TNC=rest_TNC * series.observed_TNC)
    return assemble_data(series, ring(series), DataConfig(past_steps=4, future_steps=3, **choices))  # type: ignore[arg-type]


@pytest.mark.parametrize("missing_input", ["zero", "last", "mean"])
@pytest.mark.parametrize("scaler", ["observed", "sensor"])
@pytest.mark.parametrize("targets", [(), ("c1", "c0")])
def test_own_windows_are_columns_of_the_whole(
    tmp_path: Path, missing_input: str, scaler: str, targets: tuple[str, ...]
) -> None:
    data = made_data(tmp_path, missing_input=missing_input, scaler=scaler, targets=targets)
    assert data.all_digits
    own, whole = data.of_nodes(NODES), data.gather(STARTS)
    windows = DeviceWindows(own, torch.device("cpu"))
    columns = torch.tensor([0, 3, 5])
    for batch in (own.gather(STARTS), windows.batch(STARTS)):
        assert isinstance(batch, Batch)
        for name in ("x_BPNC", "y_BFNO", "observed_BFNO", "labels_BFNO"):
            got = getattr(batch, name)
            assert got.is_contiguous()
            assert torch.equal(got, getattr(whole, name)[:, :, columns]), name
    assert windows.count_observed(STARTS).tolist() == own.gather(STARTS).count_observed().tolist()
    others = data.of_nodes(np.array([1, 2, 4, 6])).gather(STARTS)
    assert (own.gather(STARTS).count_observed() + others.count_observed()).tolist() == whole.count_observed().tolist()


def gathered_bytes(data: ForecastData) -> int:
    batch = data.gather(STARTS)
    return sum(tensor.nbytes for tensor in (batch.x_BPNC, batch.y_BFNO, batch.observed_BFNO, batch.labels_BFNO))


def test_own_windows_take_memory_of_their_nodes_alone(tmp_path: Path) -> None:
    data = made_data(tmp_path)
    own = data.of_nodes(NODES)
    assert gathered_bytes(own) * 7 == gathered_bytes(data) * 3
    held = vars(DeviceWindows(own, torch.device("cpu"))).values()
    assert series_bytes(own) == sum(t.nbytes for t in held if isinstance(t, torch.Tensor) and t.shape[:1] == (80,))
