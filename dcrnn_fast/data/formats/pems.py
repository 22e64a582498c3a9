"""Station files of the Caltrans PeMS clearinghouse: a folder of days (5 minutes) or months (hours), read in pieces.

The files have no line of names: time (MM/DD/YYYY HH:MM:SS), station, district, freeway, direction, lane type, length,
samples, % observed, total flow, average occupancy, average speed; then columns of each lane, which are not read. PeMS
fills in readings that its detectors did not give: such a row has 0 % observed.

Shape legend: T time, R rows of a file, N sensors, C channels.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.blocks import Blocks
from dcrnn_fast.data.formats import Opened
from dcrnn_fast.data.formats.folder_files import note_of_left
from dcrnn_fast.data.formats.pems_files import (
    Head,
    Period,
    files_in,
    has_metadata,
    head_of_readings,
    metadata_beside,
    others_in,
    periods_of,
    positions_in,
    require_no_nul,
)
from dcrnn_fast.data.formats.pems_rows import CHANNELS, StationIndex, fill_compiled, fill_with_arrow, is_compiled
from dcrnn_fast.data.formats.pems_text import stations_of
from dcrnn_fast.data.timestamps import Stamps
from dcrnn_fast.messages import counted, first_few

_FILES_AT_ONCE = 2
"""each takes a processor; a third one would wait for the main thread, which cleans what they read"""


def open_pems(path: Path, data: DataConfig, graph: GraphConfig) -> Opened:
    """The station files of a folder, or one of them. The stations are those of each file's first time; if ``read``
    finds others, all files are gone through for their stations.

    Raises:
        UserError: no such file, 5-minute and hourly files together, a day twice, one with other columns, metadata that
            cannot be read.
    """
    paths = [path, *metadata_beside(path)] if path.is_file() else list(files_in(path))
    periods = periods_of(path, paths)
    heads = [head_of_readings(period) for period in periods]
    stations = np.unique([station for head in heads for station in head.stations])
    others = [] if path.is_file() else others_in(path, paths, periods)
    blocks = _blocks(path, paths, periods, heads, stations, others, keep_imputed=data.imputed == "keep")
    return blocks, None


def _blocks(
    folder: Path,
    paths: list[Path],
    periods: list[Period],
    heads: list[Head],
    stations: np.ndarray,
    others: list[str],
    *,
    keep_imputed: bool,
) -> Blocks:
    kind, rows = periods[0].kind, {period.first: period.rows for period in periods}
    step = periods[0].step
    times_T = np.concatenate([first + np.arange(count) * step for first, count in rows.items()])
    positions_N2, place_notes = _positions(folder, paths, stations)
    found = _Found()

    def read() -> Iterator[np.ndarray]:
        found.clear()
        return _read(periods, heads, stations, found, keep_imputed=keep_imputed)

    def thorough() -> Blocks:
        everything = np.unique(np.concatenate([stations_of(*one) for one in zip(periods, heads, strict=True)]))
        return _blocks(folder, paths, periods, heads, everything, others, keep_imputed=keep_imputed)

    return Blocks(
        stamps=Stamps(times_T, False),
        ids=tuple(map(str, stations.tolist())),
        channels=CHANNELS,
        units=(f"vehicles/{'5 min' if kind == '5min' else 'h'}", "1", "mph", "%"),
        where=folder.name,
        read=read,
        positions_N2=positions_N2,
        interval=step,
        notes=(*place_notes, *note_of_left(folder, others)),
        account=lambda: found.told(folder, periods, keep_imputed=keep_imputed),
        thorough=thorough,
    )


@dataclass
class _Found:
    """What was met in reading.

    Attributes:
        rows: of all files, imputed: of which 0 % was observed.
        stranger: rows of another day than their file's; twice: of a station and time that had a row before; each by the
            file's name.
        absent: times without a row, by the file's name.
    """

    rows: int = 0
    imputed: int = 0
    stranger: Counter[str] = field(default_factory=Counter)
    twice: Counter[str] = field(default_factory=Counter)
    absent: Counter[str] = field(default_factory=Counter)

    def clear(self) -> None:
        """As if nothing was read."""
        self.__init__()  # type: ignore[misc]

    def add(self, other: "_Found") -> None:
        """One more file's."""
        self.rows, self.imputed = self.rows + other.rows, self.imputed + other.imputed
        for mine, one in ((self.stranger, other.stranger), (self.twice, other.twice), (self.absent, other.absent)):
            mine.update(one)

    def told(self, folder: Path, periods: Sequence[Period], *, keep_imputed: bool) -> tuple[str, ...]:
        """Lines about it."""
        what = "day" if periods[0].kind == "5min" else "month"
        firsts = sorted({period.first for period in periods})
        unit = np.datetime64(0, "D" if what == "day" else "M").dtype
        spans = np.array(firsts, dtype=unit)
        every = np.arange(spans[0], spans[-1] + 1)
        gaps = [str(one) for one in every[~np.isin(every, spans)]]
        lines = [
            f"{folder}: {counted(len(firsts), what)} from {spans[0]} to {spans[-1]}, {counted(len(periods), 'file')}, "
            f"{self.rows:,} rows; times are California's local ones"
        ]
        if gaps:
            lines.append(f"{folder}: no file of {counted(len(gaps), what)}: {first_few(gaps)}")
        districts = {period.district for period in periods}
        for district in sorted(districts):
            own = {period.first for period in periods if period.district == district}
            if lacking := [str(first.astype(unit)) for first in firsts if first not in own]:
                lines.append(f"{folder}: district {district} has no file of {first_few(lacking)}, others have")
        if self.imputed:
            share = f"{100 * self.imputed / max(self.rows, 1):.3g} % of the rows hold what PeMS imputed (0 % observed)"
            done = "they count as readings" if keep_imputed else "they count as missing; --imputed keep reads them"
            lines.append(f"{folder}: {share}: {done}")
        for counts, why in (
            (self.stranger, "rows of another day than their file's were dropped"),
            (self.twice, "rows of a station and time that came before were dropped, as where clocks are set back"),
            (
                self.absent,
                "times without a row are missing readings, as where clocks are set forward or a file was cut short",
            ),
        ):
            if counts:
                total, files = sum(counts.values()), first_few(sorted(counts))
                lines.append(f"{folder}: {total:,} {why}: {files}")
        return tuple(lines)


