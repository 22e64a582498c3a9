"""The stretch of forecasts that a report shows, as plain values: the best, the median and the worst sensor.

Shape legend: L levels, F future steps, V windows of the stretch, R rows, N nodes, O target channels.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from dcrnn_fast.evaluation.report import Report

_DIGITS = 6


def shown_sensors(mae_N: NDArray[np.float64]) -> dict[str, int]:
    """The best, the median and the worst sensor by their errors; of fewer than three with an error the worst alone."""
    order = np.argsort(mae_N, kind="stable")[: int(np.isfinite(mae_N).sum())]
    if not order.size:
        return {}
    if len(order) < 3:
        return {"worst": int(order[-1])}
    return {"best": int(order[0]), "median": int(order[len(order) // 2]), "worst": int(order[-1])}


def plain_series(report: "Report", channel: int) -> dict[str, Any] | None:
    """Times, readings, the forecasts of the last horizon, and the bounds of the highest level's interval; None: no two
    windows follow each other.
    """
    trace = report.trace
    if trace is None:
        return None
    step = max(trace.forecasts)
    times_V, forecast_VNO = trace.forecasts[step]
    truth_VNO = trace.truth_RNO[np.searchsorted(trace.times_R, times_V)]
    mae_N = report.methods[report.model_name].by_sensor(channel=channel).mae
    level, half_width_N = None, None
    if report.intervals is not None:
        intervals = report.intervals.intervals
        level, half_width_N = intervals.levels[-1], intervals.half_width_LFNO[-1, step - 1, :, channel]
    sensors = []
    for rank, node in shown_sensors(mae_N).items():
        forecast_V = forecast_VNO[:, node, channel]
        one = {
            "id": report.ids[node],
            "rank": rank,
            "mae": float(mae_N[node]),
            "observed": _plain(truth_VNO[:, node, channel]),
            "forecast": _plain(forecast_V),
        }
        if report.intervals is not None and half_width_N is not None and math.isfinite(half_width_N[node]):
            lower_V = forecast_V - half_width_N[node]
            if report.intervals.at_least is not None:
                lower_V = np.maximum(lower_V, np.float32(report.intervals.at_least))
            one |= {"lower": _plain(lower_V), "upper": _plain(forecast_V + half_width_N[node])}
        sensors.append(one)
    times = [str(time) for time in times_V]
    return {"horizon": report.horizons[step - 1], "level": level, "times": times, "sensors": sensors}


def _plain(values_V: NDArray[np.float32]) -> list[float | None]:
    return [float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None for value in values_V.tolist()]
