"""Seasonal persistence: the reading of a day, a week or a year before.

Shape legend: B windows, F future steps, U different rows, T time, N nodes, O target channels.
"""

import numpy as np
from numpy.typing import NDArray

from dcrnn_fast.data.times import is_months
from dcrnn_fast.evaluation.slots import DAY
from dcrnn_fast.evaluation.target_rows import Floats, TargetRows

_HOUR = np.timedelta64(3_600, "s")
_SEASONS_BACK = 6
"""how many seasons a missing reading is looked for before the newest one"""


class SeasonalPersistence:
    """Repeats the newest reading of the same time of the season (day, week, year), none newer than the window.

    Readings older than the window are taken from the series, by their times, so that a gap shifts nothing. A missing
    reading is that of a season before; if that is missing too, the last value of the window.
    """

    def __init__(self, rows: TargetRows, name: str, season: np.timedelta64) -> None:
        self.name = name
        self._rows = rows
        self._season = season
        self._before_T = _season_before(rows, season)

    def on(self, rows: TargetRows) -> "SeasonalPersistence":
        """The same for windows of other rows."""
        return SeasonalPersistence(rows, self.name, self._season)

    def predict(self, starts_B: NDArray[np.int64]) -> Floats:
        newest_B1 = (starts_B + self._rows.past_steps - 1)[:, None]
        source_BF = self._before_T[self._rows.target_rows(starts_B)]
        while (ahead_BF := source_BF > newest_B1).any():
            source_BF = np.where(ahead_BF, self._before_T[source_BF], source_BF)
        last_BNO = self._rows.newest(starts_B)
        forecast_BFNO = np.repeat(last_BNO[:, None], self._rows.future_steps, axis=1)
        wanted_BFNO = np.ones(forecast_BFNO.shape, dtype=bool)
        for _ in range(1 + _SEASONS_BACK):
            rows_U, place_BF = np.unique(source_BF, return_inverse=True)
            place_BF = place_BF.reshape(source_BF.shape)
            values_UNO, observed_UNO = self._rows.rows(np.maximum(rows_U, 0))
            observed_UNO = observed_UNO & (rows_U >= 0)[:, None, None]
            found_BFNO = observed_UNO[place_BF] & wanted_BFNO
            np.copyto(forecast_BFNO, values_UNO[place_BF], where=found_BFNO)
            wanted_BFNO &= ~found_BFNO
            source_BF = np.where(source_BF >= 0, self._before_T[source_BF], -1)
            if not wanted_BFNO.any() or (source_BF < 0).all():
                break
        return forecast_BFNO


def seasons(interval: np.timedelta64, span: np.timedelta64) -> list[tuple[str, np.timedelta64]]:
    """Name and length of each season that fits a series in this step whose training rows span so long."""
    if is_months(interval):
        months = int(interval.astype(np.int64))
        year = np.timedelta64(12, "M")
        return [("same month last year", year)] if 12 % months == 0 and months < 12 and span >= 366 * DAY else []
    if interval == 7 * DAY:
        found = [("same week last year", 52 * 7 * DAY)]
    elif interval == DAY:
        found = [("same day last week", 7 * DAY), ("same day last year", 365 * DAY)]
    elif interval < DAY and DAY % interval == np.timedelta64(0, "s"):
        what = "hour" if interval == _HOUR else "time"
        found = [(f"same {what} yesterday", DAY), (f"same {what} last week", 7 * DAY)]
    else:
        found = []
    return [(name, season) for name, season in found if season <= span]


def _season_before(rows: TargetRows, season: np.timedelta64) -> NDArray[np.int64]:
    """(T,) for each row the newest older row of its part at the same time of the season; -1: there is none."""
    before_T = np.full(len(rows.times_T), -1, dtype=np.int64)
    for start, stop in rows.parts:
        times_R = rows.times_T[start:stop]
        if is_months(season):
            phase_R = times_R.astype("datetime64[M]").astype(np.int64) % int(season.astype(np.int64))
        else:
            phase_R = times_R.astype("datetime64[s]").astype(np.int64) % int(season.astype(np.int64))
        order_R = np.argsort(phase_R, kind="stable")  # within a phase in time order, as the rows are
        same = phase_R[order_R[1:]] == phase_R[order_R[:-1]]
        before_T[start + order_R[1:][same]] = start + order_R[:-1][same]
    return before_T
