"""metrics.csv: a row for each epoch."""

import csv
import io
from pathlib import Path

from dcrnn_fast.config.sections import Config
from dcrnn_fast.files import write_bytes
from dcrnn_fast.records.events import COLUMNS, EpochDone, EpochRow, Event, Started
from dcrnn_fast.records.watcher import FIRST, Place, Watcher

METRICS = "metrics.csv"


class MetricsFile(Watcher):
    """Writes metrics.csv anew after each epoch, from the history: no epoch twice, even if one was repeated."""

    lasting = True
    files = (METRICS,)

    def __init__(self, config: Config, place: Place = FIRST) -> None:
        self._path = Path(config.output.results, METRICS)
        self._rows: list[EpochRow] = []

    def see(self, event: Event) -> None:
        """Raises UserError when the file cannot be written; the next epoch writes all rows again."""
        match event:
            case Started():
                self._rows = list(event.history)
                if event.resumed:
                    self._write()
            case EpochDone(row):
                self._rows.append(row)
                self._write()

    def _write(self) -> None:
        rows = [row.cells() for row in self._rows]
        more = dict.fromkeys(name for row in rows for name in row if name not in COLUMNS)
        text = io.StringIO()
        writer = csv.DictWriter(text, (*COLUMNS, *more), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_bytes(self._path, text.getvalue().encode())
