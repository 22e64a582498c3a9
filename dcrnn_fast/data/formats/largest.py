"""The road network and the positions that lie beside LargeST's series (github.com/liuxu77/LargeST).

``ca_his_raw_2019.h5`` (or ``ca_his_2019.h5``, once processed) has a column for each sensor; ``ca_meta.csv`` a row for
each, with ID, Lat and Lng; ``ca_rn_adj.npy`` weights of the road distances between them, in the order of these rows.
The subsets ``gla``, ``gba`` and ``sd`` have the same files under their names.
"""

import csv
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.sparse

from dcrnn_fast.data.blocks import Blocks
from dcrnn_fast.data.formats import Opened
from dcrnn_fast.data.pieces import row_pieces
from dcrnn_fast.data.times import day_of_week, fraction_of_day
from dcrnn_fast.data.timestamps import Stamps
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.matrices import graph_of_matrix
from dcrnn_fast.graph.sensor_graph import SensorGraph
from dcrnn_fast.messages import first_few, naming_file
from dcrnn_fast.reading.arrays import open_array
from dcrnn_fast.reading.damage import damage_told
from dcrnn_fast.reading.tables import notes_of_ends

_SERIES = re.compile(r"(\w+?)_his(_raw)?_\d{4}\.h5")
_COLUMNS = ("ID", "Lat", "Lng")
_DAY = 86_400
_ROWS = 256
"""of the matrix, looked at together"""


def with_road_network(blocks: Blocks, folder: Path, name: str) -> tuple[Blocks, SensorGraph | None]:
    """The series with its positions, and the graph, where the files of LargeST lie beside a file of such a name.

    Raises:
        UserError: the files are damaged or do not fit together.
    """
    found = _SERIES.fullmatch(name)
    metadata = folder / f"{found[1]}_meta.csv" if found else None
    if metadata is None or not os.path.lexists(metadata):
        return blocks, None
    ids, positions_N2 = _sensors(metadata)
    index_of = {sensor: n for n, sensor in enumerate(ids)}
    if lacking := [sensor for sensor in blocks.ids if sensor not in index_of]:
        raise UserError(f"{metadata} has no sensor {first_few(lacking)}, and {blocks.where} has")
    own_N2 = positions_N2[[index_of[sensor] for sensor in blocks.ids]]
    blocks = replace(blocks, positions_N2=own_N2, notes=(*blocks.notes, *notes_of_ends([metadata])))
    matrix = folder / f"{found[1]}_rn_adj.npy" if found else folder
    return blocks, _network(matrix, ids, positions_N2, metadata) if os.path.lexists(matrix) else None


def beside_series(path: Path) -> list[Path]:
    """The files beside ``ca_his_raw_2019.h5`` that ``with_road_network`` reads."""
    found = _SERIES.fullmatch(path.name)
    return [] if found is None else _network_files(path.parent, found[1])


def beside_scaled(path: Path) -> list[Path]:
    """The files above ``ca/2019/his.npz`` that ``unscaled`` reads."""
    folder = path.absolute().parent.parent
    return _network_files(folder, folder.name)


def _network_files(folder: Path, name: str) -> list[Path]:
    return [one for one in (folder / f"{name}_meta.csv", folder / f"{name}_rn_adj.npy") if os.path.lexists(one)]


