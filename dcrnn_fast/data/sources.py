"""From a name, a file or a folder to a series, and to the graph that it brings along, if any."""

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from dcrnn_fast.config.data import MASK_OF_DATA, MASK_OF_MODEL, DataConfig, GraphConfig, Match
from dcrnn_fast.data.blocks import Blocks, Outline, outline_of_blocks
from dcrnn_fast.data.formats import Opened, format_by_ending, formats_of_path, open_path, read_path
from dcrnn_fast.data.known import KNOWN, known_data, missing_rule, require_files
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import SensorGraph, match_graph, read_graph, read_positions
from dcrnn_fast.messages import first_few, naming_file
from dcrnn_fast.reading.damage import damage_told

_GIB = 1 << 30
_LARGE = _GIB
"""bytes of readings in memory from which on a store is advised"""


@np.errstate(over="ignore", invalid="ignore")  # a number that is too large is refused by name
def read_source(data: DataConfig, graph: GraphConfig) -> tuple[SensorSeries, SensorGraph | None]:
    """The series, and the graph that the source brings along (the city, named data sets, stores, grids, some .npz).

    Raises:
        UserError: no such name or file, an unknown format, another missing rule than a store's or the city's, or an
            error of the reader.
    """
    series, own_graph = _settled(*_read_any(data, graph), data, graph)
    arrays = (series.values_TNC, series.observed_TNC, series.rest_TNC)
    size = sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))
    if size >= _LARGE:
        note = (
            f"{data.data}: {size / _GIB:.1f} GiB of readings are in memory; of a store (dcrnn-fast prepare), rows are "
            "read when they are needed"
        )
        series = series.with_notes((*series.notes, note))
    return series, own_graph


def open_source(data: DataConfig, graph: GraphConfig) -> Opened | None:
    """A source whose files can be read in pieces, and the graph that it brings along; None if it can only be read
    whole.

    Raises:
        UserError: as ``read_source``, of all but the readings.
    """
    if data.data in ("", "city") or _is_known(data) or not os.path.exists(data.data):
        return None
    return open_path(Path(data.data), replace(data, missing=missing_rule(data)), graph)


@np.errstate(over="ignore", invalid="ignore")
def outline_source(
    blocks: Blocks, own_graph: SensorGraph | None, data: DataConfig, graph: GraphConfig
) -> tuple[Outline, SensorSeries, SensorGraph | None]:
    """All of a source, what the flags ask for of it, both without readings, and its graph.

    Raises:
        UserError: as ``read_source``, of all but the readings.
    """
    outline = outline_of_blocks(blocks, replace(data, missing=missing_rule(data)))
    return (outline, *_settled(outline.series, own_graph, data, graph))


def _settled(
    series: SensorSeries, own_graph: SensorGraph | None, data: DataConfig, graph: GraphConfig
) -> tuple[SensorSeries, SensorGraph | None]:
    """A source as it was read, with what the flags ask for of it."""
    if data.missing not in ("auto", series.missing):
        raise UserError(
            f"missing: {data.data} was made with missing = {series.missing}, got {data.missing}; leave the flag out"
        )
    if data.missing_value and formats_of(data) & {"city", "store"}:
        raise UserError(f"missing_value: {data.data} was made with its gaps marked; give the flag to prepare")
    if data.fill_rows and series.segments != series.parts:
        raise UserError(f"fill_rows: {data.data} was made with gaps in its time axis: prepare it with --fill-rows")
    if own_graph is not None and graph.self_loops == "add":
        own_graph = own_graph.with_self_loops()
    if own_graph is not None and graph.graph is None and graph.sensor_positions is not None:
        own_graph = own_graph.with_positions(read_positions(graph.sensor_positions, ids=own_graph.ids)[1])
    return _choose_channels(series, data.variables), own_graph


def read_series(data: DataConfig) -> SensorSeries:
    """``read_source`` without the graph."""
    return read_source(data, GraphConfig())[0]


def read_for_model(
    data: DataConfig, graph: GraphConfig, ids: tuple[str, ...]
) -> tuple[SensorSeries, SensorGraph | None]:
    """``read_source`` for a trained model. A land mask of the data gave the model its cells: these are read again,
    whichever of them other data observe.

    Args:
        graph: of the training.
        ids: the model's sensors.
    """
    if graph.land_mask != MASK_OF_DATA:
        return read_source(data, graph)
    series, own_graph = read_source(data, replace(graph, land_mask=MASK_OF_MODEL))
    if not set(ids) <= set(series.ids):
        return series, own_graph
    return series.take_sensors(ids), None if own_graph is None else own_graph.take(ids)


def source_files(data: DataConfig, graph: GraphConfig) -> list[str | Path]:
    """Files and folders (for all files in them) that these sections name, whether or not they are there."""
    named = [data.data, *data.leave_out, graph.graph, graph.land_mask_file, graph.sensor_positions]
    if _is_known(data):
        named.append(str(Path(data.data_folder, data.data)))
    return [name for name in named if name]


