"""A sensor series: readings, the mask of observed ones, their times, and borders that no window may cross.

Shape legend: T time, N sensors, C channels.
"""

from dataclasses import dataclass, replace

import numpy as np

from dcrnn_fast.data.stored import Readings, from_row, take_channels, take_sensors
from dcrnn_fast.data.times import format_freq
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import first_few


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class SensorSeries:
    """Readings of N sensors on a regular time axis.

    Attributes:
        values_TNC: float32, original units, may be stored; a missing reading is 0, with any value in its file.
        observed_TNC: bool, may be stored; false where the reading is missing.
        rest_TNC: float32, each reading's remainder beyond ``values_TNC``, so that both together have 48 bits of it;
            None if float32 holds all readings, or the remainders are not known.
        times_T: ``datetime64[s]``, one a row.
        ids: N different texts.
        channels: C different names; units: C texts, "" if unknown.
        interval: time between rows, ``timedelta64`` in seconds or months.
        segments: half-open row ranges without a gap in time; windows stay inside unless gaps may be crossed.
        parts: half-open row ranges that no window ever crosses (the files of a scenario folder); each consists of
            complete segments.
        missing: the rule that made the mask: zero, nan or none.
        in_utc: whether the times had a zone or an offset, and are UTC now; None: not known.
        zone: the name or offset that they had, as in Europe/Berlin, +01:00, UTC; None: none, or not known.
        positions_N2: (latitude, longitude) in degrees, or None.
        notes: lines about the series to print.
    """

    values_TNC: Readings
    observed_TNC: Readings
    times_T: np.ndarray
    ids: tuple[str, ...]
    channels: tuple[str, ...]
    units: tuple[str, ...]
    interval: np.timedelta64
    segments: tuple[tuple[int, int], ...]
    parts: tuple[tuple[int, int], ...]
    missing: str
    in_utc: bool | None = None
    zone: str | None = None
    positions_N2: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    rest_TNC: np.ndarray | None = None

    @property
    def num_steps(self) -> int:
        """T."""
        return len(self.times_T)

    @property
    def num_sensors(self) -> int:
        """N."""
        return len(self.ids)

    @property
    def freq(self) -> str:
        """The interval as text, such as 5min."""
        return format_freq(self.interval)

    def readings(self, rows: np.ndarray | slice) -> np.ndarray:
        """(..., N, C) float64 of these rows, with all digits that are known."""
        readings = self.values_TNC[rows].astype(np.float64)
        return readings if self.rest_TNC is None else readings + self.rest_TNC[rows]

    def take_channels(self, indices: tuple[int, ...]) -> "SensorSeries":
        """The series with these channels only; neighbouring channels stay a view of the same memory."""
        return replace(
            self,
            values_TNC=take_channels(self.values_TNC, indices),
            observed_TNC=take_channels(self.observed_TNC, indices),
            rest_TNC=None if self.rest_TNC is None else np.asarray(take_channels(self.rest_TNC, indices)),
            channels=tuple(self.channels[i] for i in indices),
            units=tuple(self.units[i] for i in indices),
        )

    def take_sensors(self, ids: tuple[str, ...]) -> "SensorSeries":
        """The series of these sensors, in this order (a copy, unless it is stored)."""
        index_of = {sensor: i for i, sensor in enumerate(self.ids)}
        if unknown := [sensor for sensor in ids if sensor not in index_of]:
            raise UserError(f"the series has no sensor {first_few(unknown)}; it has {first_few(list(self.ids))}")
        index = np.array([index_of[sensor] for sensor in ids], dtype=np.int64)
        return replace(
            self,
            values_TNC=take_sensors(self.values_TNC, index),
            observed_TNC=take_sensors(self.observed_TNC, index),
            rest_TNC=None if self.rest_TNC is None else take_sensors(self.rest_TNC, index),
            ids=ids,
            positions_N2=None if self.positions_N2 is None else self.positions_N2[index],
        )

    def head(self, num_steps: int) -> "SensorSeries":
        """The first ``num_steps`` rows (views, or read if stored)."""

        def cut(ranges: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
            return tuple((a, min(b, num_steps)) for a, b in ranges if a < num_steps)

        return replace(
            self,
            values_TNC=self.values_TNC[:num_steps],
            observed_TNC=self.observed_TNC[:num_steps],
            rest_TNC=None if self.rest_TNC is None else self.rest_TNC[:num_steps],
            times_T=self.times_T[:num_steps],
            segments=cut(self.segments),
            parts=cut(self.parts),
        )

    def with_notes(self, notes: tuple[str, ...]) -> "SensorSeries":
        """The same series with other notes."""
        return replace(self, notes=notes)

    def tail(self, num_steps: int) -> "SensorSeries":
        """The last ``num_steps`` rows (views)."""
        first = self.num_steps - num_steps
        if first <= 0:
            return self

        def cut(ranges: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
            return tuple((max(a - first, 0), b - first) for a, b in ranges if b > first)

        return replace(
            self,
            values_TNC=from_row(self.values_TNC, first),
            observed_TNC=from_row(self.observed_TNC, first),
            rest_TNC=None if self.rest_TNC is None else self.rest_TNC[first:],
            times_T=self.times_T[first:],
            segments=cut(self.segments),
            parts=cut(self.parts),
        )
