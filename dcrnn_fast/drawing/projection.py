"""Positions on a flat map, wherever on the globe they are.

Shape legend: N points; positions are (latitude, longitude) in degrees.
"""

from dataclasses import dataclass

import numpy as np

_EARTH_KM = 6371.0088
_WIDEST = np.radians(60)


@dataclass(frozen=True, eq=False, slots=True)
class Flat:
    """Points on a plane.

    Attributes:
        places_N2: (x to the right, y up) in km; NaN where the position is not known.
        wraps_km: the width after which the map repeats itself to the left and right; None: it does not.
        is_true: whether its scale holds all over the map.
    """

    places_N2: np.ndarray
    wraps_km: float | None
    is_true: bool


def flattened(positions_N2: np.ndarray, on_globe: bool = True) -> Flat:
    """A region keeps distances from its middle (azimuthal equidistant), so that poles and the date line are places as
    any other; positions around the whole globe become its plain map, cut where the widest gap between them is.

    Args:
        on_globe: else (x, y) in metres, which stay.
    """
    if not on_globe:
        return Flat(positions_N2 / 1000, None, True)
    latitude_N, longitude_N = np.radians(positions_N2.T)
    known_N = np.isfinite(latitude_N) & np.isfinite(longitude_N)
    flat_N = np.cos(latitude_N)
    unit_N3 = np.stack([flat_N * np.cos(longitude_N), flat_N * np.sin(longitude_N), np.sin(latitude_N)], axis=1)
    middle = unit_N3[known_N].mean(axis=0) if known_N.any() else np.array([1.0, 0.0, 0.0])
    size = float(np.linalg.norm(middle))
    if size > 0.1:
        middle /= size
        angle_N = 2 * np.arcsin(np.minimum(np.linalg.norm(unit_N3 - middle, axis=1) / 2, 1.0))
        if not (angle_N[known_N] > _WIDEST).any():
            return Flat(_azimuthal(unit_N3, middle, angle_N), None, True)
    around = np.sort(np.mod(longitude_N[known_N], 2 * np.pi))
    gaps = np.diff(around, append=around[0] + 2 * np.pi)
    first = around[(int(gaps.argmax()) + 1) % len(around)] - gaps.max() / 2
    x_N = np.mod(longitude_N - first, 2 * np.pi)
    return Flat(_EARTH_KM * np.stack([x_N, latitude_N], axis=1), 2 * np.pi * _EARTH_KM, False)


def _azimuthal(unit_N3: np.ndarray, middle: np.ndarray, angle_N: np.ndarray) -> np.ndarray:
    north = np.array([0.0, 0.0, 1.0]) - middle[2] * middle
    if np.linalg.norm(north) < 1e-9:  # a pole is the middle: the meridian of Greenwich points down from it
        north = np.array([-np.sign(middle[2]), 0.0, 0.0])
    north /= np.linalg.norm(north)
    east = np.cross(north, middle)
    x_N, y_N = unit_N3 @ east, unit_N3 @ north
    length_N = np.hypot(x_N, y_N)
    factor_N = np.divide(angle_N, length_N, out=np.ones_like(length_N), where=length_N > 1e-12)
    return np.asarray(_EARTH_KM * factor_N[:, None] * np.stack([x_N, y_N], axis=1))
