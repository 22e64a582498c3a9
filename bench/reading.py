"""Reading a month of PeMS station files: our reader beside ``pandas.read_csv`` over the same files, and its memory.

    python -m bench.reading --make FOLDER [--days 30] [--stations 4000]
    python -m bench.reading FOLDER [--days 3] [--rounds 2] [--ways dcrnn-fast pandas] [--json FILE]

The first makes files in the layout of the Caltrans PeMS clearinghouse: a gzip of text for each day, 288 times, a row
for each station with its lanes' columns, and the stations' metadata. The second reads the first so many days of a
folder: the reader and pandas in turns, each in a fresh process, which tells its peak of anonymous memory as well; the
best round of each counts. pandas reads file after file and keeps nothing: all columns, as
``read_csv(path, header=None)`` does, and by themselves the six that are wanted (``usecols``). Imports (pandas; torch,
whose library the compiled reader is linked with) are not timed, but are in memory.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

STEPS = 288
FIRST_DAY = np.datetime64("2024-03-01")
LANES = 8
"""of which a file has columns, whatever a station has"""
_MEASURE = """
import sys, threading, time
from pathlib import Path
{imports}
peak, ended = 0, threading.Event()
def watch():
    global peak
    while not ended.wait(0.01):
        lines = Path("/proc/self/status").read_text().splitlines()
        peak = max(peak, *(int(line.split()[1]) for line in lines if line.startswith("RssAnon")))
watcher = threading.Thread(target=watch)
watcher.start()
began, busy = time.perf_counter(), time.process_time()
{work}
seconds, busy = time.perf_counter() - began, time.process_time() - busy
ended.set()
watcher.join()
print(seconds, busy, peak / 1024, rows)
"""
_OURS = _MEASURE.format(
    imports="""
from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.formats import pems
from dcrnn_fast.data.sources import read_source
""",
    work="""
series, _ = read_source(DataConfig(data=sys.argv[1]), GraphConfig())
rows = series.num_steps * series.num_sensors
""",
)
_PANDAS = _MEASURE.replace(
    "{work}",
    """
rows = 0
for path in sorted(Path(sys.argv[1]).glob("d*_text_station_5min_*.txt.gz")):
    rows += len(pd.read_csv(path, header=None, usecols=[columns]))
""",
).replace("{imports}", "import pandas as pd")
WAYS = {
    "dcrnn-fast": _OURS,
    "pandas": _PANDAS.replace("[columns]", "None"),
    "pandas, usecols": _PANDAS.replace("[columns]", "[0, 1, 8, 9, 10, 11]"),
}


def make_month(folder: Path, days: int, stations: int, level: int = 4) -> None:
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
        cells = [
            sensor,
            5,
            "NS"[n % 2],
            11,
            73,
            66000,
            mile,
            mile,
            *place,
            ".35",
            kind,
            lanes,
            f"STREET {n}",
            n,
            *"   ",
        ]
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


def first_days(folder: Path, days: int, place: Path) -> None:
    """Links to the first so many days of a folder, and to its metadata, in another."""
    found = sorted(folder.glob("d*_text_station_5min_*.txt.gz"))
    if len(found) < days:
        raise SystemExit(f"{folder} has {len(found)} days: --make more")
    for path in [*found[:days], *folder.glob("d*_text_meta_*.txt")]:
        (place / path.name).symlink_to(path.resolve())


def measure(folder: Path, rounds: int, ways: list[str]) -> dict[str, dict[str, float]]:
    """Each way in turns, in a process of its own."""
    best: dict[str, dict[str, float]] = {}
    for _ in range(rounds):
        for name in ways:
            ran = subprocess.run(
                [sys.executable, "-c", WAYS[name], str(folder)], check=True, capture_output=True, text=True
            )
            seconds, busy, mib, rows = map(float, ran.stdout.split())
            if name not in best or seconds < best[name]["seconds"]:
                best[name] = {"seconds": seconds, "processor_seconds": busy, "mib": mib, "rows": rows}
    return best


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--make", type=Path)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--stations", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.make is not None:
        make_month(args.make, args.days, args.stations)
    if args.folder is None:
        return 0
    with tempfile.TemporaryDirectory() as name:
        first_days(args.folder, args.days, Path(name))
        best = measure(Path(name), args.rounds, args.ways)
    print(f"{args.days} days, {os.cpu_count()} processors")
    for name, one in best.items():
        print(
            f"{name:16} {one['seconds']:7.2f} s, {one['processor_seconds']:7.2f} s of processors, "
            f"{one['mib']:6.0f} MiB, {one['seconds'] / best[args.ways[0]]['seconds']:5.2f} times the first"
        )
    if args.json is not None:
        args.json.write_text(json.dumps({"days": args.days, "ways": best}, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
