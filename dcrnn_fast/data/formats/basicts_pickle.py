"""The oldest BasicTS files: readings that were scaled, and a calendar, in a pickle; the scaler in another.

Shape legend: T time, N sensors, C channels.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dcrnn_fast.data.formats.basicts_calendar import found_calendar
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import naming_file
from dcrnn_fast.reading.pickles import plain_parts, unpacked

DATA_PICKLE = re.compile(r"data(_in_?\d+_out_?\d+\w*)?\.pkl")
_RAW = "give the file that it was made of (datasets/raw_data), which is read as it is"


def read_scaled(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """(T, N, C) float64 as they were before they were scaled, the calendar as it is; and a line about it.

    Raises:
        UserError: the pickle holds more than arrays (nothing of it is run), no such array, or no scaler lies beside it
            that is a mean and a deviation.
    """
    with naming_file(path):
        loaded = _loaded(path)
        keys = ("processed_data", "raw_data")
        array = (
            next((unpacked(loaded[key]) for key in keys if key in loaded), None)
            if isinstance(loaded, Mapping)
            else None
        )
        if not isinstance(array, np.ndarray) or array.ndim != 3 or 0 in array.shape or array.dtype.kind != "f":
            raise UserError(f"wanted an array (time, sensors, features) called processed_data; {_RAW}")
    scaler_path = path.with_name(path.name.replace("data", "scaler", 1))
    if not scaler_path.exists():
        raise UserError(f"{path}: its readings are scaled, and no {scaler_path.name} beside it says how; {_RAW}")
    with naming_file(scaler_path):
        mean, deviation = _mean_and_deviation(_loaded(scaler_path))
    names = found_calendar(array[:, 0], array[:, -1])
    scaled = [c for c, name in enumerate(names) if name is None]
    readings_TNC = array.astype(np.float64)
    with naming_file(scaler_path):
        try:
            raw_TNC = readings_TNC[:, :, scaled] * deviation + mean
        except ValueError as error:
            raise UserError(f"a mean of shape {np.shape(mean)} for readings of {array.shape}; {_RAW}") from error
        if raw_TNC.shape != (*array.shape[:2], len(scaled)):
            raise UserError(f"a mean of shape {np.shape(mean)} for readings of {array.shape}; {_RAW}")
    # Zeros are missing readings: what scaling and its undoing left of them must be 0 again.
    digits = (
        (10 if array.dtype.itemsize == 8 else 5)
        - 1
        - int(np.floor(np.log10(max(float(np.nanmax(abs(raw_TNC))), 1e-30))))
    )
    readings_TNC[:, :, scaled] = np.round(raw_TNC, digits)
    return readings_TNC, (
        f"{path.name}: the readings were scaled: {scaler_path.name} undoes it, rounded to {digits} decimals",
    )


def _loaded(path: Path) -> Any:
    try:
        return plain_parts(path.read_bytes())
    except UserError as error:
        raise UserError(f"{str(error).replace(' adjacency', '')}; or {_RAW}") from error


def _mean_and_deviation(loaded: Any) -> tuple[np.ndarray, np.ndarray]:
    arguments = loaded.get("args") if isinstance(loaded, Mapping) else None
    if not isinstance(arguments, Mapping) or not {"mean", "std"} <= arguments.keys():
        raise UserError(f"wanted a scaler of a mean and a deviation (std); {_RAW}")
    found = []
    for name in ("mean", "std"):
        part = unpacked(arguments[name])
        if not isinstance(part, (int, float, np.ndarray)) or not np.isfinite(part).all():
            raise UserError(f"its {name} is no number; {_RAW}")
        found.append(np.asarray(part, dtype=np.float64))
    return found[0], found[1]