def require_outside(outputs: Iterable[Path], data: DataConfig, flag: str) -> None:
    """Checks that no output would be read as one more file of a folder of series.

    Args:
        flag: the flag that sets the outputs' place, for the message.
    Raises:
        UserError: one would.
    """
    folder = Path(data.data)
    if not os.path.isdir(folder) or (formats := formats_of(data)) == {"store"}:
        return
    # Every table below a folder of partitions is read, whatever its own folder is called.
    deep = "partitioned" in formats
    for output in outputs:
        above = (nearest := Path(os.path.realpath(output.parent)), *nearest.parents)
        there = (one for one in (above if deep else above[:1]) if os.path.isdir(one))
        if format_by_ending(output) and any(os.path.samefile(one, folder) for one in there):
            raise UserError(f"{output} would become one of the readings' files in {folder}: give another {flag}")


def _is_known(data: DataConfig) -> bool:
    return data.data in KNOWN and not os.path.exists(data.data)


def formats_of(data: DataConfig) -> set[str]:
    """The formats of the source's files, or city, or store; none if it cannot be determined, as reading will report."""
    if data.data in ("", "city"):
        return {data.data} - {""}
    path = Path(data.data)
    if _is_known(data):
        path = Path(KNOWN[data.data].series.name)
    return formats_of_path(path, data.data_format)


def match_series(graph: SensorGraph, series: SensorSeries, how: Match) -> tuple[SensorSeries, SensorGraph]:
    """``match_graph``, and the series with a note about the graph's nodes that it has no readings of.

    Raises:
        UserError: as ``match_graph``.
    """
    matched = match_graph(graph, series.ids, how)
    if how == "position" or matched.num_nodes == graph.num_nodes:
        return series, matched
    known = set(series.ids)
    spare = [node for node in graph.ids if node not in known]
    note = f"{len(spare)} nodes of the graph have no series and are left out: {first_few(spare)}"
    return series.with_notes((*series.notes, note)), matched


def _choose_channels(series: SensorSeries, variables: tuple[str, ...]) -> SensorSeries:
    """The channels that were asked for, by name, by number, or by the variable that they are levels of (t: t_500,
    t_850); if none were, all.

    Raises:
        UserError: no such channel (those there are listed), or one twice.
    """
    if not variables:
        return series
    indices = []
    for variable in variables:
        if variable in series.channels:
            indices.append(series.channels.index(variable))
        elif variable.isdecimal() and len(variable) < 10 and int(variable) < len(series.channels):
            indices.append(int(variable))
        elif levels := [i for i, name in enumerate(series.channels) if _is_level_of(name, variable)]:
            indices += levels
        else:
            raise UserError(f"variables: no channel {variable!r}; the channels are {', '.join(series.channels)}")
    if len(set(indices)) != len(indices):
        raise UserError(f"variables: each channel once, got {first_few(variables)}")
    if indices == list(range(len(series.channels))):
        return series
    return series.take_channels(tuple(indices))


def _is_level_of(channel: str, variable: str) -> bool:
    """Whether a channel is a level of a variable: t_500 of t."""
    name, _, level = channel.rpartition("_")
    return name == variable and re.fullmatch(r"-?\d+(\.\d+)?(e[+-]\d+)?", level) is not None


def _read_any(data: DataConfig, graph: GraphConfig) -> tuple[SensorSeries, SensorGraph | None]:
    if not data.data:
        raise UserError("no data given: name a file, a folder or a known data set with --data")
    path = Path(data.data)
    if data.data == "city":
        from dcrnn_fast.data.city import synthetic_city  # scipy's trees and paths, for nothing but the city

        return synthetic_city(nodes=data.city_nodes, days=data.city_days, seed=data.city_seed)
    data = replace(data, missing=missing_rule(data))
    if _is_known(data):
        return _read_known(data, graph)
    if not os.path.exists(path):
        raise UserError(
            f"data: {data.data!r} is neither a file or folder nor a known data set; known: city, {', '.join(KNOWN)}"
        )
    return read_path(path, data, graph)


def _read_known(data: DataConfig, graph: GraphConfig) -> tuple[SensorSeries, SensorGraph | None]:
    name, folder = data.data, Path(data.data_folder)
    known = known_data(name)
    require_files(name, folder)
    path = folder / name / known.series.name
    if data.start is None and known.start is not None:
        data = replace(data, start=known.start, freq=data.freq or known.freq)
    series, _ = read_path(path, data, graph)
    if known.channels:
        series = replace(series, channels=known.channels, units=known.units)
    if known.ids is not None:
        ids_path = folder / name / known.ids.name
        with naming_file(ids_path), damage_told("not a text file in UTF-8"):
            ids = tuple(line.strip() for line in ids_path.read_text(encoding="utf-8").split())
            if len(ids) != series.num_sensors:
                raise UserError(f"{len(ids)} ids for {series.num_sensors} sensors")
        series = replace(series, ids=ids)
    own_graph = None
    if graph.graph is None:
        config = replace(graph, graph=str(folder / name / known.graph.name))
        if known.match == "position" and graph.match == "id":
            config = replace(config, match="position")
        series, own_graph = match_series(read_graph(config, ids=series.ids), series, config.match)
    return series, own_graph
