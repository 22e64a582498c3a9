"""The rows of one station file of PeMS put into their places: by the compiled reader, or, without it, by pyarrow.

Shape legend: R rows, N sensors, C channels, K places (steps x N).
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from dcrnn_fast.data.blocks import MoreSensorsError
from dcrnn_fast.data.formats.pems_files import Head, Period, is_packed
from dcrnn_fast.errors import UserError
from dcrnn_fast.kernels.native import library
from dcrnn_fast.messages import naming_file

CHANNELS = ("flow", "occupancy", "speed", "observed")
_OBSERVED = 3
_UNKNOWN_STATION = 2
_PACKED, _PLAIN = 1 << 16, 1 << 19
"""bytes of a file at a time: some 400 KB of text, which the second-level cache holds"""


@dataclass(slots=True)
class Counts:
    """What was met in a file.

    Attributes:
        rows: of the file; imputed: of which nothing was observed.
        stranger: of another day than the file's; twice: of a station and time that had a row before.
    """

    rows: int = 0
    imputed: int = 0
    stranger: int = 0
    twice: int = 0


class StationIndex:
    """From station ids to their places among all stations.

    Attributes:
        first: the lowest id; places: int32, of the ids from there on, -1 for none.
    """

    def __init__(self, stations: np.ndarray) -> None:
        self.first = int(stations[0])
        self.places = np.full(int(stations[-1]) - self.first + 1, -1, dtype=np.int32)
        self.places[stations - self.first] = np.arange(len(stations))

    def __call__(self, ids_R: np.ndarray) -> np.ndarray:
        """(R,) int32, -1 for a station that is not among them."""
        offsets_R = ids_R - self.first
        known_R = (offsets_R >= 0) & (offsets_R < len(self.places))
        return np.where(known_R, self.places[np.where(known_R, offsets_R, 0)], -1)


def _compiled() -> Callable[..., tuple[int, ...]] | None:
    return getattr(library().module, "station_rows", None)


def is_compiled() -> bool:
    """Whether the compiled library is there and has the reader."""
    return _compiled() is not None


def fill_compiled(
    readings_RNC: np.ndarray,
    seen_RN: np.ndarray,
    period: Period,
    head: Head,
    index_of: StationIndex,
    *,
    keep_imputed: bool,
) -> Counts:
    """Reads a file into the readings, and notes the places that have a row.

    Args:
        readings_RNC: float32, NaN where nothing is known yet; seen_RN: bool.

    Raises:
        MoreSensorsError: it has stations that ``index_of`` does not know.
        UserError: the file is damaged, or a line is no row of such a file.
    """
    from dcrnn_fast.data.formats.pems_text import tell_fault  # pyarrow, for files at fault alone

    read = _compiled()
    assert read is not None
    totals = np.zeros(4, dtype=np.int64)
    rest, skipped = b"", head.skipped
    with naming_file(period.path):
        for piece, at_end in _text_of(period):
            text = rest + piece
            for _ in range(skipped if b"\n" in text else 0):
                text, skipped = text[text.index(b"\n") + 1 :], skipped - 1
            consumed, *met, fault = read(
                text,
                at_end,
                readings_RNC,
                seen_RN,
                index_of.places,
                first_id=index_of.first,
                steps=len(seen_RN),
                stations=seen_RN.shape[1],
                first_second=int(period.first.astype("datetime64[s]").astype(np.int64)),
                step_seconds=int(period.step.astype("timedelta64[s]").astype(np.int64)),
                columns=head.columns,
                keep_imputed=keep_imputed,
            )
            totals += met
            if fault == _UNKNOWN_STATION:
                raise MoreSensorsError(f"{period.path}: a station that the first time of no file has")
            if fault:
                tell_fault(period, head)
                raise UserError(f"a line is no row: {text[consumed : consumed + 60]!r}")
            rest = text[consumed:]
    return Counts(*totals.tolist())


def _text_of(period: Period) -> Iterator[tuple[bytes, bool]]:
    """A file's text in pieces, and whether one is the last.

    Raises:
        UserError: it is cut short, or no gzip file.
    """
    damage = "is cut short, or no gzip file: fetch it again"
    packed = is_packed(period.path)
    unpack = zlib.decompressobj(31)
    with period.path.open("rb") as file:
        while content := file.read(_PACKED if packed else _PLAIN):
            try:
                text = unpack.decompress(content) if packed else content
                while unpack.eof and (rest := unpack.unused_data):  # files that were put together have several members
                    unpack = zlib.decompressobj(31)
                    text += unpack.decompress(rest)
            except zlib.error as error:
                raise UserError(damage) from error
            yield text, False
        if packed and not unpack.eof:
            raise UserError(damage)
        yield b"", True


def fill_with_arrow(
    readings_RNC: np.ndarray,
    seen_RN: np.ndarray,
    period: Period,
    head: Head,
    index_of: StationIndex,
    *,
    keep_imputed: bool,
) -> Counts:
    """``fill_compiled`` without the compiled library, at half its speed."""
    from dcrnn_fast.data.formats.pems_text import READ, batches_of, row_of

    counts = Counts()
    num_stations = seen_RN.shape[1]
    flat_KC, seen_K = readings_RNC.reshape(-1, len(CHANNELS)), seen_RN.reshape(-1)
    last = -1
    row_of_text: dict[str | None, int] = {}
    for batch in batches_of(period, head, tuple(READ)):
        columns = {name: batch.column(k) for k, name in enumerate(READ.values())}
        counts.rows += batch.num_rows
        texts = columns["time"].dictionary.to_pylist()
        row_of_text |= {text: row_of(text, period, head) for text in texts if text not in row_of_text}
        row_R = np.array([row_of_text[text] for text in texts], dtype=np.int64)[columns["time"].indices.to_numpy()]
        place_R = index_of(columns["station"].to_numpy())
        if (place_R < 0).any():
            raise MoreSensorsError(f"{period.path}: a station that the first time of no file has")
        values_RC = np.stack([columns[name].to_numpy(zero_copy_only=False) for name in CHANNELS], axis=1)
        imputed_R = (values_RC[:, _OBSERVED] == 0) & ~np.isnan(values_RC[:, 0])
        if not keep_imputed:
            values_RC[imputed_R, :_OBSERVED] = np.nan
        flat_R = row_R * num_stations + place_R
        if (row_R < 0).any():
            counts.stranger += int((row_R < 0).sum())
            flat_R, values_RC, imputed_R = (one[row_R >= 0] for one in (flat_R, values_RC, imputed_R))
        if flat_R.size and (flat_R[0] <= last or (np.diff(flat_R) <= 0).any()):
            kept_R = np.zeros(len(flat_R), dtype=bool)
            kept_R[np.unique(flat_R, return_index=True)[1]] = True
            kept_R &= ~seen_K[flat_R]
            counts.twice += int((~kept_R).sum())
            flat_R, values_RC, imputed_R = (one[kept_R] for one in (flat_R, values_RC, imputed_R))
        flat_KC[flat_R], seen_K[flat_R] = values_RC, True
        counts.imputed += int(imputed_R.sum())
        last = max(last, int(flat_R.max(initial=-1)))
    return counts
