"""Any bytes and any cells in the published formats: a series, or one line."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.sources import read_source
from dcrnn_fast.errors import UserError
from tests.data.test_basicts import START, _memmap, _pickle, _split
from tests.data.test_libcity import _write as write_city
from tests.data.test_partitioned import _by_month, _long, _write
from tests.data.written_files import write_rdb, write_tsf

CELLS = [
    b"",
    b" ",
    b"0",
    b"-1",
    b"1e400",
    b"nan",
    b"Ice",
    b"x",
    b"\xe9",
    b'"',
    b"\n",
    b"\r",
    b"\t",
    b",",
    b":",
    b"#",
    b"<",
]
CELLS += [
    b"2024-03-04",
    b"9999-99-99",
    b"0001-01-01T00:00Z",
    b"\x00",
    b"{",
    b"[",
    b"null",
    b"\xff\xfe",
    b"99999999999999999999",
]


def _sole(write: Callable[[Path], None], name: str) -> Callable[[Path], None]:
    def made(folder: Path) -> None:
        folder.mkdir()
        write(folder / name)

    return made


WRITERS: dict[str, Callable[[Path], object]] = {
    "basicts": _memmap,
    "basicts-split": _split,
    "basicts-pickle": _pickle,
    "libcity": write_city,
    "partitioned": lambda folder: _write(_long(3), folder, _by_month, "csv"),
    "partitioned-parquet": lambda folder: _write(_long(3), folder, _by_month, "parquet"),
    "usgs": _sole(write_rdb, "a.txt"),
    "tsf": _sole(write_tsf, "a.tsf"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", WRITERS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_no_bytes_do_more_than_fail(tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("any") / "x"
    WRITERS[kind](folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    content = path.read_bytes()
    start = data.draw(st.integers(0, len(content)))
    stop = min(len(content), start + data.draw(st.integers(0, 30)))
    if data.draw(st.booleans()):  # a cell, rather than any bytes
        borders = [match.start() for match in re.finditer(rb"[,\t:\n]", content)] or [0]
        start = borders[start % len(borders)] + 1
        stop = next((border for border in borders if border >= start), len(content))
    new = data.draw(st.one_of(st.binary(max_size=30), st.lists(st.sampled_from(CELLS), max_size=4).map(b"".join)))
    path.write_bytes(content[:start] + new + content[stop:])
    begin = START if kind.startswith("basicts") else None
    source = files[0] if kind == "tsf" else folder
    try:
        series, _ = read_source(DataConfig(data=str(source), start=begin), GraphConfig())
        assert np.isfinite(np.asarray(series.values_TNC)).all()
        assert (np.diff(series.times_T) > np.timedelta64(0, "s")).all()
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017
