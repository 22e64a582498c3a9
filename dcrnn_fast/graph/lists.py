"""Edge lists and distance lists: one line for each pair of sensors.

Shape legend: N nodes, E pairs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import scipy.sparse

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.messages import about, first_few
from dcrnn_fast.graph.sensor_graph import SensorGraph, require_unique_ids
from dcrnn_fast.graph.tables import Row, find_column, is_number, number, read_table

FROM_NAMES = (
    "from",
    "fromid",
    "fromnode",
    "fromsensor",
    "fromsensorid",
    "source",
    "sourceid",
    "src",
    "origin",
    "i",
    "u",
)
TO_NAMES = ("to", "toid", "tonode", "tosensor", "tosensorid", "target", "targetid", "dst", "destination", "j", "v")
DISTANCE_NAMES = ("distance", "dist", "cost", "distances", "distancem", "distancekm", "length", "metres", "meters")
WEIGHT_NAMES = ("weight", "weights", "w", "similarity", "affinity")


def from_edges(
    from_ids: Sequence[str],
    to_ids: Sequence[str],
    weights_E: Sequence[float] | np.ndarray,
    *,
    ids: Sequence[str] | None = None,
) -> SensorGraph:
    """The graph with these directed edges.

    Args:
        weights_E: finite and not negative; 0 is no edge.
        ids: the nodes, in order: pairs with another end are left out, and every node must be named by some pair (a
            sensor without neighbours by a pair of itself with weight 0). Left out: the ids in order of their first
            appearance, pair by pair, from before to.
    Raises:
        UserError: a NaN, infinite or negative weight, a node that no pair names, one pair with two weights.
    """
    nodes, rows_E, columns_E, values_E = _pairs(from_ids, to_ids, weights_E, ids, "weight")
    matrix = scipy.sparse.coo_array((values_E, (rows_E, columns_E)), shape=(len(nodes), len(nodes)))
    return SensorGraph(matrix, nodes)


def from_distances(
    from_ids: Sequence[str],
    to_ids: Sequence[str],
    distances_E: Sequence[float] | np.ndarray,
    *,
    ids: Sequence[str] | None = None,
    sigma: float | None = None,
    threshold: float = 0.1,
) -> SensorGraph:
    """The graph whose weights are a Gaussian kernel of directed distances: exp(-(d / sigma)²), as the published graphs.

    Args:
        distances_E: any unit, not negative; ``inf`` means no path. A sensor's distance to itself, where listed, counts
            (it gives the self loop of weight 1).
        ids: as ``from_edges``.
        sigma: in the distances' unit; left out: the standard deviation of the finite distances between ``ids``.
        threshold: weights below it become 0.
    Raises:
        UserError: a NaN or negative distance, a node that no pair names, one pair with two distances, no sigma given
            where the finite distances do not vary.
    """
    nodes, rows_E, columns_E, values_E = _pairs(from_ids, to_ids, distances_E, ids, "distance")
    weights_E = gaussian_kernel(values_E, sigma=sigma, threshold=threshold)
    matrix = scipy.sparse.coo_array((weights_E, (rows_E, columns_E)), shape=(len(nodes), len(nodes)))
    return SensorGraph(matrix, nodes)


def gaussian_kernel(distances_E: np.ndarray, *, sigma: float | None, threshold: float) -> np.ndarray:
    """exp(-(d / sigma)²), 0 where that is below ``threshold``; sigma defaults to the finite distances' deviation."""
    if sigma is None:
        finite_E = distances_E[np.isfinite(distances_E)]
        if finite_E.size == 0:
            raise UserError("there is no finite distance")
        sigma = float(finite_E.std())
        # A spread within rounding of the distances themselves is no spread.
        if sigma <= 1e-9 * float(finite_E.max()):
            raise UserError(
                f"the finite distances are all {finite_E[0]:g}: their standard deviation gives no kernel width; set "
                "one with --sigma"
            )
    if not sigma > 0:
        raise UserError(f"sigma must be positive, got {sigma!r}")
    weights_E = np.exp(-np.square(distances_E / sigma))
    weights_E[weights_E < threshold] = 0.0
    return weights_E


def read_edges(path: str | Path, *, ids: Sequence[str] | None = None) -> SensorGraph:
    """The graph of an edge list: columns from, to, weight (no third column: every weight is 1); see ``from_edges``.

    With a header the columns are found by name, without one they are the first, second and third. Ids stay text.
    """
    path = Path(path)
    with about(path):
        from_ids, to_ids, weights_E = _read_list(path, "weight")
        return from_edges(from_ids, to_ids, weights_E, ids=ids)


