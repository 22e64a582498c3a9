"""Masked metrics against figures worked out by hand, a slow loop, and torchmetrics."""

import math

import numpy as np
import pytest
import torch
import torchmetrics
from hypothesis import given
from hypothesis import strategies as st

from dcrnn_fast.evaluation.metrics import HorizonSums

B, F, N, O = 7, 4, 5, 2  # noqa: E741 (the letters of the shape legend)


def some_forecasts(seed: int = 0, missing: float = 0.3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = 60 + 10 * torch.randn(B, F, N, O, generator=generator)
    prediction = target + 3 * torch.randn(B, F, N, O, generator=generator)
    observed = torch.rand(B, F, N, O, generator=generator) >= missing
    return prediction, target, observed


def sums_of(prediction: torch.Tensor, target: torch.Tensor, observed: torch.Tensor) -> HorizonSums:
    sums = HorizonSums(*prediction.shape[1:])
    sums.add(prediction, target, observed)
    return sums


def test_five_off_a_hundred_is_mae_five_and_mape_five_percent() -> None:
    everything = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    scores = sums_of(torch.full((1, 1, 1, 1), 95.0), torch.full((1, 1, 1, 1), 100.0), everything).overall()
    assert (scores.mae, scores.rmse, scores.mape, scores.count) == (5.0, 5.0, 0.05, 1)


def test_cumulative_pools_horizons_and_at_horizon_does_not() -> None:
    # Errors 1 (three observed) and 5 (one observed): a mean of means would give 3.
    target = torch.tensor([[[[10.0], [10.0], [10.0]], [[10.0], [10.0], [10.0]]]])
    prediction = target + torch.tensor([1.0, 5.0]).reshape(1, 2, 1, 1)
    observed = torch.tensor([[[[True], [True], [True]], [[True], [False], [False]]]])
    sums = sums_of(prediction, target, observed)
    np.testing.assert_allclose(sums.by_horizon("at").mae, [1, 5])
    np.testing.assert_allclose(sums.by_horizon("cumulative").mae, [1, 2])
    np.testing.assert_allclose(sums.by_horizon("cumulative").rmse, [1, math.sqrt(28 / 4)])
    np.testing.assert_array_equal(sums.by_horizon("cumulative").count, [3, 4])


def test_every_figure_equals_a_loop_over_the_readings() -> None:
    prediction, target, observed = some_forecasts()
    target[0, 0, 0, 0] = 0.0  # a real zero: counts for MAE and RMSE, has no relative error
    observed[0, 0, 0, 0] = True
    sums = sums_of(prediction, target, observed)

    def by_loop(b: list[int], f: list[int], n: list[int], o: list[int]) -> tuple[float, float, float, int]:
        pairs = [
            (float(prediction[i, h, s, c]), float(target[i, h, s, c]))
            for i in b
            for h in f
            for s in n
            for c in o
            if observed[i, h, s, c]
        ]
        errors = [abs(p - t) for p, t in pairs]
        relative = [abs(p - t) / abs(t) for p, t in pairs if t != 0]
        return (
            sum(errors) / len(errors),
            math.sqrt(sum(e * e for e in errors) / len(errors)),
            sum(relative) / len(relative),
            len(errors),
        )

    every = {"b": list(range(B)), "f": list(range(F)), "n": list(range(N)), "o": list(range(O))}
    for step in range(F):
        for channel in (None, 0, 1):
            picked = every | ({} if channel is None else {"o": [channel]})
            for kind, steps in (("at", [step]), ("cumulative", list(range(step + 1)))):
                scores = sums.by_horizon(kind, channel)
                got = (scores.mae[step], scores.rmse[step], scores.mape[step], scores.count[step])
                assert got == pytest.approx(by_loop(**(picked | {"f": steps})), rel=1e-12)
    for node in range(N):
        scores = sums.by_sensor(channel=1)
        got = (scores.mae[node], scores.rmse[node], scores.mape[node], scores.count[node])
        assert got == pytest.approx(by_loop(**(every | {"n": [node], "o": [1]})), rel=1e-12)
        assert sums.by_sensor(horizon=2).mae[node] == pytest.approx(by_loop(**(every | {"n": [node], "f": [1]}))[0])
    overall = sums.overall()
    got = (float(overall.mae), float(overall.rmse), float(overall.mape), int(overall.count))
    assert got == pytest.approx(by_loop(**every), rel=1e-12)


def test_agrees_with_torchmetrics_where_nothing_is_missing() -> None:
    prediction, target, _ = some_forecasts()
    scores = sums_of(prediction, target, torch.ones_like(target, dtype=torch.bool)).by_horizon()
    for step in range(F):
        p, t = prediction[:, step].reshape(-1).double(), target[:, step].reshape(-1).double()
        assert scores.mae[step] == pytest.approx(float(torchmetrics.functional.mean_absolute_error(p, t)))
        assert scores.rmse[step] == pytest.approx(
            float(torchmetrics.functional.mean_squared_error(p, t, squared=False))
        )
        assert scores.mape[step] == pytest.approx(float(torchmetrics.functional.mean_absolute_percentage_error(p, t)))


@given(cut=st.integers(0, B), seed=st.integers(0, 50))
def test_batches_and_ranks_add_up_to_one_pass(cut: int, seed: int) -> None:
    prediction, target, observed = some_forecasts(seed)
    parts = [sums_of(x[:cut], y[:cut], m[:cut]) for x, y, m in [(prediction, target, observed)]]
    parts.append(sums_of(prediction[cut:], target[cut:], observed[cut:]))
    reduced = HorizonSums(F, N, O)
    for part in parts:
        reduced.sums_SFNO += part.sums_SFNO  # what all_reduce does
    np.testing.assert_allclose(
        reduced.by_horizon().rmse, sums_of(prediction, target, observed).by_horizon().rmse, rtol=1e-13
    )


def test_a_horizon_without_an_observed_target_is_nan_and_spoils_nothing() -> None:
    prediction, target, observed = some_forecasts()
    observed[:, 1] = False
    target[:, 1] = math.nan  # what lies at a missing target is never read
    prediction[:, 1] = math.nan
    scores = sums_of(prediction, target, observed).by_horizon()
    assert np.isnan([scores.mae[1], scores.rmse[1], scores.mape[1]]).all()
    assert scores.count[1] == 0
    cumulative = sums_of(prediction, target, observed).by_horizon("cumulative")
    assert not np.isnan(cumulative.mae).any()
    assert cumulative.mae[1] == cumulative.mae[0]


def test_a_nan_forecast_of_an_observed_target_is_not_hidden() -> None:
    prediction, target, observed = some_forecasts()
    observed[0, 2, 0, 0] = True
    prediction[0, 2, 0, 0] = math.nan
    assert np.isnan(sums_of(prediction, target, observed).by_horizon().mae[2])


def test_small_errors_of_a_long_test_set_survive() -> None:
    sums = HorizonSums(1, 1)
    ones = torch.ones(1, 1, 1, 1)
    sums.add(1e9 * ones, 0 * ones, ones.bool())
    for _ in range(100):
        sums.add(0.01 * ones, 0 * ones, ones.bool())
    assert float(sums.overall().mae) * 101 - 1e9 == pytest.approx(1.0, rel=1e-4)


def test_shapes_that_disagree_are_refused() -> None:
    prediction, target, observed = some_forecasts()
    with pytest.raises(ValueError, match="target must be"):
        HorizonSums(F, N, O).add(prediction, target[:, :2], observed)


def test_wape_is_the_sum_of_errors_over_the_sum_of_targets() -> None:
    prediction, target, observed = some_forecasts()
    scores = sums_of(prediction, target, observed).by_horizon()
    for step in range(F):
        seen = observed[:, step]
        error = (prediction[:, step] - target[:, step]).double().abs()[seen]
        assert scores.wape[step] == pytest.approx(float(error.sum() / target[:, step].double().abs()[seen].sum()))
    nothing = torch.zeros(1, 1, 1, 1)
    assert math.isnan(sums_of(nothing + 1, nothing, nothing == 0).overall().wape)
