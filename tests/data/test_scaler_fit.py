"""The scaler against the reference's way: build every training window in float64 and take mean and std."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dcrnn_fast.data.scale_notes import scale_notes
from dcrnn_fast.data.scaler import Scaler, fit_scaler
from dcrnn_fast.errors import UserError
from tests.data.made_series import random_series


@given(
    num_steps=st.integers(5, 60),
    sensors=st.integers(1, 4),
    channels=st.integers(1, 3),
    past=st.integers(1, 5),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_equals_brute_force_over_all_windows(
    num_steps: int, sensors: int, channels: int, past: int, seed: int, data: st.DataObject
) -> None:
    series = random_series(num_steps, sensors, channels, seed=seed)
    starts = sorted(data.draw(st.sets(st.integers(0, num_steps - past), min_size=1)))
    rows_WP = np.array(starts)[:, None] + np.arange(past)
    values = series.values_TNC[rows_WP].astype(np.float64)
    observed = series.observed_TNC[rows_WP]
    if not all(any(_varies(values[..., n, c][observed[..., n, c]]) for n in range(sensors)) for c in range(channels)):
        return
    published = fit_scaler(series, np.array(starts), past, "published")
    np.testing.assert_allclose(published.mean, values.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(published.std, values.std(axis=(0, 1, 2)), rtol=1e-12)
    fitted = fit_scaler(series, np.array(starts), past, "observed")
    for c in range(channels):
        seen = values[..., c][observed[..., c]]
        np.testing.assert_allclose(fitted.mean[c], seen.mean(), rtol=1e-12)
        np.testing.assert_allclose(fitted.std[c], seen.std(), rtol=1e-10)
    own = fit_scaler(series, np.array(starts), past, "sensor")
    for n, c in np.ndindex(sensors, channels):
        seen = values[..., n, c][observed[..., n, c]]
        within = np.concatenate([_apart(values[..., m, c][observed[..., m, c]]) for m in range(sensors)])
        everything = values[..., c][observed[..., c]]
        spread = seen.std() if len(seen) and np.ptp(seen) else np.sqrt(np.mean(within**2))
        np.testing.assert_allclose(own.mean[n][c], seen.mean() if len(seen) else everything.mean(), rtol=1e-12)
        np.testing.assert_allclose(own.std[n][c], spread, rtol=1e-10)


def _varies(seen: np.ndarray) -> bool:
    return bool(len(seen) and np.ptp(seen))


def _apart(seen: np.ndarray) -> np.ndarray:
    return seen - seen.mean() if len(seen) else seen


def test_a_large_offset_keeps_its_small_spread() -> None:
    series = random_series(50, 2)
    values_TNC = (1e6 + np.arange(100).reshape(50, 2, 1) % 3).astype(np.float32)
    series = replace(series, values_TNC=values_TNC, observed_TNC=np.ones_like(values_TNC, dtype=bool))
    scaler = fit_scaler(series, np.arange(40), 5, "published")
    windows = values_TNC[np.arange(40)[:, None] + np.arange(5)].astype(np.float64)
    np.testing.assert_allclose(scaler.std[0], windows.std(), rtol=1e-9)


def test_there_and_back_for_arrays_and_tensors() -> None:
    scaler = Scaler((10.0, -1.0), (2.0, 0.5))
    values = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)
    scaled = scaler.transform(values)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaler.inverse(scaled), values, atol=1e-5)
    tensor = scaler.transform(torch.from_numpy(values).double())
    assert tensor.dtype == torch.float64
    np.testing.assert_allclose(tensor.numpy(), scaled, atol=1e-6)
    assert Scaler.from_state(scaler.to_state()) == scaler
    assert scaler.take((1,)) == Scaler((-1.0,), (0.5,))


def test_a_constant_channel_is_refused() -> None:
    series = random_series(30, 2)
    flat = replace(series, values_TNC=np.full_like(series.values_TNC, 7.0))
    with pytest.raises(UserError, match="'c0' is 7 throughout the training part"):
        fit_scaler(flat, np.arange(10), 5, "published")
    blind = replace(series, observed_TNC=np.zeros_like(series.observed_TNC))
    with pytest.raises(UserError, match="'c0' has no observed reading"):
        fit_scaler(blind, np.arange(10), 5, "observed")
    with pytest.raises(UserError, match="'c0' does not change in any sensor throughout the training part"):
        fit_scaler(flat, np.arange(10), 5, "sensor")
    for rule, named in (("zero", 1), ("nan", 0)):  # a flag of 0 and 1 has only ones where zeros are missing
        with pytest.raises(UserError, match="nothing to learn") as caught:
            fit_scaler(replace(flat, missing=rule), np.arange(10), 5, "observed")
        assert str(caught.value).count("zeros are missing readings here (missing: zero)") == named


def test_each_sensor_there_and_back_in_any_order() -> None:
    scaler = Scaler(((10.0, -1.0), (20.0, -2.0), (30.0, -3.0)), ((2.0, 0.5), (4.0, 0.25), (1.0, 1.0)))
    assert (scaler.per_sensor, scaler.num_channels, scaler.num_sensors) == (True, 2, 3)
    values = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)
    scaled = scaler.transform(values)
    np.testing.assert_allclose(scaled[:, 1, 0], (values[:, 1, 0] - 20) / 4, rtol=1e-6)
    np.testing.assert_allclose(scaler.inverse(torch.from_numpy(scaled)).numpy(), values, atol=1e-5)
    assert Scaler.from_state(scaler.to_state()) == scaler
    assert scaler.take((1,)) == Scaler(((-1.0,), (-2.0,), (-3.0,)), ((0.5,), (0.25,), (1.0,)))
    assert Scaler((1.0,), (2.0,)).num_sensors is None


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"mean": [0.0]}, "must hold mean and std, it holds mean"),
        ({"mean": [0.0, 1.0], "std": [1.0]}, r"it holds \(2,\) and \(1,\) numbers"),
        ({"mean": [[0.0], [1.0]], "std": [1.0, 1.0]}, r"it holds \(2, 1\) and \(2,\) numbers"),
        ({"mean": [[[0.0]]], "std": [[[1.0]]]}, "for each sensor and channel"),
        ({"mean": [], "std": []}, "for each sensor and channel"),
        ({"mean": [[0.0], [1.0, 2.0]], "std": [[1.0], [1.0]]}, "must hold numbers, as many for each sensor"),
        ({"mean": ["a"], "std": [1.0]}, "must hold numbers"),
        ({"mean": [0.0], "std": [0.0]}, "finite means and positive deviations"),
        ({"mean": [float("nan")], "std": [1.0]}, "finite means and positive deviations"),
        ({"mean": [0.0], "std": [float("inf")]}, "finite means and positive deviations"),
    ],
)
def test_a_state_that_is_no_scaler_is_refused(state: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Scaler.from_state(state)


def notes_of(values_TN: np.ndarray, how: str, observed_TN: np.ndarray | None = None) -> tuple[str, ...]:
    series = random_series(*values_TN.shape)
    observed = np.ones_like(series.observed_TNC) if observed_TN is None else observed_TN[..., None]
    series = replace(series, values_TNC=values_TN[..., None].astype(np.float32), observed_TNC=observed)
    starts = np.arange(len(values_TN) - 5)
    return scale_notes(series, starts, 5, fit_scaler(series, starts, 5, how), how)


def test_sensors_that_one_deviation_fits_badly_are_named_and_constant_ones_of_their_own() -> None:
    rng = np.random.default_rng(0)
    alike = 50 + 10 * rng.normal(size=(200, 6))
    assert notes_of(alike, "observed") == notes_of(alike, "sensor") == ()
    unlike = alike * [1, 1, 0.001, 1, 1, 1]
    (note,) = notes_of(unlike, "observed")
    assert note.startswith("look: one mean and deviation of 'c0' (")
    assert "fit 1 of 6 sensors ('s2') badly, s2 has 0.05" in note
    assert note.endswith("--scaler sensor gives each its own")
    assert notes_of(unlike, "sensor") == ()
    assert "--scaler observed does not count missing readings as 0, --scaler sensor" in notes_of(unlike, "published")[0]
    dead = np.where(np.arange(6) == 4, 7.0, alike)
    assert notes_of(dead, "observed") == (), "a constant is scaled well by any deviation"
    unseen = np.broadcast_to(np.arange(6) != 1, alike.shape)
    (note,) = notes_of(dead, "sensor", unseen)
    assert note.startswith("look: 2 of 6 sensors ('s1', 's4') have no two different readings of 'c0' in the training")


def test_readings_that_float32_hardly_tells_apart_are_named() -> None:
    values = 2_000_000 + np.random.default_rng(0).normal(size=(100, 3))
    (note,) = notes_of(values, "observed")
    assert "where float32 has steps of 0.125: subtract a constant" in note
