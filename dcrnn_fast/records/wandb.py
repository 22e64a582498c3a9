"""Weights & Biases: the same curves, sent while the run goes, or kept in RESULTS/wandb to be sent later."""

import math
import secrets
from pathlib import Path
from typing import Any

from dcrnn_fast.config.plain import to_dict
from dcrnn_fast.config.sections import Config
from dcrnn_fast.records.events import Ended, EpochDone, Event, Failed, Started, Stepped
from dcrnn_fast.records.packages import require_package
from dcrnn_fast.records.watcher import Place, Watcher

_ID = "wandb_id.txt"
_BEGINS_WITHIN, _ENDS_WITHIN = 20, 15
"""seconds for which it tries to reach the service"""


class WeightsAndBiases(Watcher):
    """One run there for one run here: a resumed one goes on under its id, and steps that come again count once."""

    slow = True
    files = (_ID, "wandb/")

    def __init__(self, config: Config, place: Place) -> None:
        import wandb

        self._wandb = wandb
        self._config = config
        self._run: Any = None
        self._failed = False

    @classmethod
    def wanted(cls, config: Config) -> bool:
        return config.watch.wandb != "off"

    @classmethod
    def require(cls, config: Config) -> None:
        require_package("wandb", "--wandb", "dcrnn_fast[wandb]")

    def see(self, event: Event) -> None:
        match event:
            case Started():
                self._run = self._begun(event)
            case Stepped() if self._run is not None:
                self._log({"step/loss": event.loss, "step/learning_rate": event.learning_rate}, event.step)
            case EpochDone(row) if self._run is not None:
                self._log({f"epoch/{name}": value for name, value in row.to_dict().items()}, row.step, ends=True)
            case Ended() if self._run is not None:
                self._log({}, event.step, ends=True)
                self._run.summary["reason"] = event.reason
            case Failed():
                self._failed = True

    def lose(self) -> None:
        self._run = None

    def close(self) -> None:
        if self._run is not None:
            self._run.finish(exit_code=int(self._failed))

    def _begun(self, event: Started) -> Any:
        watch, folder = self._config.watch, Path(self._config.output.results)
        path = folder / _ID
        if not (event.resumed and path.is_file()):
            path.write_text(secrets.token_hex(4) + "\n")
        online = watch.wandb == "online"
        return self._wandb.init(
            project=watch.wandb_project,
            name=watch.wandb_name,
            dir=str(folder),
            mode="online" if online else "offline",
            id=path.read_text().strip(),
            resume="allow" if online else None,
            config=to_dict(self._config),
            # Our lines stay our own, and the monitors here see the machine. It gives up before we give it up.
            settings=self._wandb.Settings(
                console="off",
                silent=True,
                disable_git=True,
                x_disable_stats=True,
                init_timeout=_BEGINS_WITHIN,
                finish_timeout=_ENDS_WITHIN,
            ),
        )

    def _log(self, values: dict[str, float], step: int, *, ends: bool = False) -> None:
        """Adds to what is known of the step, which is complete with the next one, or with ``ends``."""
        if step < self._run.step:  # of a run that goes on: it has this one
            return
        known = {name: value for name, value in values.items() if math.isfinite(value)}
        self._run.log(known, step=step, commit=ends)
