"""Adjacency matrices: arrays in memory, .npy, .npz and text files.

Shape legend: N nodes, R rows and C columns of a text file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.sparse

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.account import GraphAccount
from dcrnn_fast.graph.distance_matrices import from_distance_matrix, require_no_distances
from dcrnn_fast.graph.kernel import Kernel
from dcrnn_fast.graph.sensor_graph import SensorGraph, require_square
from dcrnn_fast.messages import first_few, naming_file, one_line
from dcrnn_fast.reading.arrays import load_archive, load_array
from dcrnn_fast.reading.tables import Row, is_number, read_rows
from dcrnn_fast.reading.texts import text_of

ADJACENCY_KEYS = ("adjacency", "adj", "adj_mx", "adjacency_matrix", "A", "W", "weights", "matrix", "arr_0")
ID_KEYS = ("ids", "sensor_ids", "node_ids")
POSITION_KEYS = ("positions_N2", "positions", "coordinates")
_INDICES = {"indices", "indptr", "row", "col"}
_MOST_NODES = 10_000_000
"""of a sparse matrix, whose file may be small all the same"""
Holds = Literal["either", "weights", "distances"]


def from_matrix(matrix: Any, ids: Sequence[str] | None = None, positions_N2: np.ndarray | None = None) -> SensorGraph:
    """The graph of a dense or scipy sparse (N, N) matrix, row = from, column = to.

    Args:
        ids: N texts; left out: "0" .. "N-1".
        positions_N2: latitude and longitude in degrees.
    Raises:
        UserError: as ``SensorGraph``.
    """
    if ids is None:
        ids = tuple(map(str, range(np.shape(matrix)[0] if np.ndim(matrix) or scipy.sparse.issparse(matrix) else 0)))
    return SensorGraph(matrix, tuple(ids), positions_N2)


def read_matrix(
    path: str | Path, *, ids: Sequence[str] | None = None, holds: Holds = "either", kernel: Kernel | None = None
) -> SensorGraph:
    """The graph of a matrix file.

    - ``.npy``: a dense array.
    - ``.npz``: a file of ``scipy.sparse.save_npz``, the state of a SensorGraph, or a dense array under one of the
      names ``adjacency, adj, adj_mx, adjacency_matrix, A, W, weights, matrix, arr_0`` or as the only square array;
      beside it, if present, ids (``ids, sensor_ids, node_ids``) and positions (``positions``).
    - anything else is read as text: numbers only, or with ids in a header line, in a first column, or in both.

    Args:
        ids: the nodes' ids if the file has none; left out: "0" .. "N-1".
        holds: weights, distances, or either: weights that do not look like distances.
        kernel: for distances.
    Raises:
        UserError: the file cannot be read, is damaged, holds no square matrix of numbers or pickled objects, or has
            another number of nodes than ``ids``; a matrix that could hold either.
    """
    path = Path(path)
    with naming_file(path):
        if path.suffix.lower() == ".npy":
            matrix, own_ids, positions_N2 = load_array(path), None, None
        elif path.suffix.lower() == ".npz":
            archive = load_archive(path)
            if "format" not in archive and {"ids", "indptr", "indices", "data"} <= archive.keys():
                return SensorGraph.from_state(archive)
            matrix, own_ids, positions_N2 = _from_archive(archive)
        else:
            matrix, own_ids = _from_text(read_rows(path))
            positions_N2 = None
        return graph_of_matrix(matrix, own_ids, positions_N2, path=path, ids=ids, holds=holds, kernel=kernel)


def graph_of_matrix(
    matrix: Any,
    own_ids: Sequence[str] | None,
    positions_N2: np.ndarray | None = None,
    *,
    path: Path,
    ids: Sequence[str] | None,
    holds: Holds,
    kernel: Kernel | None = None,
) -> SensorGraph:
    """The graph of a file's matrix, with its account.

    Args:
        own_ids: those that the file names, or None: then row i is laid on the i-th of ``ids``.
    Raises:
        UserError: see ``read_matrix``.
    """
    matrix = require_square(matrix)
    num_nodes = matrix.shape[0]
    if own_ids is None and ids is not None and num_nodes != len(ids):
        raise UserError(f"a {num_nodes} x {num_nodes} matrix without ids, for {len(ids)} sensors")
    nodes = ids if own_ids is None else own_ids
    if holds == "distances":
        graph = from_distance_matrix(matrix, nodes, positions_N2, **asdict(kernel or Kernel()))
    else:
        if holds == "either":
            require_no_distances(matrix)
        graph = from_matrix(matrix, nodes, positions_N2)
    account = graph.account or GraphAccount(file="", kind="a matrix of weights", given=graph.num_edges)
    account = replace(account, file=path.name)
    if own_ids is None and ids is not None:
        doubt = (
            f"{path.name} names no sensors: its row i is laid on column i of the series by position, the first on "
            f"{ids[0]!r}, the last on {ids[-1]!r}"
        )
        account = replace(account, matched_by="position", doubts=(*account.doubts, doubt))
    return graph.with_account(account)


def _from_archive(archive: Mapping[str, np.ndarray]) -> tuple[Any, tuple[str, ...] | None, np.ndarray | None]:
    ids = next((archive[key] for key in ID_KEYS if key in archive), None)
    own_ids = None if ids is None else tuple(map(str, np.atleast_1d(ids).tolist()))
    positions_N2 = next((archive[key] for key in POSITION_KEYS if key in archive), None)
    if "format" in archive and "shape" in archive:
        return _sparse(archive), own_ids, positions_N2
    if (key := next((key for key in ADJACENCY_KEYS if key in archive), None)) is not None:
        return archive[key], own_ids, positions_N2
    square = [array for array in archive.values() if array.ndim == 2 and array.shape[0] == array.shape[1] > 0]
    if len(square) != 1:
        raise UserError(
            f"no adjacency among its arrays {first_few(archive)}; wanted one of the names {', '.join(ADJACENCY_KEYS)}"
        )
    return square[0], own_ids, positions_N2


def _sparse(archive: Mapping[str, np.ndarray]) -> Any:
    """The matrix of a ``scipy.sparse.save_npz`` file, its indices checked before any compiled code follows them."""
    kind = " ".join(map(text_of, archive["format"].reshape(-1).tolist()))
    try:
        rows, columns = map(int, archive["shape"])
        if max(rows, columns) > _MOST_NODES:
            raise UserError(f"a sparse matrix that claims {rows} x {columns} nodes")
        if wrong := [key for key in _INDICES & archive.keys() if archive[key].dtype.kind not in "iu"]:
            raise UserError(f"a sparse matrix whose {wrong[0]} are {archive[wrong[0]].dtype}, not integers")
        if kind in ("csr", "csc"):
            make = scipy.sparse.csr_array if kind == "csr" else scipy.sparse.csc_array
            matrix: Any = make((archive["data"], archive["indices"], archive["indptr"]), shape=(rows, columns))
            matrix.check_format(full_check=True)
        elif kind == "coo":
            matrix = scipy.sparse.coo_array((archive["data"], (archive["row"], archive["col"])), shape=(rows, columns))
        else:
            raise UserError(f"a sparse matrix in the format {kind[:20]!r}; save it as csr, csc or coo")
    except KeyError as error:
        raise UserError(f"a sparse matrix without its part {error}") from error
    except UserError:
        raise
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise UserError(f"a damaged sparse matrix: {one_line(error)[:100]}") from error
    return matrix


def _from_text(rows: Any) -> tuple[Any, tuple[str, ...] | None]:
    """(matrix, ids or None). The place of the ids follows from the numbers of rows and columns.

    R = C: no ids, or a header and a first column below a corner that is no number; R = C + 1: a header; C = R + 1: a
    first column; a header that is one cell shorter than the other lines (R writes it so) has no corner.
    """
    head: Row | None = next(rows, None)
    if head is None:
        raise UserError("the file is empty")
    firsts: list[Row] = []
    tails: list[tuple[np.ndarray, np.ndarray]] = []
    width = 0
    for row in rows:
        width = width or len(row.cells)
        if len(row.cells) != width:
            raise UserError(f"line {row.line} has {len(row.cells)} columns, others have {width}; is it truncated?")
        firsts.append(row if not firsts else Row(row.line, row.cells[:1]))
        tails.append(_nonzeros(row, 1))
    num_rows, num_columns = len(firsts) + 1, width or len(head.cells)
    no_corner = len(head.cells) == num_columns - 1
    if not no_corner and len(head.cells) != num_columns:
        raise UserError(f"line {head.line} has {len(head.cells)} columns, others have {width}")
    first_ids = tuple(row.cells[0] for row in firsts)
    if num_rows == num_columns > 1 and (no_corner or not is_number(head.cells[0])):
        header = tuple(head.cells if no_corner else head.cells[1:])
        if wrong := [f"{a!r} / {b!r}" for a, b in zip(header, first_ids, strict=True) if a != b]:
            raise UserError(f"the header and the first column disagree: {', '.join(wrong[:3])}")
        return _stack(tails, num_rows - 1), header
    if num_columns == num_rows + 1 and not no_corner:
        return _stack([_nonzeros(head, 1), *tails], num_rows), (head.cells[0], *first_ids)
    if num_rows in (num_columns, num_columns + 1) and not no_corner:
        with_first = [_prepended(row, tail) for row, tail in zip(firsts, tails, strict=True)]
        if num_rows == num_columns:
            return _stack([_nonzeros(head, 0), *with_first], num_rows), None
        return _stack(with_first, num_columns), tuple(head.cells)
    raise UserError(
        f"{num_rows} lines of {num_columns} columns are no square matrix, with or without a header and a column of ids"
    )


def _nonzeros(row: Row, first: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns (from 0 at ``first``) and values of the cells that are not 0."""
    try:
        values = np.array([float(cell) for cell in row.cells[first:]])
    except ValueError:
        column = next(i for i, cell in enumerate(row.cells) if i >= first and not is_number(cell))
        raise UserError(
            f"line {row.line}, column {column + 1}: a weight must be a number with a decimal point, got "
            f"{row.cells[column][:40]!r} (no link: 0, or inf in a matrix of distances)"
        ) from None
    columns = np.flatnonzero(values)
    return columns, values[columns]


def _prepended(row: Row, tail: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    columns, values = _nonzeros(Row(row.line, row.cells[:1]), 0)
    return np.concatenate([columns, tail[0] + 1]), np.concatenate([values, tail[1]])


def _stack(rows: Sequence[tuple[np.ndarray, np.ndarray]], num_nodes: int) -> Any:
    indptr = np.cumsum([0, *(len(columns) for columns, _ in rows)])
    columns = np.concatenate([columns for columns, _ in rows])
    values = np.concatenate([values for _, values in rows])
    return scipy.sparse.csr_array((values, columns, indptr), shape=(num_nodes, num_nodes))
