"""Plain arrays: .npz (PEMS03 to PEMS08, or with ids, times and adjacency) and .npy.

Shape legend: T time, N sensors, C channels.
"""

from pathlib import Path

import numpy as np

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.blocks import series_of_blocks
from dcrnn_fast.data.formats import Source
from dcrnn_fast.data.formats.largest import is_scaled, unscaled
from dcrnn_fast.data.formats.shared import make_from_file
from dcrnn_fast.data.number_times import number_times
from dcrnn_fast.data.timestamps import Stamps, parse_times, whole_seconds
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.matrices import graph_of_matrix
from dcrnn_fast.messages import naming_file
from dcrnn_fast.reading.arrays import load_archive, load_array

_TIMES = ("times", "time", "timestamps", "t_unix", "t_unix_local")
_IDS = ("ids", "sensor_ids", "node_ids", "station_ids")
_ADJACENCIES = ("adj", "adjacency", "adj_mx")


def read_npz(path: Path, data: DataConfig, graph: GraphConfig) -> Source:
    """The array ``data``, or the only one, of shape (T, N) or (T, N, C).

    Beside it, if present: ids (``ids``, ``sensor_ids``), times (``times``: ``datetime64``, ISO texts, or s, ms, µs
    or ns since 1970), ``channels``, and an adjacency (``adj``), which becomes the graph.

    Raises:
        UserError: unreadable, truncated or pickled, no such array, shapes that do not fit.
    """
    with naming_file(path):
        arrays = load_archive(path)
        if is_scaled(arrays):
            blocks, network = unscaled(arrays, path)
            return series_of_blocks(blocks, data), network
        candidates = {
            name: array
            for name, array in arrays.items()
            if array.ndim in (2, 3) and array.dtype.kind in "fiu" and name not in (*_ADJACENCIES, *_TIMES)
        }
        name = "data" if "data" in candidates else next(iter(candidates), "")
        if not name or ("data" not in candidates and len(candidates) > 1):
            listed = ", ".join(f"{key} {array.shape}" for key, array in arrays.items())
            raise UserError(
                f"wanted one array (time, sensors) or (time, sensors, channels) called data; got {listed}{_cut(arrays)}"
            )
        readings_TNC = _with_channels(candidates[name])
        num_steps, num_sensors, num_channels = readings_TNC.shape
        ids = _texts(arrays, _IDS, num_sensors) or tuple(map(str, range(num_sensors)))
        plain = (name,) if num_channels == 1 and name != "data" else tuple(map(str, range(num_channels)))
        channels = _texts(arrays, ("channels",), num_channels) or plain
        stamps = next((_times(arrays[key], num_steps, key, data) for key in _TIMES if key in arrays), None)
        adjacency = next((arrays[key] for key in _ADJACENCIES if key in arrays), None)
        own_graph = None if adjacency is None else graph_of_matrix(adjacency, ids, path=path, ids=ids, holds="either")
    return make_from_file(readings_TNC, stamps, ids, path, data, channels=channels), own_graph


def read_npy(path: Path, data: DataConfig, graph: GraphConfig) -> Source:
    """An array (T, N) or (T, N, C); sensors are called 0 to N-1, times come from start and freq.

    Raises:
        UserError: unreadable, truncated or pickled, another shape.
    """
    with naming_file(path):
        readings = load_array(path)
        if readings.ndim not in (2, 3):
            raise UserError(f"wanted (time, sensors) or (time, sensors, channels), got {np.shape(readings)}")
        readings_TNC = _with_channels(readings)
        _, num_sensors, num_channels = readings_TNC.shape
    ids, channels = (tuple(map(str, range(count))) for count in (num_sensors, num_channels))
    channels = ("value",) if num_channels == 1 else channels
    return make_from_file(readings_TNC, None, ids, path, data, channels=channels), None


def _with_channels(readings: np.ndarray) -> np.ndarray:
    if 0 in readings.shape:
        raise UserError(f"holds no readings: an array of shape {readings.shape}")
    return readings.reshape(*readings.shape[:2], -1)


def _text(value: object, name: str) -> str:
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: {value!r:.60} is no text in UTF-8") from error


def _cut(arrays: dict[str, np.ndarray]) -> str:
    if not any(array.ndim == 4 for array in arrays.values()):
        return ""
    return "; arrays of four dimensions are windows, cut already: give the series that they were cut from"


def _texts(arrays: dict[str, np.ndarray], names: tuple[str, ...], count: int) -> tuple[str, ...] | None:
    for name in names:
        if name in arrays:
            if arrays[name].shape != (count,):
                raise UserError(f"{name} must name {count} of them, got shape {arrays[name].shape}")
            return tuple(_text(x, name) for x in arrays[name].tolist())
    return None


def _times(array: np.ndarray, num_steps: int, name: str, data: DataConfig) -> Stamps | None:
    if array.shape not in ((num_steps,), (num_steps, 1)):
        raise UserError(f"{name} must hold {num_steps} times, got shape {array.shape}")
    array = array.reshape(-1)
    if array.dtype.kind in "iuf":
        return number_times(array, name, data)
    if array.dtype.kind == "M":
        return Stamps(whole_seconds(array))
    if array.dtype.kind in "SU":
        return parse_times([_text(x, name) for x in array.tolist()])
    raise UserError(f"{name} must hold datetime64, ISO texts, or s, ms, µs or ns since 1970, got {array.dtype}")
