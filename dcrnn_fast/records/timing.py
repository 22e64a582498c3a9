"""timing_rank0.csv and so on: where each rank's time went, a row for each epoch."""

import csv
from pathlib import Path

from dcrnn_fast.config.sections import Config
from dcrnn_fast.errors import UserError
from dcrnn_fast.files import open_regular, write_bytes
from dcrnn_fast.records.events import Event, Started, Timed
from dcrnn_fast.records.lines import append, csv_line
from dcrnn_fast.records.watcher import Place, Watcher

PARTS = ("data", "forward", "backward", "communication", "optimizer", "other")
"""of a step, in its order"""
COLUMNS = ("epoch", "step", "steps", *(f"{part}_seconds" for part in PARTS))


class TimingFile(Watcher):
    """Writes this rank's file; of a resumed run the epochs that are not trained again stay above."""

    where = "ranks"
    lasting = True
    files = ("timing_rank*.csv",)

    def __init__(self, config: Config, place: Place) -> None:
        self._path = Path(config.output.results, f"timing_rank{place.rank}.csv")
        self._epochs = 0
        self._begun = False
        self._unwritten = b""

    def see(self, event: Event) -> None:
        """Raises UserError when the file cannot be written; the next epoch brings this one along."""
        match event:
            case Started():
                self._epochs = event.epoch if event.resumed else 0
            case Timed():
                times = [event.seconds.get(part) for part in PARTS]
                cells = [None if seconds is None else round(seconds, 6) for seconds in times]
                self._unwritten += csv_line([event.epoch, event.step, event.steps, *cells])
                try:
                    self._write()
                except OSError as error:
                    raise UserError(f"cannot write {self._path}: {error.strerror or error}") from error

    def _write(self) -> None:
        if not self._begun:
            # A host may have a disk of its own, on which nobody has made the folder, or moved an earlier run's file.
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(self._path, csv_line(COLUMNS) + self._earlier())
            self._begun = True
        append(self._path, self._unwritten)
        self._unwritten = b""

    def _earlier(self) -> bytes:
        """The rows of the epochs that this run goes on from."""
        if not self._epochs or not self._path.is_file():
            return b""
        with open_regular(self._path) as stream:
            rows = csv.reader(stream.read().decode(errors="replace").splitlines())
        kept = (row for row in rows if len(row) == len(COLUMNS) and row[0].isdecimal() and int(row[0]) <= self._epochs)
        return b"".join(map(csv_line, kept))
