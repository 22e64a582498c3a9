"""Monash .tsf files."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data import scratch
from dcrnn_fast.data.formats import open_path, tsf
from dcrnn_fast.errors import UserError
from tests.data.written_files import read

HEADER = "# About it\n@relation nn5\n@attribute series_name string\n@attribute start_timestamp date\n"


def _write(path: Path, body: str, *, frequency: str = "daily", equal: str = "false", header: str = HEADER) -> Path:
    told = f"@frequency {frequency}\n" if frequency else ""
    text = f"{header}{told}@horizon 8\n@missing true\n@equallength {equal}\n@data\n{body}"
    path.write_bytes(text.encode("cp1252"))
    return path


BODY = "T1:1996-03-18 00-00-00:1,2,?,4,0\nCafé:1996-03-20 00-00-00:5.5,6\nT3:1996-03-16 00-00-00:7,8,9\n"


def test_series_of_different_starts_and_lengths_share_a_grid(tmp_path: Path) -> None:
    series = read(_write(tmp_path / "x.tsf", BODY))
    assert (series.ids, series.freq, series.missing, series.in_utc) == (("T1", "Café", "T3"), "1D", "nan", False)
    assert series.times_T[[0, -1]].astype(str).tolist() == ["1996-03-16T00:00:00", "1996-03-22T00:00:00"]
    nan = np.nan
    wanted = [[nan, nan, 1, 2, nan, 4, 0], [nan, nan, nan, nan, 5.5, 6, nan], [7, 8, 9, nan, nan, nan, nan]]
    readings = np.where(series.observed_TNC, series.values_TNC, nan)[..., 0]
    assert np.array_equal(readings.T, wanted, equal_nan=True)
    said = "x.tsf: 3 series on 7 common times: 2 begin later and 2 end earlier; what they lack is missing"
    assert said in series.notes
    assert "x.tsf: its benchmark forecasts 8 steps (--future-steps)" in series.notes


@pytest.mark.parametrize(
    ("frequency", "second", "freq"),
    [
        ("half_hourly", "1996-03-18 01-00-00", "30min"),
        ("10_minutes", "1996-03-18 00-20-00", "10min"),
        ("4_seconds", "1996-03-18 00-00-08", "4s"),
        ("weekly", "1996-04-01 00-00-00", "7D"),
        ("monthly", "1996-05-18 00-00-00", "1MS"),
        ("quarterly", "1996-09-18 00-00-00", "3MS"),
        ("yearly", "1998-03-18 00-00-00", "12MS"),
    ],
)
def test_every_frequency(frequency: str, second: str, freq: str, tmp_path: Path) -> None:
    body = f"a:1996-03-18 00-00-00:1,2,3\nb:{second}:4,5\n"
    series = read(_write(tmp_path / "x.tsf", body, frequency=frequency))
    assert (series.freq, series.num_steps) == (freq, 4)
    assert series.values_TNC[:, 1, 0].tolist() == [0, 0, 4, 5]


def test_files_without_starts_or_frequency_need_the_flags(tmp_path: Path) -> None:
    header = HEADER.replace("@attribute start_timestamp date\n", "")
    path = _write(tmp_path / "x.tsf", "a:1,2,3\nb:4,5\n", frequency="", header=header)
    with pytest.raises(UserError, match="names no @frequency: give --freq"):
        read(path)
    with pytest.raises(UserError, match=r"has no time column: give --start"):
        read(path, freq="1D")
    series = read(path, freq="1D", start="2024-01-01")
    assert series.num_steps == 3
    assert "look: x.tsf: series of different lengths without starts are laid to begin together" in series.notes
    path = _write(tmp_path / "x.tsf", BODY, frequency="often")
    with pytest.raises(UserError, match="@frequency 'often' is not known: give --freq"):
        read(path)
    assert read(path, freq="1D").num_steps == 7
    with pytest.raises(UserError, match="@frequency is daily, --freq says 1h"):
        read(_write(tmp_path / "x.tsf", BODY), freq="1h")
    with pytest.raises(UserError, match="has times of its own"):
        read(path, freq="1D", start="2024-01-01")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"body": BODY.replace("?", "x")}, r"line 10, value 3: 'x' is no number; a missing one is written \?"),
        ({"body": BODY.replace("5.5,6", "5.5,")}, r"line 11, value 2: '' is no number"),
        ({"body": BODY.replace("T3", "T1")}, r"line 12: series 'T1' comes twice, first in line 10"),
        (
            {"body": BODY.replace("16 00-00-00:7", "16 0:7")},
            r"line 12: a start is written 2024-02-01 00-05-00, got '1996-03-16 0'",
        ),
        (
            {"body": BODY.replace("1996-03-20 00-00-00:", "")},
            r"line 11 has 1 attribute, the header names 2; is it trunc",
        ),
        (
            {"body": BODY.replace("20 00-00", "20 06-00")},
            r"line 11: series 'Café' begins at 1996-03-20T06:00:00, which is no",
        ),
        (
            {"body": BODY, "equal": "true"},
            r"line 11 has 2 values, line 10 has 5, and @equallength says true: is the file t",
        ),
        ({"body": ""}, r"holds no series after @data: is it truncated\?"),
        ({"body": BODY, "header": "T1:1,2\n" + HEADER}, r"line 1 is no line of a header: wanted @relation"),
        (
            {"body": BODY, "header": HEADER + "@attribute x\n"},
            r"line 5: wanted @attribute NAME string, date or numeric",
        ),
        ({"body": BODY.replace("16 00", "40 00")}, r"line 12: a start is written 2024-02-01 00-05-00, got '1996-03-40"),
        (
            {"body": "a:0001-01-01 00-00-00:1\nb:2024-01-01 00-00-00:1\n", "frequency": "4_seconds"},
            r"2 rows are too few for 2 sensors at \d+ times",
        ),
    ],
)
def test_files_that_are_wrong_are_named(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = _write(tmp_path / "x.tsf", **settings)
    with pytest.raises(UserError, match=said) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    path.write_bytes(path.read_bytes().replace(b"@data", b"\x81"))
    with pytest.raises(UserError, match="not a text file in UTF-8 or cp1252"):
        read(path)


@pytest.mark.parametrize("line", ["@missing false\n", "@missing true\n", ""])
def test_zeros_are_readings_where_the_header_tells_of_missing_ones(line: str, tmp_path: Path) -> None:
    """Solar power is 0 at night, in a file that says that nothing is missing."""
    (tmp_path / "x.tsf").write_text(
        f"@relation x\n@attribute series_name string\n@attribute start_timestamp date\n@frequency hourly\n{line}"
        "@equallength true\n@data\nT1:2024-01-01 00-00-00:0,1,2,0\nT2:2024-01-01 00-00-00:0,3,4,0\n"
    )
    series = read(tmp_path / "x.tsf")
    assert series.missing == ("nan" if line else "zero")
    assert np.asarray(series.observed_TNC).sum() == (8 if line else 4)


def test_a_file_in_pieces_is_the_same_series_as_one_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _write(tmp_path / "x.tsf", BODY.replace("\n", "\r\n") + "\n# between\nT4:1996-03-16 00-00-00:?,-0.125,1e3\n")
    whole = read(path)
    monkeypatch.setattr(scratch, "_IN_MEMORY", 1)
    monkeypatch.setattr(tsf, "_AT_ONCE", 3)  # one row of four series; two values of a line
    opened = open_path(path, DataConfig(data=str(path)), GraphConfig())
    assert opened is not None
    assert [block.shape for block in opened[0].read()] == [(1, 4, 1)] * 7
    series = read(path)
    assert np.array_equal(series.values_TNC, whole.values_TNC)
    assert np.array_equal(series.observed_TNC, whole.observed_TNC)
    assert series.values_TNC[:3, 3, 0].tolist() == [0, -0.125, 1000]
    assert (series.ids, series.missing, series.notes) == (whole.ids, whole.missing, whole.notes)
    path = _write(tmp_path / "x.tsf", BODY.replace("4,0", "4,x"))
    with pytest.raises(UserError, match="line 10, value 5: 'x' is no number"):
        read(path)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=100))
    with pytest.raises(UserError, match=r"x\.tsf: its 7 times of 3 series need a scratch file.*set TMPDIR"):
        read(_write(tmp_path / "x.tsf", BODY))
