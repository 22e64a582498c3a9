"""The scaler against the reference's way: build every training window in float64 and take mean and std."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

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
    if not all(np.ptp(values[..., c][observed[..., c]]) if observed[..., c].any() else 0 for c in range(channels)):
        return
    published = fit_scaler(series, np.array(starts), past, "published")
    np.testing.assert_allclose(published.mean, values.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(published.std, values.std(axis=(0, 1, 2)), rtol=1e-12)
    fitted = fit_scaler(series, np.array(starts), past, "observed")
    for c in range(channels):
        seen = values[..., c][observed[..., c]]
        np.testing.assert_allclose(fitted.mean[c], seen.mean(), rtol=1e-12)
        np.testing.assert_allclose(fitted.std[c], seen.std(), rtol=1e-10)


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
