"""The report of an evaluation: scores of the model and the baselines, as a table, JSON and CSV.

Shape legend: F future steps (horizons), N nodes, O target channels.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcrnn_fast.errors import UserError
from dcrnn_fast.evaluation.hours import HoursOfChannel
from dcrnn_fast.evaluation.interval_report import interval_block, plain_intervals
from dcrnn_fast.evaluation.interval_scores import IntervalSums
from dcrnn_fast.evaluation.labels import channel_label
from dcrnn_fast.evaluation.metrics import KINDS, HorizonSums, Kind, Scores
from dcrnn_fast.evaluation.report_csv import FIGURES, horizons_csv, sensors_csv
from dcrnn_fast.evaluation.report_files import TEXTS
from dcrnn_fast.evaluation.report_series import plain_series
from dcrnn_fast.evaluation.trace import Trace
from dcrnn_fast.files import require_writable_folder, write_together
from dcrnn_fast.messages import counted

_HEADING = {"at": "at the horizon", "cumulative": "mean of horizons 1..h"}
_MISSING = "-"
_WORST = 5
"""hours in the table"""


@dataclass(frozen=True)
class Report:
    """Scores over exactly the windows of one split.

    ``methods`` maps a name to its sums; the model comes first. ``horizons`` are labels of the F steps ("15 min").
    ``about`` names the figures' origin (checkpoint, backend, precision, ...); ``notes`` are lines for the reader.
    """

    data: str
    split: str
    num_windows: int
    times: tuple[np.datetime64, np.datetime64]
    """first and last target time"""
    horizons: tuple[str, ...]
    ids: tuple[str, ...]
    channels: tuple[str, ...]
    """O target channels"""
    units: tuple[str, ...]
    """"" if the unit is not known"""
    methods: Mapping[str, HorizonSums]
    positions_N2: NDArray[np.float64] | None = None
    """latitude, longitude in degrees"""
    edges_E2: NDArray[np.int64] | None = None
    """from, to"""
    trace: Trace | None = None
    notes: tuple[str, ...] = ()
    about: Mapping[str, str | int | float] = field(default_factory=dict)
    strongest: str | None = None
    """the baseline with the least error over the windows that ``chosen_by`` names; None: not known"""
    chosen_by: str = ""
    in_utc: bool | None = None
    """whether the times are UTC; None: not known"""
    beyond: "Report | None" = None
    """the same windows at the steps after those that the model was trained on, if it forecast more"""
    first_step: int = 1
    """of ``horizons``"""
    intervals: IntervalSums | None = None
    """of the model's prediction intervals; None: it has none"""
    hours: tuple[HoursOfChannel, ...] = ()
    """errors by the hour, of each target channel; none: they were not kept"""

    @property
    def model_name(self) -> str:
        return next(iter(self.methods))

    def chosen_horizons(self) -> tuple[int, ...]:
        """A quarter, half and all of the steps: 15, 30 and 60 minutes of the usual twelve."""
        steps = len(self.horizons)
        return tuple(sorted({math.ceil(steps / 4), math.ceil(steps / 2), steps}))

    def table(self, horizons: Sequence[int] | None = None) -> str:
        """The report for a terminal.

        Args:
            horizons: steps (1-based) of the first two blocks; left out: ``chosen_horizons()``. The last block always
                has all of them.
        Raises:
            UserError: a step that was not forecast.
        """
        steps = self.chosen_horizons() if horizons is None else tuple(dict.fromkeys(horizons))
        for step in steps:
            if not 1 <= step <= len(self.horizons):
                raise UserError(f"horizons must lie in 1..{len(self.horizons)}, got {step}")
        first, last = (np.datetime_as_string(time, unit="m").replace("T", " ") for time in self.times)
        counts = f"{counted(self.num_windows, 'window')}, {counted(len(self.ids), 'sensor')}"
        zone = " UTC" if self.in_utc else ""
        lines = [f"{self.data}, {self.split}: {counts}, targets from {first} to {last}{zone}", ""]
        lines += [self._summary(channel) for channel in range(len(self.channels))]
        for channel, name in enumerate(self.channels):
            unit = f" in {self.units[channel]}" if self.units[channel] else ""
            lines += ["", f"{channel_label(name)}{unit}; only observed targets count"]
            for kind in KINDS:
                lines += ["", *self._block(kind, channel, steps)]
            if self.intervals is not None:
                labels = [self.horizons[step - 1] for step in steps]
                show, width = self._digits(channel)
                lines += ["", *interval_block(self.intervals, channel, steps, labels, show, width)]
            lines += ["", *self._every_horizon(channel), *self._worst_hours(channel)]
        if self.beyond is not None:
            lines += ["", *self.beyond._beyond_lines(len(self.horizons))]
        notes = self.all_notes()
        lines += ["", *notes] if notes else []
        return "\n".join(lines)

    def _beyond_lines(self, trained_steps: int) -> list[str]:
        """Of the steps after the ``trained_steps`` of the training, which are in none of the figures before."""
        lines = [
            f"beyond the {counted(trained_steps, 'step')} that the model was trained on: its decoder goes on to "
            f"{self.horizons[-1]}"
        ]
        for channel, name in enumerate(self.channels):
            unit = f" in {self.units[channel]}" if self.units[channel] else ""
            lines += ["", f"{channel_label(name)}{unit}; only observed targets count", ""]
            lines += [*self._block("at", channel, self.chosen_horizons()), "", *self._every_horizon(channel)]
        return lines

    def all_notes(self) -> tuple[str, ...]:
        """``notes``, led by a caution for each target channel with a MAPE above 100 %."""
        cautions = []
        for channel, name in enumerate(self.channels):
            above = [method for method, sums in self.methods.items() if (sums.by_horizon("at", channel).mape > 1).any()]
            if above:
                what = f"{channel_label(name)}: " if len(self.channels) > 1 else ""
                cautions.append(
                    f"look: {what}MAPE above 100 % ({', '.join(above)}): readings near 0 dominate it; see WAPE"
                )
        return (*cautions, *self.notes)

    def _summary(self, channel: int) -> str:
        """One target channel in a line: the model beside the strongest baseline."""
        unit = f" {self.units[channel]}" if self.units[channel] else ""
        show, _ = self._digits(channel)
        mae = float(self.methods[self.model_name].overall(channel).mae)
        line = f"{channel_label(self.channels[channel])}: {self.model_name} MAE {show(mae)}{unit} over all horizons"
        if self.strongest is None:
            return line
        other = float(self.methods[self.strongest].overall(channel).mae)
        line += f"; strongest baseline by {self.chosen_by}: {self.strongest}, MAE {show(other)}{unit}"
        if not (math.isfinite(mae) and other > 0):
            return line
        change = 100 * (1 - mae / other)
        return f"{line} (the model's is {abs(change):.1f} % {'less' if change >= 0 else 'more'})"

    def _block(self, kind: Kind, channel: int, steps: tuple[int, ...]) -> list[str]:
        scores = {name: sums.by_horizon(kind, channel) for name, sums in self.methods.items()}
        show, _ = self._digits(channel)
        left = max(len(text) for text in (*_HEADING.values(), *scores))
        labels = [self.horizons[step - 1] for step in steps]
        rows = [[_figures(score, step - 1, show) for step in steps] for score in scores.values()]
        widths = [max(least, *(len(cells[k]) for row in rows for cells in row)) for k, least in enumerate(_WIDTHS)]
        group = sum(widths) + len(widths) - 1
        lines = [
            _HEADING[kind].ljust(left) + "".join(f"   {label:^{group}}" for label in labels),
            " " * left + ("   " + _row(("MAE", "RMSE", "MAPE", "WAPE"), widths)) * len(labels),
        ]
        for name, row in zip(scores, rows, strict=True):
            lines.append(name.ljust(left) + "".join("   " + _row(cells, widths) for cells in row))
        return [line.rstrip() for line in lines]

    def _every_horizon(self, channel: int) -> list[str]:
        scores = {name: sums.by_horizon("at", channel).mae for name, sums in self.methods.items()}
        show, width = self._digits(channel)
        heading = "MAE at the horizon"
        left = max(len(text) for text in (heading, *self.horizons))
        widths = [max(len(name), width) for name in scores]
        lines = [heading.ljust(left) + "".join(f"   {name:>{w}}" for name, w in zip(scores, widths, strict=True))]
        for step, label in enumerate(self.horizons):
            cells = (f"   {show(mae[step]):>{w}}" for mae, w in zip(scores.values(), widths, strict=True))
            lines.append(f"{label:>{left}}" + "".join(cells))
        return lines

    def _worst_hours(self, channel: int) -> list[str]:
        if not self.hours or not self.hours[channel].worst:
            return []
        show, width = self._digits(channel)
        names = [self.model_name, *([] if self.strongest is None else [self.strongest])]
        widths = [max(len(name), width) for name in names]
        heading = "worst hours, MAE" + (" (UTC)" if self.in_utc else "")
        lines = ["", f"{heading:<20}" + "".join(f"   {name:>{w}}" for name, w in zip(names, widths, strict=True))]
        for hour in self.hours[channel].worst[:_WORST]:
            cells = zip((hour.mae, hour.baseline_mae), widths, strict=False)
            time = str(np.datetime_as_string(hour.time, unit="m")).replace("T", " ")
            lines.append(f"{time:<20}" + "".join(f"   {show(mae):>{w}}" for mae, w in cells))
        return lines

    def _digits(self, channel: int) -> tuple[Callable[[float], str], int]:
        """How errors of a channel are written, and how wide they are at least: four digits of the largest MAE and three
        of the smallest, as a power of ten if that would take more than six decimals or eight places.
        """
        mae = np.concatenate([sums.by_horizon("at", channel).mae for sums in self.methods.values()])
        mae = mae[np.isfinite(mae) & (mae > 0)]
        if not mae.size:
            return lambda value: _number(value, ".3f"), 8
        largest, smallest = (math.floor(math.log10(float(error))) for error in (mae.max(), mae.min()))
        decimals = max(3 - largest, 2 - smallest, 0)
        if decimals > 6 or largest > 6:
            return lambda value: _number(value, ".3e"), 9
        return lambda value: _number(value, f".{decimals}f"), max(8, largest + 2 + decimals)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the single sensors, as plain values; NaN (nothing observed) and infinity become None."""
        return {
            "data": self.data,
            "split": self.split,
            "strongest_baseline": self.strongest,
            "windows": self.num_windows,
            "first_target": str(self.times[0]),
            "last_target": str(self.times[1]),
            "sensors": len(self.ids),
            "horizons": [
                {"step": step, "label": label} for step, label in enumerate(self.horizons, start=self.first_step)
            ],
            "channels": [
                {
                    "name": name,
                    "unit": self.units[channel],
                    "methods": {
                        method: {
                            "at_horizon": _plain(sums.by_horizon("at", channel)),
                            "cumulative": _plain(sums.by_horizon("cumulative", channel)),
                        }
                        for method, sums in self.methods.items()
                    },
                    **({} if self.intervals is None else {"intervals": plain_intervals(self.intervals, channel)}),
                }
                for channel, name in enumerate(self.channels)
            ],
            "notes": list(self.all_notes()),
            "about": dict(self.about),
            "hours": [hours.to_dict() for hours in self.hours],
            "series": [plain_series(self, channel) for channel in range(len(self.channels))],
            **({} if self.beyond is None else {"beyond": self.beyond.to_dict()}),
        }

    def files(self) -> dict[str, bytes]:
        """The files that ``save`` writes, by name; MAPE is a fraction except in the table."""
        contents = (
            (self.table() + "\n").encode(),
            (json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n").encode(),
            horizons_csv(self),
            sensors_csv(self),
        )
        return dict(zip(TEXTS, contents, strict=True))

    def save(self, folder: str | Path) -> list[Path]:
        """Write ``report.txt``, ``report.json``, ``horizons.csv`` and ``sensors.csv``, all or none; their paths."""
        return write_together(require_writable_folder(Path(folder), "output folder"), self.files())


_WIDTHS = (8, 8, 7, 7)


def _plain(scores: Scores) -> dict[str, list[float | None]]:
    return {
        name: [value if math.isfinite(value) else None for value in getattr(scores, name).tolist()] for name in FIGURES
    }


def _figures(scores: Scores, at: int, show: Callable[[float], str]) -> tuple[str, ...]:
    return show(scores.mae[at]), show(scores.rmse[at]), _percent(scores.mape[at]), _percent(scores.wape[at])


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    return " ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _number(value: float, how: str) -> str:
    return _MISSING if math.isnan(value) else format(value, how)


def _percent(fraction: float) -> str:
    if math.isnan(fraction):
        return _MISSING
    return f"{100 * fraction:.1f} %" if fraction < 1e4 else f"{100 * fraction:.1e} %"