def read_distances(
    path: str | Path, *, ids: Sequence[str] | None = None, sigma: float | None = None, threshold: float = 0.1
) -> SensorGraph:
    """The graph of a distance list: columns from, to, cost (or distance); see ``from_distances``, ``read_edges``."""
    path = Path(path)
    with about(path):
        from_ids, to_ids, distances_E = _read_list(path, "distance")
        return from_distances(from_ids, to_ids, distances_E, ids=ids, sigma=sigma, threshold=threshold)


def list_header(row: Row) -> bool:
    """Whether a list's first row names its columns."""
    if len(row.cells) == 2:
        return find_column(row.cells, FROM_NAMES) is not None and find_column(row.cells, TO_NAMES) is not None
    return not any(is_number(cell) for cell in row.cells[2:])


def _read_list(path: Path, what: Literal["weight", "distance"]) -> tuple[list[str], list[str], list[float]]:
    rows = read_table(path)
    width = len(rows[0].cells)
    if width < (2 if what == "weight" else 3):
        raise UserError(f"a {what} list has the columns from, to, {what}, got {width} column{'s' * (width > 1)}")
    first, second, third = (0, 1, 2 if width > 2 else None)
    if list_header(rows[0]):
        header = rows.pop(0).cells
        found = (
            find_column(header, FROM_NAMES),
            find_column(header, TO_NAMES),
            find_column(header, WEIGHT_NAMES if what == "weight" else DISTANCE_NAMES),
        )
        if found[0] is not None and found[1] is not None and (found[2] is not None or width == 2):
            first, second, third = found[0], found[1], found[2]
        elif width > 3:
            raise UserError(f"no columns from, to, {what} in the header {', '.join(header)[:100]!r}")
    elif width > 3:
        raise UserError(f"a {what} list without a header has 3 columns (from, to, {what}), got {width}")
    if not rows:
        raise UserError("the list has a header and no lines")
    for row in rows:
        if not row.cells[first] or not row.cells[second]:
            raise UserError(f"line {row.line}: an empty sensor id")
    return (
        [row.cells[first] for row in rows],
        [row.cells[second] for row in rows],
        [1.0 if third is None else number(row, third, f"a {what}") for row in rows],
    )


def _pairs(
    from_ids: Sequence[str],
    to_ids: Sequence[str],
    values: Sequence[float] | np.ndarray,
    ids: Sequence[str] | None,
    what: Literal["weight", "distance"],
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, np.ndarray]:
    """Nodes, and row, column and value of every different pair among them."""
    values_E = np.asarray(values, dtype=np.float64)
    if not len(from_ids) == len(to_ids) == values_E.size or values_E.ndim != 1:
        raise UserError(
            f"a {what} list needs as many from ids, to ids and {what}s, got {len(from_ids)}, {len(to_ids)} and "
            f"{values_E.size}"
        )
    named = dict.fromkeys(node for pair in zip(from_ids, to_ids, strict=True) for node in pair)
    if ids is None:
        nodes = tuple(named)
    else:
        nodes = tuple(ids)
        require_unique_ids(nodes)
        if absent := [node for node in nodes if node not in named]:
            raise UserError(
                f"{len(absent)} of the {len(nodes)} sensors are not in the list: {first_few(absent)}; the list has "
                f"{first_few(named)}; a sensor without neighbours needs a line 'ID,ID,0', and --match position takes "
                "the list's own ids in order of appearance"
            )
    index_of = {node: index for index, node in enumerate(nodes)}
    value_of: dict[tuple[int, int], float] = {}
    for start, end, value in zip(from_ids, to_ids, values_E.tolist(), strict=True):
        if start not in index_of or end not in index_of:
            continue
        if not value >= 0 or (what == "weight" and value == np.inf):
            raise UserError(f"a {what} must be a number and not negative, got {value:g} from {start!r} to {end!r}")
        if value_of.setdefault((index_of[start], index_of[end]), value) != value:
            raise UserError(
                f"the pair from {start!r} to {end!r} comes twice, with the {what}s "
                f"{value_of[index_of[start], index_of[end]]:g} and {value:g}"
            )
    pairs_E2 = np.array(list(value_of), dtype=np.int64).reshape(-1, 2)
    return nodes, pairs_E2[:, 0], pairs_E2[:, 1], np.array(list(value_of.values()), dtype=np.float64)
