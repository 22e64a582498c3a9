"""Prediction intervals from a model's errors on windows that validate.

Shape legend: B batch, W windows, L levels, F future steps, N nodes, O target channels, K sensors' steps and targets.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.windows import evenly
from dcrnn_fast.evaluation.intervals import Intervals, level_label, level_words, rank_of, windows_needed
from dcrnn_fast.messages import counted, first_few

_MOST_ERRORS = 1 << 26
"""that are kept, 256 MiB: all of 27,000 windows of 207 sensors and 12 steps, 501 windows of 11,160"""
_FEWEST_WINDOWS = 100
_SORTED_AT_ONCE = 1 << 20


class Calibration(NamedTuple):
    """Intervals, if any level can be had, and lines about them."""

    intervals: Intervals | None
    notes: tuple[str, ...]


def calibration_windows(data: ForecastData, starts_W: NDArray[np.int64], limit: int | None = None) -> NDArray[np.int64]:
    """The first rows of the windows to take errors from: all, or evenly spread as many as ``limit`` or memory allow."""
    form = data.window_format
    errors = form.future_steps * data.graph.num_nodes * form.output_channels
    return evenly(starts_W, max(_FEWEST_WINDOWS, _MOST_ERRORS // errors) if limit is None else limit)


class AbsoluteErrors:
    """|reading - forecast| of W windows, float32, original units, on the host.

    ``errors_WFNO`` is 0 before ``add``, so that the shares of several ranks add up to the whole; NaN where the target
    was not observed; infinite where the forecast was not finite.
    """

    def __init__(self, num_windows: int, future_steps: int, num_nodes: int, num_targets: int) -> None:
        self.errors_WFNO = torch.zeros(num_windows, future_steps, num_nodes, num_targets)

    def add(
        self,
        places_B: NDArray[np.int64],
        forecast_BFNO: Tensor,
        y_BFNO: Tensor,
        observed_BFNO: Tensor,
        nodes: NDArray[np.int64] | None = None,
    ) -> None:
        """Put the errors of a batch in their places.

        Args:
            places_B: numbers of these windows, from 0 on.
            nodes: whose forecasts these are; None: all.
        """
        error_BFNO = (forecast_BFNO - y_BFNO).abs().nan_to_num_(nan=torch.inf, posinf=torch.inf)
        error_BFNO = error_BFNO.masked_fill_(~observed_BFNO, torch.nan).to("cpu", torch.float32)
        places = torch.from_numpy(places_B)
        if nodes is None:
            self.errors_WFNO[places] = error_BFNO
        else:
            self.errors_WFNO[places[:, None], :, torch.from_numpy(nodes)] = error_BFNO.transpose(1, 2)

    def half_widths(self, levels: Sequence[float]) -> NDArray[np.float32]:
        """(L, F, N, O): of each level the ceil((n + 1) level)-th smallest of n observed errors; NaN if there are fewer,
        or if that one is infinite.
        """
        errors_WK = self.errors_WFNO.flatten(1).numpy()
        windows, cells = errors_WK.shape
        half_width_LK = np.empty((len(levels), cells), dtype=np.float32)
        at_once = max(1, _SORTED_AT_ONCE // windows)
        for first in range(0, cells, at_once):
            some = slice(first, first + at_once)
            sorted_KW = np.ascontiguousarray(errors_WK[:, some].T)
            sorted_KW.sort(axis=1)  # NaN last, infinity before it
            count_K = windows - np.isnan(sorted_KW).sum(axis=1)
            for index, level in enumerate(levels):
                rank_K = rank_of(count_K, level)
                place_K = np.minimum(rank_K, windows) - 1
                value_K = np.take_along_axis(sorted_KW, place_K[:, None], axis=1)[:, 0]
                half_width_LK[index, some] = np.where((rank_K <= count_K) & np.isfinite(value_K), value_K, np.nan)
        return half_width_LK.reshape(len(levels), *self.errors_WFNO.shape[1:])

    def most_observed(self) -> int:
        """The largest number of windows in which a sensor's step was observed."""
        return max(int((~errors_WNO.isnan()).sum(0).max()) for errors_WNO in self.errors_WFNO.unbind(1))


def calibration_of(
    errors: AbsoluteErrors,
    data: ForecastData,
    chosen_W: NDArray[np.int64],
    num_windows: int,
    levels: Sequence[float],
) -> Calibration:
    """The intervals of these errors, without the levels that no sensor has windows enough for, and the account.

    Args:
        chosen_W: the windows' first rows; num_windows: of how many they were chosen.
    """
    half_width_LFNO = errors.half_widths(levels)
    had = [index for index in range(len(levels)) if not np.isnan(half_width_LFNO[index]).all()]
    which = counted(len(chosen_W), "validation window")
    if len(chosen_W) < num_windows:
        which = f"{len(chosen_W)} of {counted(num_windows, 'validation window')}, evenly spread"
    notes = []
    for index, level in enumerate(levels):
        if index not in had:
            notes.append(_too_few(level, errors.most_observed(), which))
            continue
        lacking = np.flatnonzero(np.isnan(half_width_LFNO[index]).any(axis=(0, 2))).tolist()
        if lacking:
            notes.append(
                f"look: {len(lacking)} of {counted(len(data.series.ids), 'sensor')} have no {level_label(level)} % "
                f"interval at every step, which takes {counted(windows_needed(level), 'window')} with an observed "
                f"target: {first_few([data.series.ids[node] for node in lacking])}"
            )
    if not had:
        return Calibration(None, tuple(notes))
    kept = tuple(float(levels[index]) for index in had)
    times_WF = data.target_times(chosen_W)
    intervals = Intervals(kept, half_width_LFNO[had], len(chosen_W), (times_WF.min(), times_WF.max()))
    return Calibration(intervals, (f"intervals: {level_words(kept)}, from {which}", *notes))


def _too_few(level: float, most: int, which: str) -> str:
    return (
        f"no {level_label(level)} % interval: it takes {counted(windows_needed(level), 'window')} with an observed "
        f"target of a sensor at a step, and of {which} there are at most {most}"
    )
