"""VAR(3): a vector autoregression fitted by least squares, the classical linear baseline.

Shape legend: B windows, F future steps, R rows, D = N * O series, L lags, Q = 1 + L * D regressors.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dcrnn_fast.evaluation.target_rows import FittedOnRows, Floats, TargetRows, fill_forward

VAR_LAGS = 3
VAR_MAX_SERIES = 1000
_RIDGE = 1e-6  # of the mean squared regressor: makes constant and copied sensors solvable, changes no fourth digit


class VectorAutoregression(FittedOnRows):
    """Every series regressed on the three newest values of all series, iterated over the horizons.

    Centred on each sensor's training mean and scaled by the channel's spread; a missing reading is the last observed
    one. The normal equations are summed over pieces of the training rows; no lag crosses a gap. Windows with fewer past
    steps than three use as many lags as they have.
    """

    def __init__(self, rows: TargetRows) -> None:
        super().__init__(rows)
        self.lags = min(VAR_LAGS, rows.past_steps)
        self.name = f"VAR({self.lags})"
        size = 1 + self.lags * rows.num_series
        gram_QQ, moment_QD = np.zeros((size, size)), np.zeros((size, rows.num_series))
        for filled_RD in self._filled_training_rows():
            lagged_RQ = self._lagged(filled_RD)[:-1]
            gram_QQ += lagged_RQ.T @ lagged_RQ
            moment_QD += lagged_RQ.T @ filled_RD[self.lags :]
        ridge_Q = np.full(size, _RIDGE * np.trace(gram_QQ) / size)
        gram_QQ[np.diag_indices(size)] += ridge_Q
        self.coefficients_QD: Floats = np.linalg.solve(gram_QQ, moment_QD).astype(np.float64, copy=False)

    def predict(self, starts_B: NDArray[np.int64]) -> Floats:
        past_BPNO = self._rows.filled_windows(starts_B)
        recent = [self._scaled(past_BPNO[:, -lag]) for lag in range(self.lags, 0, -1)]
        forecast = []
        for _ in range(self._rows.future_steps):
            regressors_BQ = np.hstack([np.ones((len(starts_B), 1)), *reversed(recent)])
            forecast.append(regressors_BQ @ self.coefficients_QD)
            recent = [*recent[1:], forecast[-1]]
        shape_BFNO = (len(starts_B), self._rows.future_steps, *self._rows.mean_NO.shape)
        scaled_BFNO = np.stack(forecast, axis=1).reshape(shape_BFNO)
        return scaled_BFNO * self._rows.std_O + self._rows.mean_NO

    def _scaled(self, values_RNO: Floats) -> Floats:
        return ((values_RNO - self._rows.mean_NO) / self._rows.std_O).reshape(len(values_RNO), -1)

    def _lagged(self, filled_RD: Floats) -> Floats:
        """Regressors [1, newest, ..., oldest] of every row from ``lags`` on, and of the row after the last."""
        rows = len(filled_RD) - self.lags + 1
        newest_first = [filled_RD[self.lags - 1 - lag :][:rows] for lag in range(self.lags)]
        return np.hstack([np.ones((rows, 1)), *newest_first])

    def _filled_training_rows(self) -> Iterator[Floats]:
        """Scaled training rows without holes, piece by piece, each led by the last rows of the piece before."""
        newest_NO = self._rows.mean_NO
        tail_LD = np.empty((0, self._rows.num_series))
        for stretch in self._rows.training_stretches():
            if not stretch.continues:
                newest_NO, tail_LD = self._rows.mean_NO, tail_LD[:0]
            values, observed = self._rows.rows(slice(stretch.start, stretch.stop))
            filled_RNO = fill_forward(values, observed, newest_NO, axis=0)
            newest_NO = filled_RNO[-1]
            filled_RD = np.vstack([tail_LD, self._scaled(filled_RNO)])
            tail_LD = filled_RD[-self.lags :]
            if len(filled_RD) > self.lags:
                yield filled_RD
