"""``dcrnn-fast forecast --watch``: a new forecast whenever new rows are there, until a signal ends it."""

import hashlib
import sys
import time
from collections.abc import Callable

import numpy as np

from dcrnn_fast.data.growing import GrowingSource, State
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.errors import STOPPED, UserError
from dcrnn_fast.messages import one_line
from dcrnn_fast.ranks.stopping import StopRequest, stop_on_signals

_SHORTEST, _LONGEST, _FACTOR = 0.5, 20.0, 1.5
"""seconds from one look at the source to the next, which grow while it does not change"""
_PATIENCE = 5.0
"""seconds without a change after which an error is told"""
_SLICE = 0.25
"""seconds after which a signal is noticed at the latest"""


def watch(source: GrowingSource, write: Callable[[SensorSeries], None], rows: int | None) -> int:
    """Calls ``write`` with the newest rows whenever they are others than before.

    What cannot be read may be half written: it is tried again, and if it lasts, told in one line. The source may be
    replaced, and be absent for a while. Waits and ages are of the monotonic clock, files are compared for equality.

    Args:
        rows: so many of the newest ones are compared with those before; None: all that are read.
    Returns:
        The exit code: stopped by a signal.
    """
    with stop_on_signals() as request:
        _Watch(source, write, rows, request).run()
    print(f"stopped by {request.signal_name}", file=sys.stderr)
    return STOPPED


class _Watch:
    def __init__(
        self, source: GrowingSource, write: Callable[[SensorSeries], None], rows: int | None, request: StopRequest
    ) -> None:
        self._source, self._write, self._rows, self._request = source, write, rows, request
        self._written, self._count, self._newest = "", 0, ""
        self._told, self._failing = "", 0.0

    def run(self) -> None:
        done: State | None = None
        before: State | None = None
        since = time.monotonic()
        wait = _SHORTEST
        while not self._request.requested:
            state = self._source.state()
            if state != before:
                before, since, wait = state, time.monotonic(), _SHORTEST
            if state != done:
                age = time.monotonic() - since
                if self._try(state, age):
                    done, wait = state, _SHORTEST
            self._status()
            self._pause(wait)
            wait = min(wait * _FACTOR, _LONGEST)

    def _try(self, state: State, age: float) -> bool:
        """Whether all that is in the source now is dealt with."""
        try:
            if not state:
                raise UserError(f"{self._source.path} is not there; waiting for it")
            complete = self._source.newest(self._use)
            said = "" if complete else f"{self._source.path}: the last line has no end yet, and is not read"
        except (UserError, OSError) as error:
            # A file that is written all the time has no age.
            self._failing = self._failing or time.monotonic()
            self._tell(f"{one_line(error)}; trying again", time.monotonic() - self._failing)
            return False
        self._failing = 0.0
        self._tell(said, age)
        return complete

    def _tell(self, said: str, age: float) -> None:
        """Prints what has lasted for so many seconds, unless it did so the last time."""
        if said and age < _PATIENCE:
            return
        if said not in ("", self._told):
            self._clear()
            print(f"dcrnn-fast forecast: {said}", file=sys.stderr, flush=True)
        self._told = said

    def _use(self, series: SensorSeries) -> None:
        recent = series if self._rows is None else series.tail(self._rows)
        # A long table's sensors come in the order of the rows that were read.
        recent = recent.take_sensors(tuple(sorted(recent.ids)))
        digest = hashlib.sha256("\0".join(recent.ids).encode())
        for array in (recent.times_T, recent.values_TNC, recent.observed_TNC):
            digest.update(np.ascontiguousarray(np.asarray(array)).tobytes())
        if digest.hexdigest() == self._written:
            return
        self._clear()
        self._write(series)
        self._written, self._newest = digest.hexdigest(), str(recent.times_T[-1])
        self._count += 1

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._request.requested and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _SLICE))

    def _status(self) -> None:
        if sys.stderr.isatty():
            waits = f" after {self._newest}" if self._newest else ""
            print(f"\r\x1b[Kwaiting for rows{waits}; {self._count} forecast(s)", end="", file=sys.stderr, flush=True)

    def _clear(self) -> None:
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
