"""A list of pairs that was made, with what was found out on the way; written as the CSV that ``--graph`` reads.

Shape legend: N stations, E pairs.
"""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from dcrnn_fast.errors import UserError
from dcrnn_fast.files import write_bytes
from dcrnn_fast.graph.lists import from_distances, from_edges
from dcrnn_fast.graph.sensor_graph import SensorGraph
from dcrnn_fast.messages import counted

_FAR = 10


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class MadeList:
    """Directed pairs between stations, each station's own included if they are distances.

    Attributes:
        values_E: metres, or weights.
        positions_N2: (latitude, longitude), or (x, y) in metres if not ``on_globe``; None if unknown.
        moved_N2: where each station was put on the road; None elsewhere. distance_N: how many metres that was.
        near_N: bool, whether that was near enough. roads_N: the road that it was put on.
        notes: the account in lines, doubts as "look: ...".
    """

    ids: tuple[str, ...]
    rows_E: np.ndarray
    columns_E: np.ndarray
    values_E: np.ndarray
    holds: Literal["distances", "weights"]
    source: str
    positions_N2: np.ndarray | None = None
    on_globe: bool = True
    moved_N2: np.ndarray | None = None
    distance_N: np.ndarray | None = None
    near_N: np.ndarray | None = None
    roads_N: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def linked(self) -> np.ndarray:
        """(E,) bool, pairs of two different stations that are linked."""
        linked_E = self.rows_E != self.columns_E
        return linked_E if self.holds == "distances" else linked_E & (self.values_E > 0)

    def with_notes(self, *notes: str) -> "MadeList":
        """The same with more notes at the end."""
        return replace(self, notes=(*self.notes, *notes))

    def longest_doubt(self) -> str | None:
        """A doubt about links that are ten times longer than nearly all others: a number that stands for no length."""
        metres_E = self.values_E[self.linked]
        if self.holds != "distances" or metres_E.size < 2:
            return None
        usual = float(np.sort(metres_E)[int(0.95 * (metres_E.size - 1))])
        far_E = metres_E > _FAR * usual
        if usual == 0 or not far_E.any():
            return None
        first = int(np.argmax(metres_E))
        row, column = (int(nodes_E[self.linked][first]) for nodes_E in (self.rows_E, self.columns_E))
        count = int(far_E.sum())
        return (
            f"{counted(count, 'link')} {'is' if count == 1 else 'are'} more than {_FAR} times as long as 95 % of the "
            f"links ({usual:,.0f} m); the longest, {metres_E[first]:,.0f} m, leads from {self.ids[row]!r} to "
            f"{self.ids[column]!r}"
        )

    def graph(self, *, sigma: float | None, threshold: float) -> SensorGraph:
        """The graph that ``--graph`` makes of the list.

        Raises:
            UserError: as ``from_distances``.
        """
        starts, ends = ([self.ids[n] for n in nodes] for nodes in (self.rows_E, self.columns_E))
        if self.holds == "weights":
            graph = from_edges(starts, ends, self.values_E, ids=self.ids)
        else:
            # What the file will hold, to a tenth of a metre.
            metres_E = np.round(self.values_E, 1)
            graph = from_distances(starts, ends, metres_E, ids=self.ids, sigma=sigma, threshold=threshold)
        assert graph.account is not None
        return graph.with_account(replace(graph.account, file=f"made from {self.source}"))

    def write(self, path: Path) -> None:
        """Writes from, to, cost (metres, to a tenth) or from, to, weight; complete or not at all.

        Raises:
            UserError: the file cannot be written.
        """
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["from", "to", "cost" if self.holds == "distances" else "weight"])
        said: Callable[[float], str] = "{:.1f}".format if self.holds == "distances" else "{:.9g}".format
        for row, column, value in zip(
            self.rows_E.tolist(), self.columns_E.tolist(), self.values_E.tolist(), strict=True
        ):
            table.writerow([self.ids[row], self.ids[column], said(value)])
        write_bytes(path, text.getvalue().encode())


def chosen_pairs(
    made: MadeList, *, nearest: int | None, max_distance: float | None, others: str = "stations"
) -> MadeList:
    """Of each station the ``nearest`` others, all within ``max_distance`` metres, or both limits; its own pair stays.

    Raises:
        UserError: no pair of two different stations is left.
    """
    keep_E = np.ones(len(made.rows_E), dtype=bool)
    loop_E = made.rows_E == made.columns_E
    if max_distance is not None:
        keep_E &= made.values_E <= max_distance
    if nearest is not None:
        order_E = np.lexsort((made.columns_E, made.values_E, ~loop_E, made.rows_E))
        place_E = np.arange(len(order_E)) - np.searchsorted(made.rows_E[order_E], made.rows_E[order_E])
        has_loop_N = np.zeros(len(made.ids), dtype=np.int64)
        has_loop_N[made.rows_E[loop_E]] = 1
        within_E = np.zeros(len(order_E), dtype=bool)
        within_E[order_E] = place_E < nearest + has_loop_N[made.rows_E[order_E]]
        keep_E &= within_E
    keep_E |= loop_E
    if not (keep_E & ~loop_E).any():
        limit = "" if max_distance is None else f" within --max-distance {max_distance:g} m"
        raise UserError(f"no pair of {others}{limit}: {counted(len(made.ids), 'station')} and no link between them")
    order_E = np.lexsort((made.columns_E, made.rows_E))
    order_E = order_E[keep_E[order_E]]
    return replace(
        made,
        rows_E=made.rows_E[order_E],
        columns_E=made.columns_E[order_E],
        values_E=made.values_E[order_E],
    )


def with_own_pairs(
    rows_E: np.ndarray, columns_E: np.ndarray, values_E: np.ndarray, num_stations: int, own: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs, and before them one of each station with itself: so the list names every station."""
    all_N = np.arange(num_stations)
    return (
        np.concatenate([all_N, rows_E]),
        np.concatenate([all_N, columns_E]),
        np.concatenate([np.full(num_stations, own), values_E]),
    )
