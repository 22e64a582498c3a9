"""USGS daily values, as waterservices.usgs.gov (RDB) and api.waterdata.usgs.gov (CSV) write them."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dcrnn_fast.errors import UserError
from tests.data.written_files import read

COMMENTS = """# ---------------------------------- WARNING ----------------------------------------
# Some of the data that you have obtained from this U.S. Geological Survey database may not
# have received Director's approval.
#
# File-format description:  http://help.waterdata.usgs.gov/faq/about-tab-delimited-output
#
"""


def _section(site: str, columns: list[str], rows: list[str]) -> str:
    """A site: its comments, names, widths, rows."""
    said = "".join(
        f"#    {c.split('_')[0]}       {c.split('_')[1]}     00003     Discharge, cubic feet per second (Mean)\n"
        for c in columns
    )
    names = "\t".join(name for c in columns for name in (c, f"{c}_cd"))
    widths = "\t".join("14n\t10s" for _ in columns)
    head = f"# Data provided for site {site}\n#    TS    parameter statistic   Description\n{said}#\n"
    return f"{head}agency_cd\tsite_no\tdatetime\t{names}\n5s\t15s\t20d\t{widths}\n" + "".join(
        f"USGS\t{site}\t{row}\n" for row in rows
    )


FIRST = _section(
    "01480000",
    ["68477_00060_00003", "68478_00065_00003"],
    [
        "2024-01-01\t210\tA:e\t1.5\tA",
        "2024-01-02\tIce\tP:Ice\t\tP:Eqp",
        "2024-01-04\t0.00\tP\t1.25\tA",
        "2024-01-05\t61\tA\t***\tP:***",
    ],
)
SECOND = _section("01481500", ["1_00060_00003"], ["2024-01-04\t12\tP", "2024-01-02\t-999999\tA", "2024-01-03\t9.5\tA"])


def _write(path: Path, *parts: str) -> Path:
    path.write_text(COMMENTS + "".join(parts), encoding="cp1252")
    return path


def _wanted() -> pd.DataFrame:
    """Discharge."""
    days = pd.date_range("2024-01-01", periods=5)
    return pd.DataFrame({"01480000": [210, np.nan, np.nan, 0, 61], "01481500": [np.nan, np.nan, 9.5, 12, np.nan]}, days)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_sites_with_columns_of_their_own_become_one_series(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "dv.txt"
    if kind == "file":
        _write(path, FIRST, SECOND)
    else:
        path = tmp_path / "gauges"
        path.mkdir()
        _write(path / "01480000.txt", FIRST)
        _write(path / "01481500.txt", SECOND)
        _write(path / "none.txt").write_text(COMMENTS + "#  No sites found matching all criteria\n")
    series = read(path)
    assert (series.ids, series.freq, series.missing) == (("01480000", "01481500"), "1D", "nan")
    assert (series.channels, series.units) == (("00060_00003", "00065_00003"), ("ft^3/s", "ft"))
    wanted = _wanted()
    assert np.array_equal(series.times_T, wanted.index.to_numpy().astype("M8[s]"))
    readings = np.where(series.observed_TNC, series.values_TNC, np.nan)
    assert np.array_equal(readings[..., 0], wanted.to_numpy(), equal_nan=True)
    assert np.array_equal(readings[:, 0, 1], [1.5, np.nan, np.nan, 1.25, np.nan], equal_nan=True)
    name = path.name
    for note in (
        f"{name}: 7 rows read: 2 sensors at 5 times",
        f"{name}: 1 rows stood before an earlier time of their sensor: sorted",
        f"{name}: channel 00060_00003 is Discharge, cubic feet per second (Mean)",
        f"{name}: 2 provisional readings are kept: they may still be revised",
        f"{name}: 1 estimated readings are kept",
        f"{name}: cells without a number are missing readings: 1 'Ice', 1 'Eqp', 1 '***', 1 '-999999'",
        *([f"{name}: 1 file without a row: 'none.txt'"] if kind == "folder" else []),
    ):
        assert note in series.notes


def test_a_second_gauge_of_a_site_fills_in(tmp_path: Path) -> None:
    two = _section(
        "1",
        ["7_00060_00003", "8_00060_00003"],
        ["2024-01-01\t5\tA\t\t", "2024-01-02\t\t\t6\tA", "2024-01-03\t7\tA\t7\tA"],
    )
    series = read(_write(tmp_path / "x.rdb", two))
    assert series.channels == ("00060_00003",)
    assert series.values_TNC[:, 0, 0].tolist() == [5, 6, 7]
    assert "x.rdb: 1 readings came twice and said the same: each is taken once" in series.notes
    with pytest.raises(UserError, match=r"x\.rdb: line 16 is a second reading of sensor '1' at 2024-01-03T00:00:00"):
        read(_write(tmp_path / "x.rdb", two.replace("7\tA\t7", "7\tA\t8")))


CSV = "x,y,id,time_series_id,monitoring_location_id,parameter_code,statistic_id,time,value,unit_of_measure,"
CSV += """approval_status,qualifier,last_modified
-75.5,39.75,a1,t1,USGS-01480000,00060,00003,2024-01-01,210,ft^3/s,Approved,['ESTIMATED'],2025-01-01 00:00:00+00:00
-75.5,39.75,a2,t1,USGS-01480000,00060,00003,2024-01-02,,ft^3/s,Provisional,['ICE'],2025-01-01 00:00:00+00:00
-75.5,39.75,a4,t1,USGS-01480000,00060,00003,2024-01-05,61,ft^3/s,Approved,,2025-01-01 00:00:00+00:00
-75.5,39.75,a3,t1,USGS-01480000,00060,00003,2024-01-04,0.0,ft^3/s,Provisional,,2025-01-01 00:00:00+00:00
-75.25,39.5,b1,t2,USGS-01481500,00060,00003,2024-01-03,9.5,ft^3/s,Approved,,2025-01-01 00:00:00+00:00
-75.25,39.5,b2,t2,USGS-01481500,00060,00003,2024-01-04,12,ft^3/s,Provisional,,2025-01-01 00:00:00+00:00
"""


def test_the_csv_of_the_newer_service_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "daily.csv"
    path.write_text(CSV)
    series = read(path)
    assert (series.ids, series.channels, series.units) == (("01480000", "01481500"), ("00060_00003",), ("ft^3/s",))
    readings = np.where(series.observed_TNC, series.values_TNC, np.nan)
    assert np.array_equal(readings[..., 0], _wanted().to_numpy(), equal_nan=True)
    assert series.positions_N2 is not None
    assert series.positions_N2.tolist() == [[39.75, -75.5], [39.5, -75.25]]
    for note in (
        "2 provisional readings are kept: they may still be revised",
        "1 estimated readings are kept",
        "cells without a number are missing readings: 1 'ICE'",
        "1 rows stood before an earlier time of their sensor: sorted",
    ):
        assert f"daily.csv: {note}" in series.notes
    path.write_text(CSV.replace("9.5,ft^3/s", "9.5,m^3/s"))
    with pytest.raises(
        UserError, match=r"daily\.csv: line 6 has unit 'm\^3/s', rows before it have 'ft\^3/s' for '0006"
    ):
        read(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "#  No sites found matching all criteria\n",
            r"x\.txt: no row of readings in 1 file: so the service answers where it finds no site",
        ),
        (
            "<!DOCTYPE html>\n<html><head><title>USGS Water Services</title>\n",
            r"x\.txt: line 1 is HTML \('<!DOCTYPE html>'\), a pa",
        ),
        (FIRST + "<font face=Arial>error</font>\n", r"line 18 is HTML"),
        (FIRST[:-7], r"line 17 has 6 columns, its header has 7; is it truncated\?"),
        (FIRST.replace("210", "2l0"), r"line 14, column '68477_00060_00003': '2l0' is no number and no qualifier"),
        (FIRST.replace("2024-01-04", "01/04/2024"), r"line 16: '01/04/2024' is no ISO 8601 time"),
        (FIRST.replace("datetime\t", "datetime\ttz_cd\t"), r"line 12: a column tz_cd, as instantaneous values have"),
        (FIRST.replace("site_no\tdatetime", "site_no\tdv_dt"), r"line 12: no column 'datetime'; daily values have"),
        (
            FIRST + FIRST.replace("210", "211"),
            r"is a second reading of sensor '01480000' at 2024-01-01T00:00:00 \(211\), after x\.txt: line 14 \(210\)",
        ),
    ],
)
def test_pages_and_broken_files_are_named_by_their_line(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text(text if text.startswith("<") else COMMENTS + text)
    with pytest.raises(UserError, match=said) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_packed_file_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.rdb.gz"
    path.write_bytes(gzip.compress((COMMENTS + FIRST).encode()))
    with pytest.raises(UserError, match=r"x\.rdb\.gz is packed with gzip: unpack it first"):
        read(path)


def test_a_site_twice_is_counted(tmp_path: Path) -> None:
    assert (
        "x.txt: 5 readings came twice and said the same: each is taken once"
        in read(_write(tmp_path / "x.txt", FIRST, FIRST)).notes
    )
