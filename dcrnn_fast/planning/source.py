"""What is known of a graph and a series without reading one reading: flags, the graph's file, a store's manifest.

Shape legend: N nodes, T rows of the series, V value channels.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.city import STEPS_PER_DAY, city_graph
from dcrnn_fast.data.known import KNOWN
from dcrnn_fast.data.sources import formats_of
from dcrnn_fast.data.store import store_outline
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import SensorGraph, read_graph
from dcrnn_fast.messages import sized
from dcrnn_fast.planning.even_graph import even_graph
from dcrnn_fast.system import MIB, available_mib

_EDGES_EACH = 8
"""links of a sensor in METR-LA and PEMS-BAY, itself included"""
_A_NODE, _A_LINK = 200, 150
"""bytes while a graph is laid out: a name and rows of a sensor, and a link in both directions of four operators"""
_IN_MEMORY = 5
"""bytes of a reading: float32 and whether it was observed"""


@dataclass(frozen=True, slots=True)
class Source:
    """Graph and series, as far as they are known.

    Attributes:
        graph: the file's, or one as large (``notes`` say so).
        rows: T, or None: not known. channels: V.
        names: of the channels; units: theirs; ids: of the sensors; each empty: not known.
        in_memory: bytes of a series that is read into memory; mapped: of one that is memory-mapped.
    """

    graph: SensorGraph
    rows: int | None
    channels: int
    in_memory: int
    mapped: int
    notes: tuple[str, ...]
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()


def source_of(
    data: DataConfig,
    graph: GraphConfig,
    *,
    nodes: int | None = None,
    edges: int | None = None,
    rows: int | None = None,
    channels: int | None = None,
    otherwise: int = 1,
) -> Source:
    """What is known; the numbers that are given count more than what the files say.

    Args:
        otherwise: V, where nothing says it.
    Raises:
        UserError: nothing says how many nodes there are, two things say it, or the graph cannot be read or laid out.
    """
    stored = formats_of(data) == {"store"} and os.path.isdir(data.data)
    if nodes is not None and (graph.graph is not None or stored):
        where = f"--graph {graph.graph}" if graph.graph is not None else f"the store {data.data}"
        raise UserError(f"--nodes {nodes} is for plans without a graph, and {where} has one: leave out one of the two")
    known = KNOWN.get(data.data) if not os.path.exists(data.data) else None
    found = read_graph(graph) if nodes is None and graph.graph is not None else None
    notes: list[str] = []
    own_nodes: int | None = None
    own_rows: int | None = None
    own_names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    ids = () if found is None else found.ids
    if nodes is None and stored:
        own_rows, ids, own_names, units, own_graph = store_outline(Path(data.data))
        own_nodes, found = len(ids), own_graph if found is None else found
    elif nodes is None and data.data == "city":
        own_rows, own_names = data.city_days * STEPS_PER_DAY, ("speed",)
        found = city_graph(nodes=data.city_nodes, seed=data.city_seed) if found is None else found
        ids = found.ids
    elif nodes is None and known is not None:
        own_rows, own_nodes = known.shape or (None, None)
        own_names = known.channels
        path = Path(data.data_folder, data.data, known.graph.name)
        if found is None and path.is_file():
            found = read_graph(replace(graph, graph=str(path)))
            ids = found.ids
    nodes, rows = own_nodes if nodes is None else nodes, own_rows if rows is None else rows
    names, units = _chosen(data.variables, own_names, units)
    count = channels or len(data.variables) or len(own_names) or otherwise
    named = max(len(data.targets), 1) + len(data.known_names)
    if data.known_names and count < named:
        if channels or stored:
            raise UserError(f"targets and known_ahead name {named} channels, and there are {count}: give --channels")
        count = named
    if found is None:
        if nodes is None:
            raise UserError(
                f"nothing says how many sensors {data.data} has without opening it: give --nodes and --edges, or the "
                "graph with --graph, or prepare a store of it (dcrnn-fast prepare)"
            )
        assumed = edges is None
        links = min(_EDGES_EACH * nodes, nodes * nodes) if edges is None else edges
        needed, available = nodes * _A_NODE + min(links, nodes * nodes) * _A_LINK, available_mib() * MIB
        if needed > available:
            raise UserError(
                f"out of memory ({sized(available)} available): a graph of {nodes} sensors with {links} links takes "
                f"{sized(needed)} to lay out, {sized(needed - available)} more; plan for fewer"
            )
        found = even_graph(nodes, links)
        notes.append(
            f"graph: a grid of {nodes} sensors with {found.num_edges} links stands in for it"
            + (f" ({_EDGES_EACH} each: --edges was not given)" if assumed else "")
        )
    if graph.self_loops == "add":
        found = found.with_self_loops()
    size = _IN_MEMORY * (rows or 0) * found.num_nodes * count
    if rows is None:
        notes.append("series: its length is not known (--rows), so neither its memory nor an epoch's time is")
    if len(names) != count:
        names = units = ()
    return Source(
        graph=found,
        rows=rows,
        channels=count,
        in_memory=0 if stored else size,
        mapped=size if stored else 0,
        notes=tuple(notes),
        names=names,
        units=units,
        ids=ids,
    )


def _chosen(
    variables: tuple[str, ...], names: tuple[str, ...], units: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names and units of the channels that are asked for, as far as they are known.

    Args:
        variables: names, numbers, or names of several levels.
        names, units: of all channels; none: not known.
    """
    if not variables:
        return names, units
    if not names:
        return (() if any(variable.isdecimal() for variable in variables) else variables), ()
    found = [names.index(name) if name in names else int(name) if name.isdecimal() else -1 for name in variables]
    if not all(0 <= index < len(names) for index in found):
        return (), ()
    return tuple(names[index] for index in found), tuple(units[index] for index in found) if units else ()


def window_counts(rows: int, data: DataConfig) -> tuple[int, int]:
    """Windows that train and that validate, of a series without gaps."""
    windows = max(rows - data.past_steps - data.future_steps + 1, 0)
    test, train = round(windows * data.test_fraction), round(windows * data.train_fraction)
    train = min(train, windows - test)
    limits = (data.max_train_windows, data.max_validation_windows)
    train, validation = (
        count if limit is None else min(count, limit)
        for count, limit in zip((train, windows - train - test), limits, strict=True)
    )
    return train, validation


def made_up_readings(rows: int, nodes: int, channels: int) -> np.ndarray:
    """(T, N, V) float32 around 60, for a trial of a step."""
    numbers = np.random.default_rng(0).normal(60.0, 8.0, (rows, nodes, channels))
    return numbers.astype(np.float32)