def _positions(folder: Path, paths: list[Path], stations: np.ndarray) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """(N, 2), None if a station has none; and why."""
    if not has_metadata(paths):
        return None, (f"{folder}: no file of metadata (d04_text_meta_2024_03_01.txt), so no positions",)
    places = positions_in(paths)
    known = set(stations.tolist())
    lacking = [str(one) for one in stations.tolist() if one not in places]
    spare = [str(one) for one in places if one not in known]
    notes = []
    if spare:
        notes.append(f"{folder}: {counted(len(spare), 'station')} of the metadata without readings: {first_few(spare)}")
    if lacking:
        notes.append(
            f"{folder}: {counted(len(lacking), 'station')} without a position in the metadata, so none has one: "
            f"{first_few(lacking)}"
        )
        return None, tuple(notes)
    return np.array([places[one] for one in stations.tolist()]), tuple(notes)


def _read(
    periods: list[Period], heads: list[Head], stations: np.ndarray, found: _Found, *, keep_imputed: bool
) -> Iterator[np.ndarray]:
    """Day after day (T, N, C), files of one day together, some days ahead in threads."""
    index_of = StationIndex(stations)
    days: dict[np.datetime64, list[tuple[Period, Head]]] = {}
    for period, head in zip(periods, heads, strict=True):
        days.setdefault(period.first, []).append((period, head))

    def read_day(files: list[tuple[Period, Head]]) -> tuple[np.ndarray, _Found]:
        readings_RNC = np.full((files[0][0].rows, len(stations), len(CHANNELS)), np.nan, dtype=np.float32)
        met = _Found()
        for period, head in files:
            met.add(_fill(readings_RNC, period, head, index_of, keep_imputed=keep_imputed))
        return readings_RNC, met

    workers = min(_FILES_AT_ONCE, len(os.sched_getaffinity(0)))
    pool = ThreadPoolExecutor(workers)
    try:
        waiting: list[Future[tuple[np.ndarray, _Found]]] = []
        for files in days.values():
            waiting.append(pool.submit(read_day, files))
            if len(waiting) > workers:
                yield _result(waiting.pop(0), found)
        while waiting:
            yield _result(waiting.pop(0), found)
    finally:
        pool.shutdown(cancel_futures=True)


def _result(future: "Future[tuple[np.ndarray, _Found]]", found: _Found) -> np.ndarray:
    readings_RNC, met = future.result()
    found.add(met)
    return readings_RNC


def _fill(
    readings_RNC: np.ndarray, period: Period, head: Head, index_of: StationIndex, *, keep_imputed: bool
) -> _Found:
    """Puts a file's readings into their places.

    Raises:
        MoreSensorsError: it has stations that ``index_of`` does not know.
        UserError: the file is damaged, or a line is no row of such a file.
    """
    require_no_nul(period.path)
    seen_RN = np.zeros(readings_RNC.shape[:2], dtype=bool)
    fill = fill_compiled if is_compiled() else fill_with_arrow
    counts = fill(readings_RNC, seen_RN, period, head, index_of, keep_imputed=keep_imputed)
    name = period.path.name
    met = _Found(rows=counts.rows, imputed=counts.imputed)
    absent = len(seen_RN) - int(seen_RN.any(axis=1).sum())
    for counter, count in ((met.stranger, counts.stranger), (met.twice, counts.twice), (met.absent, absent)):
        if count:
            counter[name] += count
    return met
