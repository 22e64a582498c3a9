"""What the user sees while training runs: a progress bar on a terminal, else one line an interval; rank 0 only."""

import sys
import time
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the run is, in numbers worth showing."""

    epoch: int
    """counted from 1"""
    epochs: int
    position: int
    windows: int
    """of one epoch"""
    loss: float


class Display:
    """Says lines and shows how far training is."""

    def __init__(self, *, shown: bool, log_every: float) -> None:
        self._shown = shown
        self._log_every = log_every
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._last_line = time.monotonic()
        self._rate_since: tuple[float, int] | None = None
        self._rate = 0.0
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

    def step(self, standing: Standing) -> None:
        """After each optimiser step."""
        if not self._shown:
            return
        now, done = time.monotonic(), (standing.epoch - 1) * standing.windows + standing.position
        if self._rate_since is None:
            self._rate_since = (now, done)
            return
        since, before = self._rate_since
        self._rate = (done - before) / max(now - since, 1e-9)
        facts = self._facts(standing, standing.epochs * standing.windows - done)
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task("", facts="")
                self._bar.start()
            self._bar.update(
                self._task,
                description=f"epoch {standing.epoch}/{standing.epochs}",
                completed=standing.position,
                total=standing.windows,
                facts=facts,
            )
        elif now - self._last_line >= self._log_every:
            self._last_line = now
            share = 100 * standing.position / standing.windows
            self.say(f"epoch {standing.epoch}/{standing.epochs} {share:3.0f} %  {facts}")

    def pause(self) -> None:
        """Between epochs: what is measured next is not a training step."""
        self._rate_since = None

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _facts(self, standing: Standing, windows_left: int) -> str:
        left = span(windows_left / self._rate) if self._rate > 0 else "?"
        return f"loss {standing.loss:.4g}  {self._rate:.4g} windows/s  {left} left"


def span(seconds: float) -> str:
    """12 s, 3 min 04 s, 5 h 07 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def speed(per_second: float) -> str:
    """7.65 windows/s, 28,980 windows/s."""
    return f"{per_second:{'.3g' if per_second < 100 else ',.0f'}} windows/s"
