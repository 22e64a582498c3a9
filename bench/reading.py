"""Reading a month of PeMS station files: our reader beside ``pandas.read_csv`` over the same files, and its memory.

    python -m bench.reading --make FOLDER [--days 30] [--stations 4000]
    python -m bench.reading FOLDER [--days 3] [--rounds 2] [--json FILE]

The first makes files in the layout of the Caltrans PeMS clearinghouse: a gzip of text for each day, 288 times, a row for
each station with its lanes' columns, and the stations' metadata. The second reads the first so many days of a folder: the
reader in a fresh process, which tells its peak of anonymous memory as well, and pandas in another, in turns; the best
round of each counts. pandas reads file after file and keeps nothing: all columns, as ``read_csv(path, header=None)``
does, and by themselves the six that are wanted (``usecols``). Both have the files in the system's cache.
"""

import gzip
from pathlib import Path

import numpy as np

STEPS = 288
FIRST_DAY = np.datetime64("2024-03-01")
LANES = 8
"""of which a file has columns, whatever a station has"""
_READ = """
import sys, time
from pathlib import Path
import numpy as np
from dcrnn_fast.config.sections import DataConfig, GraphConfig
from dcrnn_fast.data.sources import read_source
began, busy = time.perf_counter(), time.process_time()
series, _ = read_source(DataConfig(data=sys.argv[1], data_format="pems"), GraphConfig())
seconds, busy = time.perf_counter() - began, time.process_time() - busy
print(seconds, busy, series.values_TNC.size, float(series.observed_TNC.mean()))
"""
_PANDAS = """
import sys, time
from pathlib import Path
import pandas as pd
columns = {columns}
began, busy = time.perf_counter(), time.process_time()
rows = 0
for path in sorted(Path(sys.argv[1]).glob("d*_text_station_5min_*.txt.gz")):
    rows += len(pd.read_csv(path, header=None, usecols=columns))
print(time.perf_counter() - began, time.process_time() - busy, rows, 0)
"""
WAYS = {
    "dcrnn-fast": _READ,
    "pandas": _PANDAS.format(columns=None),
    "pandas, usecols": _PANDAS.format(columns=[0, 1, 8, 9, 10, 11]),
}


def make_month(folder: Path, days: int, stations: int, level: int = 6) -> None:
    """Files of so many days, those that are there already are left."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    lanes_N = rng.integers(1, LANES + 1, stations)
    kinds_N = rng.choice(["ML", "ML", "ML", "HV", "OR", "FR"], stations)
    ids_N = np.sort(rng.choice(np.arange(1_100_000, 1_130_000), stations, replace=False))
    write_metadata(folder / "d11_text_meta_2024_03_01.txt", ids_N, kinds_N, lanes_N, rng)
    for day in range(days):
        date = FIRST_DAY + day
        path = folder / f"d11_text_station_5min_{str(date).replace('-', '_')}.txt.gz"
        if not path.exists():
            content = day_text(date, ids_N, kinds_N, lanes_N, np.random.default_rng([7, day]))
            part = path.with_suffix(".part")
            part.write_bytes(gzip.compress(content, level))
            part.rename(path)
            print(f"{path}: {len(content):,} bytes of text", flush=True)


def write_metadata(
    path: Path, ids_N: np.ndarray, kinds_N: np.ndarray, lanes_N: np.ndarray, rng: np.random.Generator
) -> None:
    """The stations' file, tab-separated with a header."""
    named = "ID Fwy Dir District County City State_PM Abs_PM Latitude Longitude Length Type Lanes Name"
    header = [*named.split(), *(f"User_ID_{k}" for k in range(1, 5))]
    rows = ["\t".join(header)]
    for n, (sensor, kind, lanes) in enumerate(zip(ids_N, kinds_N, lanes_N, strict=True)):
        place = [f"{32.5 + rng.random():.6f}", f"{-117.3 + rng.random():.6f}"]
        mile = f"{n * 0.3 % 90:.3f}"
        cells = [sensor, 5, "NS"[n % 2], 11, 73, 66000, mile, mile, *place, ".35", kind, lanes, f"STREET {n}", n, *"   "]
        rows.append("\t".join(map(str, cells)))
    path.write_text("\n".join(rows) + "\n", encoding="ascii")


