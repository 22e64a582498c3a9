"""The format of a graph file whose ending several formats share: by its header, or by its arrays' names."""

from itertools import islice
from pathlib import Path

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.list_columns import DISTANCE_NAMES, WEIGHT_NAMES, end_columns, list_header
from dcrnn_fast.graph.positions import LATITUDE_NAMES, LONGITUDE_NAMES
from dcrnn_fast.reading.arrays import load_archive
from dcrnn_fast.reading.tables import Row, find_column, is_number, plain_name, read_rows


def format_of_archive(path: Path) -> str:
    """grid or matrix: an .npz file with one-dimensional latitudes and longitudes is a grid.

    Raises:
        UserError: it cannot be read.
    """
    names = {plain_name(name): array.ndim for name, array in load_archive(path).items()}
    axes = [[names.get(name) == 1 for name in known] for known in (LATITUDE_NAMES, LONGITUDE_NAMES)]
    return "grid" if all(map(any, axes)) else "matrix"


def format_of_text(path: Path) -> str:
    """positions, distances, edges or matrix, by the header and the numbers of lines and columns.

    Raises:
        UserError: it cannot be determined, or the file cannot be read.
    """
    rows: list[Row] = list(islice(read_rows(path), 5))
    if not rows:
        raise UserError("the file is empty")
    header, num_lines = rows[0].cells, len(rows)
    start, end = end_columns(header)
    has = {
        what: find_column(header, names) is not None
        for what, names in {
            "distance": DISTANCE_NAMES,
            "weight": WEIGHT_NAMES,
            "latitude": LATITUDE_NAMES,
            "longitude": LONGITUDE_NAMES,
        }.items()
    }
    if has["latitude"] and has["longitude"]:
        return "positions"
    if start is not None and end is not None:
        if has["distance"] != has["weight"]:
            return "distances" if has["distance"] else "edges"
        if len(header) == 2:
            return "edges"
        raise UserError(
            f"the header {', '.join(header)[:100]!r} does not say whether it lists distances or weights; set "
            "--graph-format to distances or edges"
        )
    # A matrix has numbers beside its ids, and as many columns as lines but for those ids.
    names = any(len(row.cells) > 1 and not is_number(row.cells[1]) for row in rows[1:])
    if len(header) == 2 and (names or num_lines > 3 or list_header(rows)):
        return "edges"
    if len(header) == 3 and (names or is_number(header[2]) or num_lines not in (3, 4)):
        raise UserError(
            "three columns could be distances, weights, positions or a small matrix; set --graph-format to distances, "
            "edges, positions, matrix or distance_matrix"
        )
    return "matrix"
