"""Lines and progress on stdout: a bar on a terminal, else one line an interval."""

import sys
import time
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bar

from dcrnn_fast.messages import span


@dataclass(frozen=True, slots=True)
class Standing:
    """The progress of a phase of the run, in numbers to show."""

    what: str
    """epoch 3/100, epoch 3/100 validation, evaluation"""
    done: int
    windows: int
    """of this phase"""
    facts: str = ""
    """loss, best epoch so far"""
    later: int = 0
    """windows of the same kind that come after these"""


class Terminal:
    """Prints lines, and shows the progress of training, validation and evaluation."""

    def __init__(self, log_every: float) -> None:
        """``log_every``: seconds between two lines if there is no bar."""
        self._log_every = log_every
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._last_line = time.monotonic()
        self._shown = ""
        self._unwritable = False
        self._rate_since = (0.0, 0)
        if sys.stdout.isatty():
            self._bar = Bar(
                TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[facts]}"), console=Console()
            )

    def say(self, line: str) -> None:
        """One line, above the bar if there is one.

        A full disk behind stdout is told once on stderr: the lines may be written later, and nothing ends.
        """
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
            return
        try:
            print(line, flush=True)
        except BrokenPipeError:
            raise
        except OSError as error:
            if not self._unwritable:
                print(
                    f"the output cannot be written: {error.strerror or error}; everything else goes on", file=sys.stderr
                )
            self._unwritable = True

    def show(self, standing: Standing) -> None:
        """After each batch of windows; the speed is counted from the first one of the same ``what``."""
        now, left = time.monotonic(), standing.windows - standing.done + standing.later
        if standing.what != self._shown:
            self._shown, self._rate_since = standing.what, (now, left)
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

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()


def digits(value: float) -> str:
    """Five significant digits in any unit: 2.7700, 1234.5, 1.2346e-07."""
    return f"{value:#.5g}".removesuffix(".")


def duration(seconds: float) -> str:
    """0.4 s, 12 s, 3 min 4 s; from an hour on without seconds: 5 h 7 min."""
    if 0 < seconds < 1:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    return span(whole if whole < 3600 else 60 * round(whole / 60))


def speed(per_second: float) -> str:
    """7.65 windows/s, 28,980 windows/s."""
    return f"{per_second:{'.3g' if per_second < 100 else ',.0f'}} windows/s"
