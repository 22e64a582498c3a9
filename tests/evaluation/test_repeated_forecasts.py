"""A forecaster that has forecast before forecasts as a new one would, whatever became of its model meanwhile."""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import dcrnn_fast
from dcrnn_fast.forecaster import Forecaster
from dcrnn_fast.model.dcrnn import DCRNN
from tests.evaluation.small_city import SmallCity, make_small_city


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> SmallCity:
    return make_small_city(tmp_path_factory.mktemp("city"))


@pytest.fixture
def forecaster(city: SmallCity) -> Forecaster:
    """One whose arguments have been checked, and used again."""
    made = dcrnn_fast.load(city.checkpoint, device="cpu")
    for _ in range(3):
        made.forecast(readings(city))
    return made


def readings(city: SmallCity) -> pd.DataFrame:
    series = city.data.series
    return pd.DataFrame(series.values_TNC[:9, :, 0], pd.DatetimeIndex(series.times_T[:9]), list(series.ids))


def in_place(model: DCRNN) -> None:
    with torch.no_grad():
        model.encoder[0].gate_weight.add_(0.1)  # type: ignore[operator, union-attr]


def other_parameter(model: DCRNN) -> None:
    model.decoder[1].candidate_bias = nn.Parameter(torch.full((8,), 0.3))


def other_data(model: DCRNN) -> None:
    model.projection.weight.data = 2 * model.projection.weight.data


def other_buffer(model: DCRNN) -> None:
    model.diffusion.value = 0.5 * model.diffusion.value  # type: ignore[operator, assignment]


def other_backend(model: DCRNN) -> None:
    model.backend = "specification"


def hook(model: DCRNN) -> None:
    model.register_forward_hook(lambda module, given, output: output + 1)


@pytest.mark.parametrize("change", [in_place, other_parameter, other_data, other_buffer, other_backend, hook])
def test_a_changed_model_is_used_as_it_is_now(
    city: SmallCity, forecaster: Forecaster, change: Callable[[DCRNN], None]
) -> None:
    before = forecaster.forecast(readings(city)).values_FNO
    change(forecaster.model)  # type: ignore[arg-type]
    now = forecaster.forecast(readings(city)).values_FNO
    assert not np.array_equal(now, before)
    np.testing.assert_array_equal(now, replace(forecaster).forecast(readings(city)).values_FNO)


def a_wrong_variable(model: DCRNN, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCRNN_FAST_CPU", "abacus")


def a_wrong_backend(model: DCRNN, monkeypatch: pytest.MonkeyPatch) -> None:
    model.backend = "abacus"


def doubled_in_place(model: DCRNN, monkeypatch: pytest.MonkeyPatch) -> None:
    model.encoder[0].gate_weight.data = model.encoder[0].gate_weight.data.double()  # type: ignore[union-attr]


def shorter_in_place(model: DCRNN, monkeypatch: pytest.MonkeyPatch) -> None:
    model.encoder[0].gate_weight.data = model.encoder[0].gate_weight.data[1:]  # type: ignore[index, union-attr]


@pytest.mark.parametrize("fault", [a_wrong_variable, a_wrong_backend, doubled_in_place, shorter_in_place])
def test_a_model_that_cannot_run_any_more_is_refused_in_the_same_words(
    city: SmallCity,
    forecaster: Forecaster,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[DCRNN, pytest.MonkeyPatch], None],
) -> None:
    fault(forecaster.model, monkeypatch)  # type: ignore[arg-type]
    with pytest.raises((ValueError, TypeError)) as new:
        replace(forecaster).forecast(readings(city))
    for _ in range(2):
        with pytest.raises(new.type, match=f"^{re.escape(str(new.value))}$"):
            forecaster.forecast(readings(city))


def test_autocast_around_a_forecast_counts(city: SmallCity, forecaster: Forecaster) -> None:
    exact = forecaster.forecast(readings(city)).values_FNO
    with torch.autocast("cpu", torch.bfloat16):
        low = forecaster.forecast(readings(city)).values_FNO
        np.testing.assert_array_equal(low, replace(forecaster).forecast(readings(city)).values_FNO)
    assert not np.array_equal(low, exact)
    np.testing.assert_array_equal(forecaster.forecast(readings(city)).values_FNO, exact)
