"""How often prediction intervals hold the reading, how wide they are, and their interval score.

Shape legend: B batch, L levels, F future steps (horizons), N nodes, O target channels, S the four sums.

The interval score (Gneiting and Raftery, Strictly Proper Scoring Rules, Prediction, and Estimation, JASA 102, 2007) of
an interval of level 1 - a is its width, and 2 / a times the distance by which the reading lies outside: the smaller the
better, in the reading's unit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcrnn_fast.evaluation.intervals import Intervals
from dcrnn_fast.evaluation.metrics import Kind

_SUMS = 4
_HELD, _WIDTH, _MISSED_BY, _COUNT = range(_SUMS)


@dataclass(frozen=True)
class IntervalScores:
    """Three figures of the intervals of one level; arrays of one shape, NaN where no target was observed.

    ``coverage`` is a fraction; ``width`` (the mean) and ``score`` are in the channel's unit.
    ``count`` counts the observed targets for which there is an interval.
    """

    coverage: NDArray[np.float64]
    width: NDArray[np.float64]
    score: NDArray[np.float64]
    count: NDArray[np.int64]


class IntervalSums:
    """What the figures of every level, horizon, sensor and target channel are made of, added up over windows.

    ``sums_LSFNO`` is the state, float64; a target without an interval counts nowhere.

    Args:
        intervals: those that are measured.
        at_least: what forecasts, and with them the lower bounds, are raised to.
    """

    def __init__(self, intervals: Intervals, at_least: float | None = None, device: torch.device | str = "cpu") -> None:
        self.intervals, self.at_least = intervals, at_least
        half_width_LFNO = torch.from_numpy(intervals.half_width_LFNO).to(device)
        levels, *shape_FNO = half_width_LFNO.shape
        self._there_LFNO = ~half_width_LFNO.isnan()
        self._half_width_LFNO = half_width_LFNO.nan_to_num(nan=0.0)
        self.sums_LSFNO = torch.zeros(levels, _SUMS, *shape_FNO, dtype=torch.float64, device=device)

    @torch.no_grad()
    def add(self, prediction_BFNO: Tensor, y_BFNO: Tensor, observed_BFNO: Tensor) -> None:
        """Add a batch of forecasts.

        Args:
            prediction_BFNO, y_BFNO: float32, original units, on the sums' device; no forecast is below ``at_least``.
            observed_BFNO: bool, true where the target counts.
        """
        missing_BFNO = ~observed_BFNO
        error_BFNO = (prediction_BFNO - y_BFNO).abs_().masked_fill_(missing_BFNO, 0)
        missed_by_LBFNO = (error_BFNO - self._half_width_LFNO[:, None]).clamp_(min=0)
        count_LFNO = (observed_BFNO.sum(0) * self._there_LFNO).double()
        self.sums_LSFNO[:, _WIDTH] += 2 * self._half_width_LFNO * count_LFNO
        if self.at_least is not None:
            below_BFNO = (self.at_least - y_BFNO).masked_fill_(missing_BFNO, 0)
            torch.maximum(missed_by_LBFNO, below_BFNO, out=missed_by_LBFNO)
            raised_LBFNO = (self.at_least - prediction_BFNO + self._half_width_LFNO[:, None]).clamp_(min=0)
            raised_LBFNO.masked_fill_(missing_BFNO, 0)
            self.sums_LSFNO[:, _WIDTH] -= self._there_LFNO * raised_LBFNO.sum(1, dtype=torch.float64)
        self.sums_LSFNO[:, _HELD] += count_LFNO - self._there_LFNO * missed_by_LBFNO.count_nonzero(1)
        self.sums_LSFNO[:, _MISSED_BY] += self._there_LFNO * missed_by_LBFNO.sum(1, dtype=torch.float64)
        self.sums_LSFNO[:, _COUNT] += count_LFNO

    def part(
        self, *, steps: slice = slice(None), nodes: Sequence[int] | None = None, channels: Sequence[int] | None = None
    ) -> "IntervalSums":
        """The sums of some steps (a slice, from 0), sensors and target channels (their numbers) alone."""

        def of(array: Any) -> Any:
            array = array[..., steps, :, :]
            array = array if nodes is None else array[..., list(nodes), :]
            return array if channels is None else array[..., list(channels)]

        part = IntervalSums(replace(self.intervals, half_width_LFNO=of(self.intervals.half_width_LFNO)), self.at_least)
        part.sums_LSFNO = of(self.sums_LSFNO)
        return part

    def by_horizon(self, level: int, kind: Kind = "at", channel: int | None = None) -> IntervalScores:
        """Scores (F,) over all sensors of the ``level``-th level, at each horizon or over 1..h."""
        sums_SF = self._numpy(level, channel).sum(axis=(2, 3))
        return self._scores(level, sums_SF if kind == "at" else np.cumsum(sums_SF, axis=1))

    def by_sensor(self, level: int, channel: int | None = None) -> IntervalScores:
        """Scores (N,) of every sensor over all horizons."""
        return self._scores(level, self._numpy(level, channel).sum(axis=(1, 3)))

    def overall(self, level: int, channel: int | None = None) -> IntervalScores:
        """Scores () over all horizons and sensors."""
        return self._scores(level, self._numpy(level, channel).sum(axis=(1, 2, 3)))

    def _numpy(self, level: int, channel: int | None) -> NDArray[np.float64]:
        sums_SFNO: NDArray[np.float64] = self.sums_LSFNO[level].cpu().numpy()
        return sums_SFNO if channel is None else sums_SFNO[..., channel : channel + 1]

    def _scores(self, level: int, sums: NDArray[np.float64]) -> IntervalScores:
        outside = 1 - self.intervals.levels[level]
        with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0: nothing observed, a NaN by definition
            return IntervalScores(
                coverage=sums[_HELD] / sums[_COUNT],
                width=sums[_WIDTH] / sums[_COUNT],
                score=(sums[_WIDTH] + 2 / outside * sums[_MISSED_BY]) / sums[_COUNT],
                count=sums[_COUNT].astype(np.int64),
            )
