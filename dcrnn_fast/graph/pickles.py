"""The published adjacency pickles.

The graphs of METR-LA, PEMS-BAY and their successors travel as Python pickles ``[sensor_ids, sensor_id_to_index,
adjacency]``; ``dcrnn_fast.reading.pickles`` reads them without running anything that they name.

Shape legend: N nodes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.kernel import Kernel
from dcrnn_fast.graph.matrices import Holds, graph_of_matrix
from dcrnn_fast.graph.sensor_graph import SensorGraph
from dcrnn_fast.messages import first_few, naming_file
from dcrnn_fast.reading.pickles import plain_parts, texts_of, unpacked
from dcrnn_fast.reading.texts import text_of


def read_pickle(
    path: str | Path, *, ids: Sequence[str] | None = None, holds: Holds = "either", kernel: Kernel | None = None
) -> SensorGraph:
    """The graph of an adjacency pickle: ``[ids, id_to_index, matrix]``, or the matrix alone.

    Protocols 0 to 5 of Python 2 and 3 are read (text of Python 2 as latin-1); the matrix is a dense array or nested
    lists. Nothing that the file names is run.

    Args:
        ids: the nodes' ids if the pickle is a matrix alone; left out: "0" .. "N-1".
        holds, kernel: as ``read_matrix``.
    Raises:
        UserError: the pickle wants to run something, is truncated or no pickle, its line ends were changed, or it does
            not hold such a graph; a matrix that could hold weights or distances.
    """
    path = Path(path)
    with naming_file(path):
        content = path.read_bytes()
        _require_line_ends(content)
        loaded = plain_parts(content)
        own_ids = None
        if isinstance(loaded, (list, tuple)) and len(loaded) == 3 and isinstance(loaded[1], Mapping):
            own_ids = texts_of(loaded[0], "the pickle's first part")
            _require_same_order(loaded[1], own_ids)
            loaded = loaded[2]
        return graph_of_matrix(_matrix(loaded), own_ids, path=path, ids=ids, holds=holds, kernel=kernel)


def _require_line_ends(content: bytes) -> None:
    """No intact pickle has a carriage return before each of its line ends: git and uploads in text mode put them there.

    Some such pickles would still load, with a carriage return at the end of every id.
    """
    line_ends = content.count(b"\n")
    if line_ends > 1 and content.count(b"\r\n") == line_ends:
        raise UserError(
            "its line ends were changed (CRLF), as git or an upload in text mode does: get it again as a binary file"
        )


def _require_same_order(index_of: Mapping[Any, Any], ids: Sequence[str]) -> None:
    """The second part must agree with the first."""
    by_text = {text_of(node): index for node, index in index_of.items()}
    if by_text and (wrong := [node for i, node in enumerate(ids) if by_text.get(node) != i]):
        raise UserError(f"the list of ids and the map from ids to indices disagree on {first_few(wrong)}")


def _matrix(part: Any) -> np.ndarray:
    matrix = unpacked(part)
    if isinstance(matrix, (list, tuple)):
        rows = [unpacked(row) for row in matrix]
        if not all(isinstance(row, (list, tuple, np.ndarray)) and len(row) == len(rows) for row in rows):
            raise UserError("the pickle holds no square matrix")
        if not all(isinstance(cell, (int, float, np.number)) for row in rows for cell in row):
            raise UserError("the pickle's matrix must hold numbers")
        try:
            matrix = np.array(rows, dtype=np.float64)
        except OverflowError as error:  # an integer of hundreds of digits
            raise UserError("the pickle's matrix must hold numbers that fit float64") from error
    if not isinstance(matrix, np.ndarray):
        raise UserError(f"the pickle must hold [ids, id_to_index, matrix] or a matrix, got {type(part).__name__}")
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.dtype.kind not in "fiub":
        raise UserError(f"the pickle's matrix must be square numbers, got {matrix.dtype} {matrix.shape}")
    return matrix
