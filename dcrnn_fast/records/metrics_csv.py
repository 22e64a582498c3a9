"""metrics.csv: a row for each epoch."""

import csv
import io
from pathlib import Path
from typing import Any, get_args, get_type_hints

from dcrnn_fast.config.sections import Config
from dcrnn_fast.files import write_bytes
from dcrnn_fast.records.columns import number, read_columns, whole
from dcrnn_fast.records.events import COLUMNS, TARGET, EpochDone, EpochRow, Event, Started
from dcrnn_fast.records.watcher import FIRST, Place, Watcher

METRICS = "metrics.csv"


def read_metrics(path: Path) -> list[EpochRow]:
    """The rows of a metrics.csv, also of a run that goes on, and of another version with fewer or more columns.

    Raises:
        UserError: as ``read_columns``; an absent column is a mistake only if every version writes it.
    """
    hints: dict[str, Any] = {name: hint for name, hint in get_type_hints(EpochRow).items() if name in COLUMNS}
    kinds = {name: whole if int in (hint, *get_args(hint)) else number for name, hint in hints.items()}
    optional = {name: kind for name, kind in kinds.items() if type(None) in get_args(hints[name])}
    needed = {name: kind for name, kind in kinds.items() if name not in optional}
    return [EpochRow.from_dict(row) for row in read_columns(path, needed, optional=optional, prefix=TARGET)]


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
