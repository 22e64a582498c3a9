"""How often prediction intervals hold the reading, how wide they are, and their interval score.

Shape legend: B batch, L levels, F future steps (horizons), N nodes, O target channels, S the sums.

The interval score (Gneiting and Raftery, Strictly Proper Scoring Rules, Prediction, and Estimation, JASA 102, 2007) of
an interval of level 1 - a is its width, and 2 / a times the distance by which the reading lies outside: the smaller the
better, in the reading's unit.
"""

from dataclasses import dataclass

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
        self._half_width_LFNO = half_width_LFNO
        self._there_LFNO = ~half_width_LFNO.isnan()
        self.sums_LSFNO = torch.zeros(levels, _SUMS, *shape_FNO, dtype=torch.float64, device=device)

    @torch.no_grad()
    def add(self, prediction_BFNO: Tensor, y_BFNO: Tensor, observed_BFNO: Tensor) -> None:
        """Add a batch of forecasts; the bounds are those that ``Intervals.bounds`` gives, bit for bit.

        Args:
            prediction_BFNO, y_BFNO: float32, original units, on the sums' device.
            observed_BFNO: bool, true where the target counts.
        """
        for half_width_FNO, there_FNO, sums_SFNO in zip(
            self._half_width_LFNO, self._there_LFNO, self.sums_LSFNO, strict=True
        ):
            lower_BFNO, upper_BFNO = prediction_BFNO - half_width_FNO, prediction_BFNO + half_width_FNO
            if self.at_least is not None:
                lower_BFNO.clamp_(min=self.at_least)
            counted_BFNO = observed_BFNO & there_FNO
            missed_by_BFNO = torch.maximum(lower_BFNO - y_BFNO, y_BFNO - upper_BFNO).clamp_(min=0)
            missed_by_BFNO.masked_fill_(~counted_BFNO, 0)
            width_BFNO = upper_BFNO.sub_(lower_BFNO).masked_fill_(~counted_BFNO, 0)
            sums_SFNO[_HELD] += ((missed_by_BFNO == 0) & counted_BFNO).sum(0)
            sums_SFNO[_WIDTH] += width_BFNO.sum(0, dtype=torch.float64)
            sums_SFNO[_MISSED_BY] += missed_by_BFNO.sum(0, dtype=torch.float64)
            sums_SFNO[_COUNT] += counted_BFNO.sum(0)

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
