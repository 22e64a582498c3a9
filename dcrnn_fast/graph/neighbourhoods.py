"""Neighbourhoods as GeoDa, spdep and libpysal write them: GAL (who touches whom) and GWT (with a number for each pair).

Both begin with a line "N" or "0 N SHAPEFILE ID_VARIABLE".
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dcrnn_fast.config.data import Match
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.kernel import Kernel
from dcrnn_fast.graph.lists import of_pairs
from dcrnn_fast.graph.sensor_graph import SensorGraph
from dcrnn_fast.messages import counted, first_few, naming_file, one_line
from dcrnn_fast.reading.tables import is_number

_WORD = re.compile(r'"([^"]*)"|(\S+)')


def read_gal(path: Path, *, ids: Sequence[str] | None, match: Match = "id") -> SensorGraph:
    """The graph of a GAL file, every weight 1; an area without neighbours has none here.

    Args:
        ids, match: as ``read_edges``.
    Raises:
        UserError: truncated, another number of areas than its first line says, an area twice; errors of ``read_edges``.
    """
    with naming_file(path):
        lines = _lines(path)
        count = _count(lines)
        words = iter([word for line in lines[1:] for word in _words(line)])
        starts: list[str] = []
        ends: list[str] = []
        seen: dict[str, None] = {}
        for area in words:
            if area in seen:
                raise UserError(f"the area {area[:40]!r} comes twice")
            seen[area] = None
            many = next(words, "")
            if not many.isdigit():
                raise UserError(
                    f"area {area[:40]!r}: wanted its number of neighbours, got {many[:40]!r}; is it truncated?"
                )
            for place in range(int(many)):
                if (other := next(words, None)) is None:
                    raise UserError(f"area {area[:40]!r} has {many} neighbours, the file ends after {place}")
                starts.append(area)
                ends.append(other)
        if len(seen) != count:
            raise UserError(f"its first line says {counted(count, 'area')}, it has {len(seen)}; is it truncated?")
        if strangers := [name for name in dict.fromkeys(ends) if name not in seen]:
            raise UserError(
                f"names {counted(len(strangers), 'neighbour')} that are no areas of it: {first_few(strangers)}"
            )
        linked = set(starts)
        alone = [area for area in seen if area not in linked]
        weights = [1.0] * len(starts) + [0.0] * len(alone)
        graph = of_pairs([*starts, *alone], [*ends, *alone], weights, "weight", ids=ids, match=match, file=path.name)
    return _with_kind(graph, "a list of neighbours (GAL)")


def read_gwt(path: Path, *, ids: Sequence[str] | None, kernel: Kernel, match: Match = "id") -> SensorGraph:
    """The graph of a GWT file: its numbers are distances, or weights if all are 1 or an area has one with itself.

    Args:
        ids, match: as ``read_distances``.
    Raises:
        UserError: a line that is no pair with a number; errors of ``read_distances``.
    """
    with naming_file(path):
        lines = _lines(path)
        count = _count(lines)
        rows = [(number, _words(line)) for number, line in enumerate(lines[1:], start=2) if line.strip()]
        for number, words in rows:
            if len(words) != 3 or not is_number(words[2]):
                raise UserError(f"line {number}: wanted area, neighbour and a number, got {' '.join(words)[:60]!r}")
        starts, ends = [words[0] for _, words in rows], [words[1] for _, words in rows]
        values = [float(words[2]) for _, words in rows]
        known = {*starts, *ends}
        if len(known) > count:
            raise UserError(f"its first line says {counted(count, 'area')}, it names {len(known)}")
        own = any(a == b and value > 0 for a, b, value in zip(starts, ends, values, strict=True))
        is_weight = own or set(values) == {1.0}
        graph = of_pairs(
            starts,
            ends,
            values,
            "weight" if is_weight else "distance",
            ids=ids,
            match=match,
            file=path.name,
            kernel=kernel,
        )
    graph = _with_kind(graph, f"a list of {'weights' if is_weight else 'distances'} (GWT)")
    if len(known) < count and graph.account is not None:
        doubt = f"{path.name} is of {count} areas and names {len(known)}: the others have no neighbours, and no id here"
        graph = graph.with_account(replace(graph.account, doubts=(*graph.account.doubts, doubt)))
    return graph


def _with_kind(graph: SensorGraph, kind: str) -> SensorGraph:
    return graph if graph.account is None else graph.with_account(replace(graph.account, kind=kind))


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeError as error:
        raise UserError(f"not a text file in UTF-8 ({one_line(error)[:80]})") from error
    if not any(line.strip() for line in lines):
        raise UserError("the file is empty")
    return lines


def _count(lines: Sequence[str]) -> int:
    words = _words(lines[0])
    count = words[0] if len(words) == 1 else words[1] if len(words) > 1 else ""
    if not count.isdigit() or int(count) < 1:
        raise UserError(f"its first line must be N or 0 N SHAPEFILE ID_VARIABLE, got {lines[0][:60]!r}")
    return int(count)


def _words(line: str) -> list[str]:
    """Words apart by spaces; one in double quotes may hold some."""
    return [quoted or plain for quoted, plain in _WORD.findall(line)]