def day_text(
    date: np.datetime64, ids_N: np.ndarray, kinds_N: np.ndarray, lanes_N: np.ndarray, rng: np.random.Generator
) -> bytes:
    """A day's text: 12 columns of the station, five of each lane, empty where it has none, no line of names."""
    import pyarrow as pa
    import pyarrow.compute as pc

    stations, rows = len(ids_N), STEPS * len(ids_N)
    numbers = pa.array([str(k) for k in range(3000)])
    shares = pa.array([""] + [f".{k:04d}".rstrip("0") if k else "0" for k in range(1, 10_000)])
    speeds = pa.array([f"{k / 10:g}" for k in range(1000)])
    step_R = np.repeat(np.arange(STEPS), stations)
    day, month, year = str(date)[8:], str(date)[5:7], str(date)[:4]
    clocks = pa.array([f"{month}/{day}/{year} {k // 12:02d}:{k % 12 * 5:02d}:00" for k in range(STEPS)])
    directions = np.array(["N", "S"])[np.arange(stations) % 2]
    fronts = pa.array(
        [
            f"{sensor},11,5,{where},{kind},{'.35' if kind in ('ML', 'HV') else ''}"
            for sensor, where, kind in zip(ids_N, directions, kinds_N, strict=True)
        ]
    )
    rush_R = 1 + np.sin(step_R / STEPS * 2 * np.pi - 1.6)
    silent_R = rng.random(rows) < 0.03
    imputed_R = rng.random(rows) < 0.15
    ramp_R = np.tile(np.isin(kinds_N, ("OR", "FR")), STEPS)

    def column(texts: "pa.Array", index_R: np.ndarray, absent_R: np.ndarray) -> "pa.Array":
        taken = texts.take(pa.array(index_R.astype(np.int32), mask=absent_R))
        return pc.fill_null(taken, "")

    never = np.zeros(rows, dtype=bool)
    flow_R = (rush_R * 60 + rng.integers(0, 40, rows)).astype(np.int64)
    columns = [
        clocks.take(pa.array(step_R)),
        fronts.take(pa.array(np.tile(np.arange(stations), STEPS))),
        column(numbers, np.where(silent_R | imputed_R, 0, np.tile(lanes_N * 10, STEPS)), never),
        column(numbers, np.where(silent_R | imputed_R, 0, rng.choice([50, 75, 100, 100, 100], rows)), never),
        column(numbers, flow_R, silent_R),
        column(shares, (rush_R * 400 + rng.integers(1, 300, rows)).astype(np.int64), silent_R | ramp_R),
        column(speeds, (680 - rush_R * 100 - rng.integers(0, 60, rows)).astype(np.int64), silent_R | ramp_R),
    ]
    for lane in range(LANES):
        absent_R = np.tile(lanes_N <= lane, STEPS) | silent_R
        columns += [
            column(numbers, np.where(imputed_R, 0, 10), absent_R),
            column(numbers, flow_R // np.tile(lanes_N, STEPS), absent_R),
            column(shares, (rush_R * 400 + rng.integers(1, 300, rows)).astype(np.int64), absent_R | ramp_R),
            column(speeds, (680 - rush_R * 100 - rng.integers(0, 60, rows)).astype(np.int64), absent_R | ramp_R),
            column(numbers, np.where(imputed_R, 0, 1), absent_R),
        ]
    lines = pc.binary_join_element_wise(*columns, ",")
    return b"\n".join(lines.to_numpy(zero_copy_only=False).astype("S").tolist()) + b"\n"
