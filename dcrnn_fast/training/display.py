"""What the user sees while training runs: a progress bar on a terminal, else one line an interval; rank 0 only."""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from dcrnn_fast.data.window_format import WindowFormat
from dcrnn_fast.messages import span


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the run is, in numbers worth showing."""

    what: str
    """epoch 3/100, epoch 3/100 validation, evaluation"""
    done: int
    windows: int
    """of what is being done"""
    facts: str = ""
    """loss, best epoch so far"""
    later: int = 0
    """windows of the same kind that come after these"""


class Display:
    """Says lines and shows how far training, validation and evaluation are."""

    def __init__(self, *, shown: bool, log_every: float) -> None:
        self._shown = shown
        self._log_every = log_every
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._last_line = time.monotonic()
        self._rate_since: tuple[float, int] | None = None
        if shown and sys.stdout.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[facts]}"), console=Console()
            )

    def say(self, line: str) -> None:
        """One line, above the bar where there is one."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        elif self._shown:
            print(line, flush=True)

    def show(self, standing: Standing) -> None:
        """After each batch of windows; the speed is counted from the first one."""
        if not self._shown:
            return
        now, left = time.monotonic(), standing.windows - standing.done + standing.later
        if self._rate_since is None:
            self._rate_since = (now, left)
        since, left_then = self._rate_since
        rate = (left_then - left) / max(now - since, 1e-9)
        speed_now = f"{rate:.4g} windows/s  {duration(left / rate)} left" if rate > 0 else ""
        facts = "  ".join(filter(None, (standing.facts, speed_now)))
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task("", facts="")
                self._bar.start()
            self._bar.update(
                self._task,
                description=standing.what,
                completed=standing.done,
                total=standing.windows,
                facts=facts,
            )
        elif now - self._last_line >= self._log_every:
            self._last_line = now
            self.say(f"{standing.what} {100 * standing.done / standing.windows:3.0f} %  {facts}")

    def pause(self) -> None:
        """Before something else is shown, which has its own speed."""
        self._rate_since = None

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()


def target_column(name: str) -> str:
    """The key of one target's MAE in a row of the history, where there are several targets."""
    return f"validation_mae_{name}"


def mae_words(row: Mapping[str, Any], form: WindowFormat) -> str:
    """The validation MAE of an epoch with its unit; of several targets each one's, with its name."""
    if form.output_channels == 1 or target_column(form.target_names[0]) not in row:
        units = set(form.target_units)  # an error over channels of several units has none
        return f"validation MAE {_with_unit(row['validation_mae'], units.pop() if len(units) == 1 else '')}"
    each = [
        f"{name} {_with_unit(row[target_column(name)], unit)}"
        for name, unit in zip(form.target_names, form.target_units, strict=True)
    ]
    return f"validation MAE {', '.join(each)}"


def _with_unit(value: float, unit: str) -> str:
    return f"{digits(value)} {unit}".rstrip()


def digits(value: float) -> str:
    """Five significant digits in any unit: 2.7700, 1234.5, 1.2346e-07."""
    return f"{value:#.5g}".removesuffix(".")


def duration(seconds: float) -> str:
    """12 s, 3 min 4 s; from an hour on without seconds: 5 h 7 min."""
    whole = round(seconds)
    return span(whole if whole < 3600 else 60 * round(whole / 60))


def speed(per_second: float) -> str:
    """7.65 windows/s, 28,980 windows/s."""
    return f"{per_second:{'.3g' if per_second < 100 else ',.0f'}} windows/s"
