"""Tables, wide or long: cells of spaces, long ones of every kind, columns that are no readings."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcrnn_fast.errors import UserError
from tests.data.written_files import IDS, READINGS, TIMES, make_frame, read, write_csv


def _long(sensors: tuple[str, ...] = ("007", "b", "c"), steps: int = 5) -> pd.DataFrame:
    rows = [
        (f"2024-01-01 00:{5 * t:02d}", sensor, 10.0 * t + n) for t in range(steps) for n, sensor in enumerate(sensors)
    ]
    return pd.DataFrame(rows, columns=["time", "id", "value"])


def _write(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("cells", ["", " ", "  NaN ", "n/a", " NULL"])
def test_cells_of_spaces_are_empty(cells: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"time, a, b\n2024-01-01, 1.5, {cells}\n2024-01-02 ,2 , 3\n2024-01-03, 0,4\n")
    series = read(path)
    assert (series.ids, series.missing) == (("a", "b"), "nan")
    assert series.observed_TNC[..., 0].tolist() == [[True, False], [True, True], [True, True]]
    assert series.values_TNC[:, 0, 0].tolist() == [1.5, 2, 0]


def test_a_bad_cell_among_spaces_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("time, a, b\n2024-01-01, 1.5, \n\n2024-01-02, 2, -\n")
    with pytest.raises(UserError, match=r"line 4, column 'b': '-' is no number; wanted numbers or empty cells"):
        read(path)
    path.write_text("time; a\n2024-01-01; 1,5\n2024-01-02; \n")
    with pytest.raises(UserError, match=r"line 2, column 'a': '1,5' is no number; wanted numbers with a decimal point"):
        read(path)


@pytest.mark.parametrize(
    "names",
    [("time", "id", "value"), ("Timestamp", "station_id", "Speed"), ("ds", "unique_id", "y"), ("when", "wo", "wert")],
)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_row_for_each_reading_is_pivoted(names: tuple[str, ...], ending: str, tmp_path: Path) -> None:
    frame = _long().sample(frac=1, random_state=0)
    frame = pd.concat([frame[frame["id"] == "007"], frame[frame["id"] != "007"].sort_values("id")]).drop(index=4)
    frame.columns = pd.Index(names)
    path = tmp_path / f"x.{ending}"
    if ending == "csv":
        frame.to_csv(path)  # with pandas' own index in front
    else:
        frame.assign(**{names[0]: pd.to_datetime(frame[names[0]])}).to_parquet(path, index=False)
    series = read(path)
    assert (series.ids, series.channels, series.freq) == (("007", "b", "c"), (names[2],), "5min")
    wanted = 10.0 * np.arange(5)[:, None] + np.arange(3)
    observed = np.ones((5, 3), dtype=bool)
    observed[1, 1] = False
    assert series.missing == "nan", "rows that are absent are the file's mark of a gap"
    assert np.array_equal(series.observed_TNC[..., 0], observed)
    assert np.array_equal(series.values_TNC[..., 0], np.where(observed, wanted, 0))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(2, 6), st.integers(1, 3), st.randoms(use_true_random=False))
def test_wide_and_long_say_the_same(
    tmp_path_factory: pytest.TempPathFactory, sensors: int, steps: int, channels: int, shuffle: object
) -> None:
    values_TNC = np.random.default_rng(sensors).uniform(1, 9, (steps, sensors, channels)).round(3)
    rows = [(t, n, *values_TNC[t, n]) for t in range(steps) for n in range(sensors)]
    shuffle.shuffle(rows)  # type: ignore[attr-defined]
    frame = pd.DataFrame(rows, columns=["t", "sensor", *(f"c{c}" for c in range(channels))])
    frame.insert(0, "time", pd.Timestamp("2024-01-01") + pd.to_timedelta(frame.pop("t"), unit="h"))
    if sensors == 1 and steps == len(set(frame["sensor"])):
        return
    series = read(_write(frame, tmp_path_factory.mktemp("long") / "x.csv"))
    order = [series.ids.index(str(n)) for n in range(sensors)]
    np.testing.assert_array_equal(series.values_TNC[:, order], values_TNC.astype(np.float32))


def test_several_readings_units_and_positions(tmp_path: Path) -> None:
    frame = _long().rename(columns={"value": "speed"}).assign(flow=1.0, lat=[50.0, 51, 52] * 5, lon=[7.0, 8, 9] * 5)
    frame["name"] = [f"street of {sensor}" for sensor in frame["id"]]
    series = read(_write(frame, tmp_path / "x.csv"))
    assert series.channels == ("speed", "flow")
    assert series.positions_N2 is not None
    assert series.positions_N2.tolist() == [[50, 7], [51, 8], [52, 9]]
    stacked = pd.concat([_long().assign(channel="speed", unit="km/h"), _long().assign(channel="flow", unit="1/h")])
    series = read(_write(stacked, tmp_path / "y.csv"))
    assert (series.channels, series.units) == (("speed", "flow"), ("km/h", "1/h"))
    stacked.iloc[20, 4] = "1/min"
    with pytest.raises(UserError, match=r"line 22 has unit '1/min', line 17 has '1/h': one unit for each channel"):
        read(_write(stacked, tmp_path / "z.csv"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda f: pd.concat([f, f.iloc[[4]].assign(value=2.5)]),
            r"line 17 is a second reading of sensor 'b' at 2024-01-01T00:05:00, after",
        ),
        (lambda f: f.assign(id=["", *f["id"][1:]]), r"line 2, column 'id': no sensor is named"),
        (
            lambda f: f.assign(quality=list("AB" * 8)[:15]),
            r"column 'quality': '[AB]' is no reading: take the column out",
        ),
        (
            lambda f: f.rename(columns={"id": "wo"}).assign(wo=[1, 2, 3] * 5),
            r"a row for each time and sensor: name its col",
        ),
        (lambda f: f.iloc[::3].assign(id=range(5)), r"column 'id' has another value in each row: where it numbers"),
        (lambda f: f.drop(columns="time"), r"a row for each reading \(id 'id'\), but no column of times: name it time"),
    ],
)
def test_long_tables_that_are_unclear_are_refused(change: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        read(_write(change(_long()), tmp_path / "x.csv"))  # type: ignore[operator]


def test_rows_that_come_twice_are_one_if_they_say_the_same_or_nothing(tmp_path: Path) -> None:
    frame = pd.concat([_long(), _long().iloc[[4]], _long().iloc[[7]].assign(value=np.nan)])
    series = read(_write(frame, tmp_path / "x.csv"), missing="nan")
    once = read(_write(_long(), tmp_path / "y.csv"), missing="nan")
    assert np.array_equal(series.values_TNC, once.values_TNC)
    assert series.observed_TNC.all()
    assert "x.csv: 2 row(s) came twice and said the same: each is taken once" in series.notes


def test_wide_tables_that_are_unclear_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("id,2024-01-01,2024-01-02,2024-01-03\na,1,2,3\nb,1,2,3\n")
    with pytest.raises(UserError, match=r"its first line holds times such as '2024-01-01': .*; transpose it"):
        read(path)
    path.write_text("time,a,weekday\n" + "".join(f"2024-01-0{d},{d},Mon\n" for d in range(1, 6)))
    with pytest.raises(UserError, match="column 'weekday': 'Mon' is no number; the column holds text or categories"):
        read(path)
    path.write_text("date,time,a\n" + "".join(f"2024-01-01,0{d}:00,2\n" for d in range(1, 6)))
    with pytest.raises(UserError, match=r"column 'time' .'01:00'. is a second column of times: join them into one"):
        read(path)


def test_parquet_times_of_every_type(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    days = TIMES[0].normalize() + pd.to_timedelta(np.arange(40), unit="D")
    seconds = (days - pd.Timestamp("1970-01-01")) // pd.Timedelta(seconds=1)
    kinds = [pa.date32(), pa.date64(), *(pa.timestamp(unit) for unit in ("s", "ms", "us", "ns"))]
    for kind in kinds:
        times = pa.array(days.to_numpy().astype("M8[D]")).cast(kind)
        pa.parquet.write_table(pa.table({"a": READINGS[:, 0], "timestamptz": times}), path)
        series = read(path)
        assert (str(series.times_T[0]), series.freq, series.in_utc) == ("2024-03-04T00:00:00", "1D", False)
    for unit, zone in (("s", "UTC"), ("us", "Europe/Berlin"), ("ns", "+05:30")):
        times = pa.array(seconds.to_numpy() * {"s": 1, "us": 10**6, "ns": 10**9}[unit]).cast(pa.timestamp(unit, zone))
        pa.parquet.write_table(pa.table({"when": times, "a": READINGS[:, 0]}), path)
        series = read(path)
        assert (str(series.times_T[0]), series.in_utc, series.zone) == ("2024-03-04T00:00:00", True, zone)


def test_parquet_texts_and_categories_are_read_where_they_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    make_frame().astype(str).to_parquet(path)
    np.testing.assert_array_equal(read(path).values_TNC[..., 0], np.nan_to_num(READINGS).astype(np.float32))
    make_frame().assign(c=pd.Categorical(["1", "2"] * 20)).to_parquet(path)
    assert read(path).values_TNC[:2, 3, 0].tolist() == [1, 2]
    make_frame().assign(c=pd.Categorical(["low", "high"] * 20)).to_parquet(path)
    with pytest.raises(UserError, match="column 'c': 'low' is no number; the column holds text or categories"):
        read(path)
    _long().astype({"id": "category"}).to_parquet(path)
    assert read(path).ids == ("007", "b", "c")


def test_a_parquet_index_is_the_axis(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    frame = make_frame().set_index(TIMES.astype("datetime64[ns]").astype("int64"))
    frame.to_parquet(path)
    assert np.array_equal(read(path).times_T, TIMES.to_numpy().astype("M8[s]"))
    frame.reset_index(drop=True).drop(index=3).to_parquet(path)
    with pytest.raises(UserError, match=r"holds 0, 1, 2 .., which is counted from the first row on"):
        read(path, start="2024-01-01", freq="5min")
    frame.reset_index(drop=True).to_parquet(path, index=True)
    assert read(path, start="2024-01-01", freq="5min").ids == tuple(IDS)


def test_the_column_of_times_need_not_be_the_first(tmp_path: Path) -> None:
    write_csv(tmp_path / "x.csv")
    first = read(tmp_path / "x.csv")
    frame = pd.read_csv(tmp_path / "x.csv")
    series = read(_write(frame[[*IDS, "time"]], tmp_path / "y.csv"))
    assert series.ids == first.ids
    assert np.array_equal(series.times_T, first.times_T)


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "idx", "row_id", "rownames"])
def test_a_column_that_numbers_the_rows_of_a_long_table_is_no_channel(name: str, tmp_path: Path) -> None:
    table = make_frame().stack().reset_index()
    table.columns = pd.Index(["date", "city", "level"])
    table.insert(0, name, np.arange(len(table)))
    table.to_csv(tmp_path / "long.csv", index=False)
    assert read(tmp_path / "long.csv").channels == ("level",)
