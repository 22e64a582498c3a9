"""Positions as points in metres: on the mean sphere, or on the plane of a network that has no place on the globe.

Shape legend: N points; degrees are (latitude, longitude), points are (x, y, z) in metres.
"""

import numpy as np

from dcrnn_fast.graph.positions import EARTH_RADIUS_KM

RADIUS_M = 1000 * EARTH_RADIUS_KM


def points_of(degrees_N2: np.ndarray) -> np.ndarray:
    """(N, 3) float64 points on the sphere; their chords are the distances, to 1 part in a million up to 30 km."""
    latitude_N, longitude_N = np.radians(degrees_N2.T)
    flat_N = np.cos(latitude_N)
    unit_N3 = np.stack([flat_N * np.cos(longitude_N), flat_N * np.sin(longitude_N), np.sin(latitude_N)], axis=1)
    return np.asarray(RADIUS_M * unit_N3)


def degrees_of(points_N3: np.ndarray) -> np.ndarray:
    """(N, 2) the position below or above each point."""
    x_N, y_N, z_N = points_N3.T
    return np.degrees(np.stack([np.arctan2(z_N, np.hypot(x_N, y_N)), np.arctan2(y_N, x_N)], axis=1))


def headings(degrees_N2: np.ndarray, bearing_N: np.ndarray) -> np.ndarray:
    """(N, 3) unit vectors along the ground in the direction of a compass bearing (degrees from north over east)."""
    latitude_N, longitude_N = np.radians(degrees_N2.T)
    turn_N = np.radians(bearing_N)
    zero_N = np.zeros_like(latitude_N)
    east_N3 = np.stack([-np.sin(longitude_N), np.cos(longitude_N), zero_N], axis=1)
    north_N3 = np.stack(
        [
            -np.sin(latitude_N) * np.cos(longitude_N),
            -np.sin(latitude_N) * np.sin(longitude_N),
            np.cos(latitude_N),
        ],
        axis=1,
    )
    return np.asarray(np.cos(turn_N)[:, None] * north_N3 + np.sin(turn_N)[:, None] * east_N3)


def plane_headings(bearing_N: np.ndarray) -> np.ndarray:
    """``headings`` on a plane whose x points east and y north."""
    turn_N = np.radians(bearing_N)
    return np.stack([np.sin(turn_N), np.cos(turn_N), np.zeros_like(turn_N)], axis=1)