def is_scaled(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether an archive's ``data`` are scaled by a mean and a deviation that are beside them."""
    scalars = ("mean", "std")
    return "data" in arrays and all(name in arrays and arrays[name].ndim == 0 for name in scalars)


def unscaled(arrays: Mapping[str, np.ndarray], path: Path) -> Opened:
    """``ca/2019/his.npz``: channel 0 is scaled, the others, time of day and day of week, say when it begins.

    The sensors are those of ``ca/ca_meta.csv``, the graph is ``ca/ca_rn_adj.npy``.

    Raises:
        UserError: it was made in another way, or the folder's name is no year in which its times can lie.
    """
    folder, years = path.absolute().parent.parent, path.absolute().parent.name
    name = folder.name
    scaled_TNC = arrays["data"]
    if scaled_TNC.ndim != 3 or scaled_TNC.shape[2] != 3 or not re.fullmatch(r"\d{4}(_\d{4})*", years):
        raise UserError(
            "its data are scaled (mean and std are beside them), but it is no ca/2019/his.npz with time of day and day "
            "of week, as LargeST makes it: give the series that it was made of"
        )
    num_steps, num_sensors, _ = scaled_TNC.shape
    metadata = folder / f"{name}_meta.csv"
    if not metadata.is_file():
        raise UserError(f"its sensors are those of {metadata}, which is not there")
    ids, positions_N2 = _sensors(metadata)
    if len(ids) != num_sensors:
        raise UserError(f"has {num_sensors} sensors, {metadata} {len(ids)}")
    step = round(float(scaled_TNC[1, 0, 1] - scaled_TNC[0, 0, 1]) * _DAY) if num_steps > 1 else 0
    firsts = [np.datetime64(year, "s") for year in years.split("_")]
    lasts = [np.datetime64(str(int(year) + 1), "s") for year in years.split("_")]
    every = np.timedelta64(max(step, 1), "s")
    times_T = np.concatenate([np.arange(one, other, every) for one, other in zip(firsts, lasts, strict=True)])
    agrees = len(times_T) == num_steps and np.allclose(scaled_TNC[:, 0, 1], fraction_of_day(times_T), atol=1e-6)
    if not agrees or not np.allclose(scaled_TNC[:, 0, 2] * 7, day_of_week(times_T), atol=1e-6):
        raise UserError(f"its times of day and days of week are not those of whole years {years}: name the folder so")
    mean, deviation = float(arrays["mean"]), float(arrays["std"])

    def read() -> Iterator[np.ndarray]:
        for rows in row_pieces((num_steps, num_sensors)):
            # The processed flows are whole numbers, whose zeros are gaps.
            yield np.round(scaled_TNC[rows, :, :1].astype(np.float64) * deviation + mean, 6)

    blocks = Blocks(
        stamps=Stamps(times_T, False),
        ids=ids,
        channels=("value",),
        units=("",),
        where=path.name,
        read=read,
        marks_gaps=False,
        positions_N2=positions_N2,
        notes=(f"{path}: scaled readings were made original ones again; its times of day and week are made anew",),
    )
    matrix = folder / f"{name}_rn_adj.npy"
    return blocks, _network(matrix, ids, positions_N2, metadata) if os.path.lexists(matrix) else None


def _sensors(path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Ids and (N, 2) latitude and longitude."""
    with naming_file(path), path.open(encoding="utf-8-sig", newline="") as file, damage_told("not a CSV file"):
        rows = csv.DictReader(file)
        if absent := [name for name in _COLUMNS if name not in (rows.fieldnames or ())]:
            raise UserError(f"has no column {first_few(absent)}: wanted {', '.join(_COLUMNS)}")
        ids, places = [], []
        for row in rows:
            try:
                places.append((float(row["Lat"]), float(row["Lng"])))
            except (TypeError, ValueError):
                raise UserError(f"line {rows.line_num}: {row['Lat']!r}, {row['Lng']!r} is no position") from None
            ids.append((row["ID"] or "").strip())
        if len(set(ids)) != len(ids) or "" in ids:
            raise UserError("an ID is empty or comes twice")
        return tuple(ids), np.array(places).reshape(-1, 2)


def _network(path: Path, ids: tuple[str, ...], positions_N2: np.ndarray, metadata: Path) -> SensorGraph:
    with naming_file(path):
        matrix = open_array(path)
        if matrix.shape != (len(ids), len(ids)) or matrix.dtype.kind not in "fiu":
            raise UserError(
                f"must be numbers ({len(ids)}, {len(ids)}), as {metadata.name} has sensors; got {matrix.shape}"
            )
        rows = (scipy.sparse.csr_array(matrix[row : row + _ROWS]) for row in range(0, len(ids), _ROWS))
        weights = scipy.sparse.vstack(list(rows), format="csr")
        return graph_of_matrix(weights, ids, positions_N2, path=path, ids=ids, holds="weights")
