"""Data sets known by name: their files, the files' folders, and the addresses to download them from.

The files of a data set lie in DATA_FOLDER/NAME/. An address is given only with a checksum that was computed from the
file itself, at a fixed commit; users fetch the other files by hand from the place that is named.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dcrnn_fast.config.data import DataConfig, Match
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.errors import UserError

Missing = Literal["zero", "nan", "none"]


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownFile:
    """One file of a data set.

    Attributes:
        name: its name in the data set's folder.
        place: the place that people get it from.
        address, sha256: for a download; both or none.
    """

    name: str
    place: str
    address: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownData:
    """A data set: its files, and the settings to read them that the files do not hold themselves.

    Attributes:
        ids: a file with one sensor id a line, for arrays that name none.
        start, freq: for files without times.
        missing: which of its readings are missing.
        match: how graph and series belong together.
        shape: (time, sensors) of the complete series, by which a file of it is recognised under any name.
    """

    series: KnownFile
    graph: KnownFile
    ids: KnownFile | None = None
    start: str | None = None
    freq: str | None = None
    missing: Missing = "zero"
    match: Match = "id"
    channels: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    shape: tuple[int, int] | None = None

    @property
    def files(self) -> tuple[KnownFile, ...]:
        """All of its files."""
        return tuple(file for file in (self.series, self.graph, self.ids) if file is not None)


def _at_github(repository: str, commit: str, path: str, sha256: str) -> KnownFile:
    return KnownFile(
        name=path.rsplit("/", 1)[-1],
        place=f"github.com/{repository}, {path}",
        address=f"https://raw.githubusercontent.com/{repository}/{commit}/{path}",
        sha256=sha256,
    )


_DCRNN = ("liyaguang/DCRNN", "602afd9d767d3aa1c9b3eac51710d6aeee12c227")
_URBAN = ("mmtop/UrbanDCRNN", "5c04fdd3ac36f06950ba2999ca3ccc8465e64859")
_TGCN = ("lehaifeng/T-GCN", "219a2346f5bf68d54d91a948e7a41a08f9edc46b")
_DCRNN_README = "the folder that the README of github.com/liyaguang/DCRNN links under Data Preparation"
_STSGCN_README = "the archive that the README of github.com/Davidham3/STSGCN links"


def _of_li(name: str, pickle: str, sha256: str, shape: tuple[int, int]) -> KnownData:
    """The data sets of Li et al. 2018."""
    return KnownData(
        series=KnownFile(name=f"{name}.h5", place=_DCRNN_README),
        graph=_at_github(*_DCRNN, f"data/sensor_graph/{pickle}", sha256),
        channels=("speed",),
        units=("mph",),
        shape=shape,
    )


def _pems0x(name: str, start: str, *, ids: bool = False) -> KnownData:
    return KnownData(
        series=KnownFile(name=f"{name}.npz", place=_STSGCN_README),
        graph=KnownFile(name=f"{name}.csv", place=_STSGCN_README),
        ids=KnownFile(name=f"{name}.txt", place=_STSGCN_README) if ids else None,
        start=start,
        freq="5min",
    )


KNOWN: dict[str, KnownData] = {
    "metr-la": _of_li(
        "metr-la", "adj_mx.pkl", "a35687c6e15aa228dc45027b0ed2a0ea0f4ec78f573deb992c595092d12f61b3", (34272, 207)
    ),
    "pems-bay": _of_li(
        "pems-bay", "adj_mx_bay.pkl", "116275f5704d0d492018e14c047f7ae5004385b450aa907f88424055a4a97370", (52116, 325)
    ),
    "los-loop": KnownData(
        series=_at_github(
            *_TGCN, "data/los_speed.csv", "7b732d86ae32b2930595becba28aff39dacbfb2197e250fc0332e1744ce2cbf4"
        ),
        graph=_at_github(
            *_TGCN, "data/los_adj.csv", "7a6eb41e10677992b5af50f5ab187c6c05c5c3a92cb973950cfddbf857361e76"
        ),
        start="2012-03-01T00:00:00",
        freq="5min",
        missing="none",
        channels=("speed",),
        units=("mph",),
    ),
    "the-hague": KnownData(
        series=_at_github(*_URBAN, "data/DH.h5", "063cb8917d0f478b764701cfddeff712aa4eb44e7fa1f4a90ed956edb7c0f238"),
        graph=_at_github(
            *_URBAN,
            "data/sensor_graph/adj_mx.pkl",
            "197234d4c50aecf01b9acba3da32f1c534026a8972f2fcbbd88067b58263adb3",
        ),
        missing="none",
        # 17 column labels differ from the graph's ids; the order is the same.
        match="position",
        channels=("vehicles",),
        units=("per 15 min",),
    ),
    "pems03": _pems0x("PEMS03", "2018-09-01T00:00:00", ids=True),
    "pems04": _pems0x("PEMS04", "2018-01-01T00:00:00"),
    "pems07": _pems0x("PEMS07", "2017-05-01T00:00:00"),
    "pems08": _pems0x("PEMS08", "2016-07-01T00:00:00"),
}


def missing_rule(data: DataConfig) -> Missing | Literal["auto"]:
    """zero, nan or none: the meaning of ``data.missing`` for its source; auto: the readings themselves decide."""
    if data.missing != "auto" or data.data not in KNOWN:
        return data.missing
    return KNOWN[data.data].missing


def is_published(data: DataConfig, series: SensorSeries) -> bool:
    """Whether this is one of the data sets that the published recipe was published for: by name, or METR-LA or PEMS-BAY
    by the size of its series (no other has it).
    """
    if data.data in KNOWN:
        return True
    shape = (series.num_steps, series.num_sensors)
    return any(known.shape == shape and known.missing == series.missing for known in KNOWN.values())


def known_data(name: str) -> KnownData:
    """The data set of this name.

    Raises:
        UserError: there is none; the known names are listed.
    """
    if name not in KNOWN:
        raise UserError(f"no data set is called {name!r}; known: city, {', '.join(KNOWN)}")
    return KNOWN[name]


def require_files(name: str, folder: Path) -> None:
    """Check that the files of a known data set are in their place, ``folder``/``name``.

    Raises:
        UserError: one is not; the message names its place and its origin.
    """
    for file in known_data(name).files:
        path = folder / name / file.name
        if not path.is_file():
            fetch = f"dcrnn-fast prepare --download {name}, or put it there from " if file.address else "get it from "
            raise UserError(f"{name}: {path} is missing: {fetch}{file.place}")
