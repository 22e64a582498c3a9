"""The readers on public data as it is published."""

from pathlib import Path

import numpy as np
import pytest

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.opening import open_data
from dcrnn_fast.errors import UserError


def test_metr_la_20(real_data: Path) -> None:
    config = DataConfig(data=str(real_data / "metr_la_20/metr_la_20.npz"), scaler="published")
    data = open_data(config, GraphConfig())
    assert data.series.missing == "zero"  # zeros, and no other mark
    assert (len(data.train), len(data.validation), len(data.test)) == (23974, 3425, 6850)
    assert data.series.channels == ("speed",)
    assert (data.series.num_sensors, data.graph.num_nodes, data.series.freq) == (20, 20, "5min")
    assert 1 - data.series.observed_TNC.mean() == pytest.approx(0.0785, abs=1e-4)
    assert str(data.series.times_T[0]) == "2012-03-01T00:00:00"
    rows_WP = data.train.starts_W[:, None] + np.arange(12)
    windows = data.series.values_TNC[rows_WP].astype(np.float64)
    assert data.scaler.mean[0] == pytest.approx(windows.mean(), rel=1e-12)
    assert data.scaler.std[0] == pytest.approx(windows.std(), rel=1e-12)


def test_los_loop(real_data: Path) -> None:
    folder = real_data / "los_loop"
    config = DataConfig(data=str(folder / "los_speed.csv"), start="2012-03-01", freq="5min", missing="none")
    data = open_data(config, GraphConfig(graph=str(folder / "los_adj.csv")))
    assert data.series.values_TNC.shape == (2016, 207, 1)
    assert data.series.ids[:2] == ("773869", "767541")
    assert data.series.observed_TNC.all()


def test_the_hague_matches_by_position_only(real_data: Path) -> None:
    folder = real_data / "the_hague"
    config = DataConfig(data=str(folder / "DH.h5"), missing="none", past_steps=36, future_steps=8)
    with pytest.raises(UserError, match="17 of the 123 series ids are not in the graph: '711051'"):
        open_data(config, GraphConfig(graph=str(folder / "adj_mx.pkl")))
    data = open_data(config, GraphConfig(graph=str(folder / "adj_mx.pkl"), match="position"))
    assert data.graph.num_edges == 2224
    assert data.series.freq == "15min"
    assert len(data.train) + len(data.validation) + len(data.test) == 2880 - 43
    with pytest.raises(UserError, match="no table under the key 'speed'; the keys there: df"):
        open_data(DataConfig(data=str(folder / "DH.h5"), hdf5_key="speed"), GraphConfig())


def test_the_hague_by_name(real_data: Path, tmp_path: Path) -> None:
    (tmp_path / "the-hague").symlink_to(real_data / "the_hague")
    data = open_data(DataConfig(data="the-hague", data_folder=str(tmp_path)), GraphConfig())
    assert data.window_format.missing == "none"
    assert data.series.channels == ("vehicles",)
    assert data.graph.num_edges == 2224
    assert data.graph.ids == data.series.ids


def test_navy_winds(real_data: Path) -> None:
    config = DataConfig(
        data=str(real_data / "navy_winds/monthly_navy_winds.cdf"),
        missing="nan",
        targets=("UWND", "VWND"),
        time_of_day=False,
        past_steps=6,
        future_steps=3,
    )
    data = open_data(config, GraphConfig())
    assert data.series.values_TNC.shape == (132, 73 * 144, 2)
    assert data.series.segments == ((0, 132),)
    assert data.graph.num_nodes == 73 * 144
    assert data.gather(data.train.starts_W[:2]).x_BPNC.shape == (2, 6, 10512, 2)
