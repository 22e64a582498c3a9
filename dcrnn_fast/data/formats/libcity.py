"""LibCity's atomic files: NAME.geo, NAME.rel, NAME.dyna or NAME.grid, and config.json, in one folder.

The readings are a long table (time, entity); .geo gives the sensors' order and positions, .rel the graph, and
config.json says what the column of .rel is. LibCity writes local times with a Z, which it drops when it reads them: so
does this.

Shape legend: N sensors.
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.formats import Opened
from dcrnn_fast.data.formats.arrow_columns import first_rows
from dcrnn_fast.data.formats.folder_files import note_of_left
from dcrnn_fast.data.formats.libcity_graph import neighbours_of_cells, read_relations
from dcrnn_fast.data.formats.long_files import LongFile, column_of_arrow
from dcrnn_fast.data.long_blocks import Rows, blocks_of_rows
from dcrnn_fast.data.long_rows import Layout, RowMaker
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import counted, first_few, naming_file
from dcrnn_fast.reading.damage import damage_told
from dcrnn_fast.reading.tables import is_number, notes_of_ends, read_table, table_form

_READINGS = (".dyna", ".grid")
_OTHERS = {".od": "flows between pairs of places", ".gridod": "flows between pairs of cells"}
_NO_READINGS = ("dyna_id", "type", "time", "entity_id", "row_id", "column_id")


@dataclass(frozen=True)
class _Geo:
    """The entities: ids in their order, places where they are points, ids of the cells of a grid."""

    ids: tuple[str, ...]
    positions: dict[str, tuple[float, float]]
    cells: dict[str, str]


def beside_readings(path: Path) -> list[Path]:
    """The files beside one with readings that ``open_libcity`` may read."""
    return sorted(
        one
        for one in path.parent.iterdir()
        if one.is_file() and (one.suffix in (".geo", ".rel", ".gridrel") or one.name == "config.json")
    )


def open_libcity(path: Path, data: DataConfig, graph: GraphConfig) -> Opened:
    """The series of a folder of atomic files, or of one .dyna or .grid file with its .geo, .rel and config beside it.
    Files that config.json names together (data_files) are one series.

    Raises:
        UserError: no readings, several of them, or pairs of places; no .geo; columns that are missing; readings of an
            entity that .geo lacks; errors of ``blocks_of_rows`` and ``read_relations``; the file and line are named.
    """
    folder = path if path.is_dir() else path.parent
    with naming_file(folder):
        if path.suffix.lower() in _OTHERS:
            raise _no_readings(path)
        info = _info(folder)
        files = [path] if path.is_file() else _readings_of(folder, info)
        readings, stem = files[0], files[0].stem if len(files) == 1 else folder.name
        geo_path = folder / f"{_named(info, 'geo_file', stem)}.geo"
        rel_name = _named(info, "rel_file", stem)
        rel_path = next(
            (one for end in ("rel", "gridrel") if os.path.lexists(one := folder / f"{rel_name}.{end}")), None
        )
    if not os.path.lexists(geo_path):
        raise UserError(f"{readings}: no {geo_path.name} beside it, which names the sensors")
    with naming_file(geo_path):
        geo = _read_geo(geo_path)
    with naming_file(readings):
        header = first_rows(readings, table_form(readings)[1])[0].cells
        is_grid = readings.suffix.lower() == ".grid" or "row_id" in header
        entities = ("row_id", "column_id") if is_grid else ("entity_id",)
        if absent := [name for name in ("time", *entities) if name not in header]:
            raise UserError(f"line 1: no column {absent[0]!r} among {first_few(header)}")
        columns = [name for name in header if name not in _NO_READINGS]
        wanted = _data_columns(info, columns)
        layout = Layout(time="time", sensors=entities, readings=tuple(wanted))
        if not wanted:
            raise UserError(f"no column of readings among {first_few(header)}")

    def cell_or_entity(name: str) -> str:
        return geo.cells.get(name, name) if is_grid else name

    maker = RowMaker(layout, data, column_of_arrow, sensor_id=cell_or_entity, drop_utc=True)

    def all_rows() -> Iterator[Rows]:
        for one in files:
            file = LongFile(one, one.name, texts=("time", *entities), wanted=layout.columns)
            with naming_file(one):
                for batch, name_row in file.batches():
                    yield maker.rows(batch, name_row)

    blocks = blocks_of_rows(
        all_rows, readings.name if len(files) == 1 else folder.name, order=geo.ids, described=geo_path.name
    )
    silent = [sensor for sensor in geo.ids if sensor not in set(blocks.ids)]
    notes = [
        f"{readings.name}: columns that config.json does not name are not read: {first_few(set(columns) - set(wanted))}"
    ]
    notes = notes if len(columns) > len(wanted) else []
    if path.is_dir():
        read = {*files, geo_path, rel_path, folder / "config.json"}
        notes += note_of_left(folder, [one.name for one in folder.iterdir() if one not in read])
    texts = [*files, geo_path, *([] if rel_path is None or graph.graph is not None else [rel_path])]
    notes += notes_of_ends(texts)
    if silent:
        notes.append(f"{counted(len(silent), 'sensor')} of {geo_path.name} without readings: {first_few(silent)}")
    positions = [geo.positions.get(sensor) for sensor in blocks.ids]
    places = None if None in positions else np.array(positions)
    own_graph = None
    if rel_path is not None and graph.graph is None:
        with naming_file(rel_path):
            own_graph, doubt = read_relations(rel_path, info, blocks.ids, graph, geo.cells)
        notes += [doubt] if doubt else []
    elif is_grid and graph.graph is None:
        own_graph = neighbours_of_cells(geo.cells, blocks.ids, geo_path.name)
    blocks = replace(blocks, positions_N2=places, notes=(*blocks.notes, *notes))
    return blocks, own_graph


def _readings_of(folder: Path, info: dict[str, Any]) -> list[Path]:
    """The files of readings: those that config.json names as data_files, or the only one."""
    files = sorted(one for one in folder.iterdir() if one.suffix.lower() in (*_READINGS, *_OTHERS))
    found = [one for one in files if one.suffix.lower() in _READINGS]
    told = info.get("data_files")
    named = [one for one in found if isinstance(told, list) and one.stem in told]
    if named and len({one.suffix for one in named}) == 1 and len(named) == len(told or ()):
        return named
    if len(found) == 1:
        return found
    if found:
        raise UserError(f"holds several files of readings ({first_few(one.name for one in found)}): name one")
    if files:
        raise _no_readings(files[0])
    raise UserError("holds no .dyna or .grid file")


def _no_readings(path: Path) -> UserError:
    return UserError(f"{path.name} holds {_OTHERS[path.suffix.lower()]}, which are no readings of sensors")


def _info(folder: Path) -> dict[str, Any]:
    """What config.json says of the data set; nothing if there is none."""
    path = folder / "config.json"
    if not os.path.lexists(path):
        return {}
    with naming_file(path), damage_told("not readable JSON, or truncated"):
        loaded = json.loads(path.read_text(encoding="utf-8-sig"))
        info = loaded.get("info", {}) if isinstance(loaded, dict) else None
        if not isinstance(info, dict):
            raise UserError("wanted an object with an object called info")
        return info


def _named(info: dict[str, Any], key: str, otherwise: str) -> str:
    name = info.get(key)
    if not isinstance(name, str) or not name or Path(name).name != name:
        return otherwise
    return name


def _data_columns(info: dict[str, Any], columns: Sequence[str]) -> list[str]:
    told = info.get("data_col") or list(columns)
    wanted = [told] if isinstance(told, str) else told
    if not isinstance(wanted, list) or not all(isinstance(name, str) for name in wanted):
        raise UserError(f"config.json: data_col must name columns, got {told!r:.60}")
    if absent := [name for name in wanted if name not in columns]:
        raise UserError(f"config.json names the column {absent[0]!r}, the file has {first_few(columns)}")
    return wanted


def _read_geo(path: Path) -> _Geo:
    header, *rows = read_table(path)
    names = header.cells
    if "geo_id" not in names:
        raise UserError(f"line {header.line}: no column 'geo_id' among {first_few(names)}")
    ids = tuple(row.cells[names.index("geo_id")] for row in rows)
    if len(set(ids)) != len(ids) or "" in ids:
        seen: set[str] = set()
        for row, sensor in zip(rows, ids, strict=True):
            if sensor in seen or not sensor:
                raise UserError(f"line {row.line}: {f'geo_id {sensor!r} comes twice' if sensor else 'no geo_id'}")
            seen.add(sensor)
    positions, cells = {}, {}
    for row, sensor in zip(rows, ids, strict=True):
        named = dict(zip(names, row.cells, strict=True))
        if "row_id" in named and "column_id" in named:
            cells[f"{named['row_id']}_{named['column_id']}"] = sensor
        place = named.get("coordinates", "").strip("[] ").split(",")
        if named.get("type") == "Point" and len(place) == 2 and all(is_number(x) for x in place):
            positions[sensor] = (float(place[1]), float(place[0]))  # published as longitude, latitude
    return _Geo(ids, positions, cells)
