"""Folders of station files as the Caltrans PeMS clearinghouse gives them."""

import gzip
from pathlib import Path

import numpy as np

STATIONS = (400001, 400017, 400030)
NO_READING = ("0", "0", "", "", "")
HEADER = "ID Fwy Dir District County City State_PM Abs_PM Latitude Longitude Length Type Lanes Name"


def row(time: str, station: int, station_part: tuple[str, ...], lanes: int = 8, lane_columns: int = 5) -> str:
    """A line: station length, samples, % observed, flow, occupancy, speed; then columns of lanes, empty."""
    front = f"{time},{station},4,101,N,ML,.365"
    return ",".join([front, *station_part, *[""] * (lanes * lane_columns)])


def reading(day: int, step: int, station: int) -> tuple[str, ...]:
    """Samples, % observed, flow, occupancy, speed; every seventh is imputed, every eleventh missing."""
    number = day * 288 * 3 + step * 3 + STATIONS.index(station)
    if number % 11 == 0:
        return NO_READING
    share = "0" if number % 7 == 0 else "75"
    return ("50", share, str(10 + number % 90), f".{number % 9 + 1:04d}", f"{50 + number % 20}.5")


def day_lines(day: int, stations: tuple[int, ...] = STATIONS) -> list[str]:
    """The lines of 2024-03-0{day}."""
    return [
        row(f"03/{day:02d}/2024 {step // 12:02d}:{step % 12 * 5:02d}:00", station, reading(day, step, station))
        for step in range(288)
        for station in stations
    ]


def write_day(
    folder: Path, day: int, lines: list[str] | None = None, *, district: str = "04", packed: bool = True
) -> Path:
    """A file of a day, by default with all of its rows."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"d{district}_text_station_5min_2024_03_{day:02d}.txt{'.gz' if packed else ''}"
    text = ("\n".join(day_lines(day) if lines is None else lines) + "\n").encode()
    path.write_bytes(gzip.compress(text, 1) if packed else text)
    return path


def write_metadata(folder: Path, stations: tuple[int, ...] = STATIONS, date: str = "2024_02_28") -> Path:
    """The file of the stations."""
    path = folder / f"d04_text_meta_{date}.txt"
    names = [*HEADER.split(), "User_ID_1", "User_ID_2", "User_ID_3", "User_ID_4"]
    lines = ["\t".join(names)]
    for n, station in enumerate(stations):
        cells = [station, 101, "N", 4, 85, "", "", 389.1 + n, 37.3 + n / 10, -121.9, ".365", "ML", 4, "ALUM ROCK", n]
        lines.append("\t".join([*map(str, cells), "", "", ""]))
    path.write_text("\n".join(lines) + "\n", encoding="latin-1")
    return path


def expected(days: list[int], *, keep_imputed: bool = False) -> np.ndarray:
    """(T, N, 4) of whole days: flow, occupancy, speed, observed; NaN where missing."""
    cells = np.full((len(days) * 288, len(STATIONS), 4), np.nan)
    for k, day in enumerate(days):
        for step in range(288):
            for n, station in enumerate(STATIONS):
                _, share, *values = reading(day, step, station)
                numbers = [float(value) if value else np.nan for value in values]
                if share == "0" and not keep_imputed:
                    numbers = [np.nan] * 3
                cells[k * 288 + step, n] = [*numbers, float(share)]
    return cells
