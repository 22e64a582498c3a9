"""A run's events in words, on the terminal."""

from collections.abc import Sequence

from dcrnn_fast.config.sections import Config
from dcrnn_fast.messages import some
from dcrnn_fast.records.events import (
    BadStep,
    Calibrating,
    Ended,
    EpochDone,
    EpochRow,
    Event,
    Said,
    Started,
    Stepped,
    Straggler,
    Validating,
)
from dcrnn_fast.records.terminal import Standing, Terminal, digits, duration, speed
from dcrnn_fast.records.watcher import FIRST, Place, Watcher


class Display(Watcher):
    """The output on the terminal while training runs."""

    needed = True  # if the reader of our output has gone, the command stops

    def __init__(self, config: Config, place: Place = FIRST) -> None:
        self._training = config.training
        self._terminal = Terminal(config.output.log_every)
        self._run: Started | None = None
        self._best: EpochRow | None = None

    def see(self, event: Event) -> None:
        match event:
            case Said(line):
                self._terminal.say(line)
            case Started():
                self._run = event
                self._best = next((row for row in reversed(event.history) if row.best), None)
            case Stepped():
                self._show_training(event)
            case Validating():
                self._show_validation(event)
            case Calibrating() if self._run is not None:
                words = self._best_words(self._run)
                self._terminal.show(Standing("prediction intervals", event.done, event.windows, words))
            case BadStep() if not event.ends_run:
                self._terminal.say(bad_step_words(event))
            case Straggler():
                self._terminal.say(straggler_words(event))
            case EpochDone(row):
                if row.best:
                    self._best = row
                self._say_epoch(row)
            case Ended():
                self._say_end(event)

    def close(self) -> None:
        self._terminal.close()

    def _show_training(self, event: Stepped) -> None:
        if self._run is None:
            return
        epochs, windows = self._training.epochs, self._run.train_windows
        self._terminal.show(
            Standing(
                f"epoch {event.epoch + 1}/{epochs}",
                event.position,
                windows,
                "  ".join(filter(None, (f"loss {digits(event.loss)}", self._best_words(self._run)))),
                later=(epochs - event.epoch - 1) * windows,
            )
        )

    def _show_validation(self, event: Validating) -> None:
        if self._run is None:
            return
        what = f"epoch {event.epoch + 1}/{self._training.epochs} validation"
        self._terminal.show(Standing(what, event.done, self._run.validation_windows, self._best_words(self._run)))

    def _best_words(self, run: Started) -> str:
        """The best epoch so far; "" before there is one."""
        best = self._best
        return "" if best is None else f"best {mae_words(best, run.targets)}, epoch {best.epoch}"

    def _say_epoch(self, row: EpochRow) -> None:
        training, targets = self._training, () if self._run is None else self._run.targets
        self._terminal.say(
            f"epoch {row.epoch}/{training.epochs}: train {training.loss} {digits(row.train_loss)}, "
            f"{mae_words(row, targets)}{' (best)' if row.best else ''}, learning rate {row.learning_rate:.3g}, "
            f"{duration(row.train_seconds + row.validation_seconds)}, {speed(row.windows_per_second)}"
        )

    def _say_end(self, event: Ended) -> None:
        if event.reason == "stalled":
            self._terminal.say(f"stopped early: {self._training.patience} epochs without a better validation error")
        elif event.reason != "finished":
            self._terminal.say(
                f"stopped by {event.reason} after step {event.step}, all saved in {event.latest}; "
                "continue with the same command and --resume auto"
            )


def mae_words(row: EpochRow, targets: Sequence[tuple[str, str]]) -> str:
    """The validation MAE of an epoch with its unit; of several targets each one's, with its name.

    Args:
        targets: (name, unit) of each.
    """
    if any(name not in row.targets for name, _ in targets) or not row.targets:
        units = {unit for _, unit in targets}  # an error over channels of several units has none
        return f"validation MAE {_with_unit(row.validation_mae, units.pop() if len(units) == 1 else '')}"
    each = [f"{name} {_with_unit(row.targets[name], unit)}" for name, unit in targets]
    return f"validation MAE {', '.join(each)}"


def bad_step_words(event: BadStep) -> str:
    """Which windows made a step that was skipped."""
    windows = some([f"{start} ({when})" for start, when in zip(event.windows, event.times, strict=True)], 6)
    return (
        f"step {event.step}: gradient norm {event.gradient_norm}, step skipped; windows by first row (first target): "
        f"{windows}"
    )


def straggler_words(event: Straggler) -> str:
    """Which rank the others wait for, and how much slower it is."""
    times = event.seconds / max(event.median, 1e-6)
    return (
        f"look: rank {event.rank} on {event.host} computes {times:.2g} times as long as the median of the ranks: "
        f"{digits(event.seconds)} s of epoch {event.epoch}, {digits(event.median)} s"
    )


def _with_unit(value: float, unit: str) -> str:
    return f"{digits(value)} {unit}".rstrip()
