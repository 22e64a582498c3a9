"""``dcrnn-fast prepare``: reads any source once and writes a store, which opens at once at any size, with checksums.

Also downloads the named data sets whose address is known, and checks a store byte for byte.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from dcrnn_fast.command import run_command
from dcrnn_fast.config.command_line import parse
from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.account import series_lines, series_looks
from dcrnn_fast.data.blocks import Blocks, MoreSensorsError, without_readings
from dcrnn_fast.data.facts import SeriesFacts, series_facts
from dcrnn_fast.data.left_out import ids_to_leave_out
from dcrnn_fast.data.opening import read_matched, silent_by_id, with_graph
from dcrnn_fast.data.series import SensorSeries, refuse_silent, require_observed_sensors, silent_in
from dcrnn_fast.data.sources import open_source, outline_source, source_files
from dcrnn_fast.data.store import FILES, Block, open_store, verify_store, write_store
from dcrnn_fast.data.window_format import window_format_of
from dcrnn_fast.errors import UserError
from dcrnn_fast.files import require_apart, require_creatable_folder
from dcrnn_fast.graph import SensorGraph
from dcrnn_fast.graph.account import account_lines, look_lines
from dcrnn_fast.idle import refuse_idle_in_preparing
from dcrnn_fast.messages import counted


@dataclass(frozen=True, kw_only=True, slots=True)
class PrepareFlags:
    """The source to read, and the store's place."""

    output: str | None = None
    """folder of the new store"""
    download: str | None = None
    """fetch this named data set (metr-la, pems-bay, los-loop, the-hague, ...) into the data folder"""
    verify: str | None = None
    """check every byte of this store against its checksums"""
    data: DataConfig = field(default_factory=DataConfig)
    graph: GraphConfig = field(default_factory=GraphConfig)


def prepare(data: DataConfig, graph: GraphConfig, output: Path) -> tuple[SensorSeries, SensorGraph | None]:
    """Read a source and write it as a store, with its graph in the series' order if it has one.

    Raises:
        UserError: the reader, the graph or the writer refuses something; the targets of a sensor were never observed.
    """
    data = replace(data, leave_out=ids_to_leave_out(data.leave_out))
    if data.data == "city":
        return _prepare_city(data, graph, output)
    if (opened := open_source(data, graph)) is not None:
        blocks, own_graph = opened
        try:
            return _prepare_blocks(blocks, own_graph, data, graph, output)
        except MoreSensorsError:
            if blocks.thorough is None:
                raise
        return _prepare_blocks(blocks.thorough(), own_graph, data, graph, output)
    series, own_graph = read_matched(data, graph)
    require_observed_sensors(series, window_format_of(series, data).target_channels, data.data)
    write_store(output, series, own_graph)
    return series, own_graph


def _prepare_blocks(
    blocks: Blocks, own_graph: SensorGraph | None, data: DataConfig, graph: GraphConfig, output: Path
) -> tuple[SensorSeries, SensorGraph | None]:
    outline, asked, own_graph = outline_source(blocks, own_graph, data, graph)
    data = silent_by_id(data, asked, (observed_RNC for _, observed_RNC in outline.rows_of(asked)))
    series, own_graph = with_graph(asked, own_graph, data, graph)
    series, own_graph = _prepare_in_pieces(without_readings(series), own_graph, outline.rows_of(series), data, output)
    return series.with_notes((*series.notes, *blocks.account())), own_graph


def _prepare_city(data: DataConfig, graph: GraphConfig, output: Path) -> tuple[SensorSeries, SensorGraph | None]:
    """``prepare``, day after day."""
    from dcrnn_fast.data.city import days_of_city, with_more_days  # scipy's paths, for nothing but the city

    first_day, own_graph = read_matched(replace(data, city_days=1), graph)
    series = with_more_days(first_day, data.city_days)
    days = days_of_city(series.ids, nodes=data.city_nodes, days=data.city_days, seed=data.city_seed)
    return _prepare_in_pieces(series, own_graph, days, data, output)


def _prepare_in_pieces(
    series: SensorSeries, own_graph: SensorGraph | None, blocks: Iterator[Block], data: DataConfig, output: Path
) -> tuple[SensorSeries, SensorGraph | None]:
    """The readings are never in memory together, but come back from the new store.

    Args:
        series: has only the shape of its readings.
    """
    targets = window_format_of(series, data).target_channels

    def observed_in_all_sensors() -> Iterator[Block]:
        seen_NC = np.zeros((series.num_sensors, len(series.channels)), dtype=bool)
        with np.errstate(over="ignore", invalid="ignore"):  # a number that is too large is refused by name
            for block in blocks:
                seen_NC |= block[1].any(axis=0)
                yield block
        refuse_silent(silent_in(seen_NC, series, targets), data.data)

    write_store(output, series, own_graph, observed_in_all_sensors())
    return open_store(output)[0].with_notes(series.notes), own_graph


def main(argv: list[str] | None = None) -> int:
    """Runs ``dcrnn-fast prepare ...``."""
    return run_command("prepare", _run, argv)


def _run(argv: list[str]) -> int:
    flags = parse(PrepareFlags, argv, prog="dcrnn-fast prepare", description=__doc__ or "")
    if not (flags.output or flags.download or flags.verify):
        raise UserError("nothing to do: give --output STORE (with --data SOURCE), --download NAME or --verify STORE")
    refuse_idle_in_preparing(flags.data, flags.graph, argv, output=flags.output is not None)
    if flags.output is not None:
        outputs = [Path(flags.output, name) for name in FILES]
        require_apart(outputs, source_files(flags.data, flags.graph), "--output folder")
        require_creatable_folder(flags.output, "store")
    if flags.download is not None:
        from dcrnn_fast.data.download import download  # requests, for nothing else

        for path in download(flags.download, Path(flags.data.data_folder)):
            print(f"{path}: checksum is right")
    if flags.output is not None:
        series, graph = prepare(flags.data, flags.graph, Path(flags.output))
        facts = series_facts(series)
        print("\n".join(_account(series, facts, graph, flags.data)))
        print(f"{flags.output}: {describe(series, facts, graph)}")
    if flags.verify is not None:
        files = verify_store(Path(flags.verify))
        print(f"{flags.verify}: {len(files)} files, {sum(files.values()):,} bytes, every checksum is right")
    return 0


def _account(series: SensorSeries, facts: SeriesFacts, graph: SensorGraph | None, asked: DataConfig) -> list[str]:
    """Doubts, facts and notes about a source, a line each."""
    looks = [*series_looks(series, facts, asked), *(look_lines(graph) if graph is not None else [])]
    looks += [note for note in series.notes if note.startswith("look:")]
    others = [note for note in series.notes if not note.startswith("look:")]
    graph_lines = account_lines(graph) if graph is not None else []
    return [*dict.fromkeys(looks), *series_lines(series, facts), *graph_lines, *others]


def describe(series: SensorSeries, facts: SeriesFacts, graph: SensorGraph | None) -> str:
    """One line about a series and its graph."""
    edges = "no graph" if graph is None else f"{graph.num_edges:,} edges"
    sensors = counted(series.num_sensors, "sensor")
    missing = 1 - int(facts.counts.sum()) / series.values_TNC.size
    return (
        f"{series.num_steps:,} steps of {series.freq} from {series.times_T[0]}, {sensors}, "
        f"channels {', '.join(series.channels)}, {missing:.2%} missing, {edges}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
