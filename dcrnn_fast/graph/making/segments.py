"""Which straight segments are near which points, by a k-d tree over pieces of them.

Shape legend: S segments, Q pieces, N points, C candidates (a point and a segment); all points are (x, y, z) in metres.
"""

from typing import NamedTuple

import numpy as np

_LONGEST_PIECE = 100.0
_MOST_PIECES = 2_000_000


class Near(NamedTuple):
    """Candidates, in order of their points: the point, the segment, their distance, and where along the segment (0 to
    1) its nearest point is."""

    points_C: np.ndarray
    segments_C: np.ndarray
    distances_C: np.ndarray
    shares_C: np.ndarray


class SegmentTree:
    """Segments from ``starts_S3`` to ``ends_S3``, to be found by their distance from points."""

    def __init__(self, starts_S3: np.ndarray, ends_S3: np.ndarray) -> None:
        import scipy.spatial  # 9 MB that only a graph of this kind needs

        self._starts_S3, self._steps_S3 = starts_S3, ends_S3 - starts_S3
        lengths_S = np.linalg.norm(self._steps_S3, axis=1)
        # A long segment is cut, or its middle would say nothing about its distance.
        longest = max(_LONGEST_PIECE, float(lengths_S.sum()) / _MOST_PIECES)
        pieces_S = np.maximum(np.ceil(lengths_S / longest), 1).astype(np.int64)
        self._segment_Q = np.repeat(np.arange(len(pieces_S)), pieces_S)
        place_Q = np.arange(len(self._segment_Q)) - np.repeat(np.cumsum(pieces_S) - pieces_S, pieces_S)
        share_Q = (place_Q + 0.5) / pieces_S[self._segment_Q]
        middles_Q3 = starts_S3[self._segment_Q] + share_Q[:, None] * self._steps_S3[self._segment_Q]
        self._half = float((lengths_S / pieces_S).max(initial=0.0)) / 2
        self._tree = scipy.spatial.cKDTree(middles_Q3)

    def within(self, points_N3: np.ndarray, reach_N: np.ndarray) -> Near:
        """The segments within a distance of each point."""
        near = self._candidates(points_N3, reach_N)
        return Near(*(part[near.distances_C <= reach_N[near.points_C]] for part in near))

    def nearest_distances(self, points_N3: np.ndarray) -> np.ndarray:
        """(N,) the distance of each point from its nearest segment."""
        # The middle of the nearest piece lies on a segment: no nearer segment has its middle beyond that and half a
        # piece.
        bound_N = np.asarray(self._tree.query(points_N3)[0])
        near = self._candidates(points_N3, bound_N)
        distances_N = bound_N.copy()
        np.minimum.at(distances_N, near.points_C, near.distances_C)
        return distances_N

    def _candidates(self, points_N3: np.ndarray, reach_N: np.ndarray) -> Near:
        found = self._tree.query_ball_point(points_N3, reach_N + self._half * (1 + 1e-9) + 1e-9)
        points_C = np.repeat(np.arange(len(found)), [len(pieces) for pieces in found])
        pieces_C = np.fromiter((piece for pieces in found for piece in pieces), np.int64, len(points_C))
        # Several pieces of one segment are one candidate.
        key_C = np.unique(points_C * len(self._steps_S3) + self._segment_Q[pieces_C])
        points_C, segments_C = np.divmod(key_C, max(len(self._steps_S3), 1))
        steps_C3 = self._steps_S3[segments_C]
        away_C3 = points_N3[points_C] - self._starts_S3[segments_C]
        squares_C = (steps_C3**2).sum(axis=1)
        along_C = (away_C3 * steps_C3).sum(axis=1)
        shares_C = np.clip(np.divide(along_C, squares_C, out=np.zeros_like(along_C), where=squares_C > 0), 0.0, 1.0)
        distances_C = np.linalg.norm(away_C3 - shares_C[:, None] * steps_C3, axis=1)
        return Near(points_C, segments_C, distances_C, shares_C)
