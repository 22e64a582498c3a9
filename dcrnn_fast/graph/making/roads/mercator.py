"""Universal Transverse Mercator back to latitude and longitude, on the ellipsoid of WGS 84.

Krüger's series to the sixth order in the third flattening: exact to micrometres within a zone.
"""

import re
from typing import NamedTuple

import numpy as np

_AXIS, _FLATTENING = 6378137.0, 1 / 298.257223563
_SCALE, _FALSE_EAST, _FALSE_NORTH = 0.9996, 500_000.0, 10_000_000.0
_N = _FLATTENING / (2 - _FLATTENING)
_RECTIFYING = _AXIS / (1 + _N) * (1 + _N**2 / 4 + _N**4 / 64 + _N**6 / 256)
_BETA = (
    _N / 2 - 2 * _N**2 / 3 + 37 * _N**3 / 96 - _N**4 / 360 - 81 * _N**5 / 512 + 96199 * _N**6 / 604800,
    _N**2 / 48 + _N**3 / 15 - 437 * _N**4 / 1440 + 46 * _N**5 / 105 - 1118711 * _N**6 / 3870720,
    17 * _N**3 / 480 - 37 * _N**4 / 840 - 209 * _N**5 / 4480 + 5569 * _N**6 / 90720,
    4397 * _N**4 / 161280 - 11 * _N**5 / 504 - 830251 * _N**6 / 7257600,
    4583 * _N**5 / 161280 - 108847 * _N**6 / 3991680,
    20648693 * _N**6 / 638668800,
)


class Zone(NamedTuple):
    """A zone of UTM: 1 to 60, north or south of the equator."""

    number: int
    south: bool


def zone_of(projection: str) -> Zone | None:
    """The zone that a PROJ text such as ``+proj=utm +zone=32 +datum=WGS84`` names; None: it is something else."""
    words = dict(word.lstrip("+").partition("=")[::2] for word in projection.split())
    if words.get("proj") != "utm" or not re.fullmatch(r"[1-9]|[1-5]\d|60", words.get("zone", "")):
        return None
    if words.get("ellps", "WGS84") not in ("WGS84", "GRS80") or words.get("units", "m") != "m":
        return None
    return Zone(int(words["zone"]), "south" in words)


def longitude_latitude(east_P: np.ndarray, north_P: np.ndarray, zone: Zone) -> tuple[np.ndarray, np.ndarray]:
    """Degrees of points in metres of a zone."""
    xi_P = (north_P - (_FALSE_NORTH if zone.south else 0.0)) / (_SCALE * _RECTIFYING)
    eta_P = (east_P - _FALSE_EAST) / (_SCALE * _RECTIFYING)
    flat_P = xi_P - sum(beta * np.sin(2 * j * xi_P) * np.cosh(2 * j * eta_P) for j, beta in enumerate(_BETA, start=1))
    side_P = eta_P - sum(beta * np.cos(2 * j * xi_P) * np.sinh(2 * j * eta_P) for j, beta in enumerate(_BETA, start=1))
    # The conformal latitude's tangent, then the geographic one's by Newton's method.
    wanted_P = np.sin(flat_P) / np.hypot(np.sinh(side_P), np.cos(flat_P))
    eccentricity = np.sqrt(_FLATTENING * (2 - _FLATTENING))
    tangent_P = wanted_P.copy()
    for _ in range(8):
        root_P = np.hypot(1.0, tangent_P)
        sigma_P = np.sinh(eccentricity * np.arctanh(eccentricity * tangent_P / root_P))
        found_P = tangent_P * np.hypot(1.0, sigma_P) - sigma_P * root_P
        slope_P = np.hypot(1.0, found_P) * root_P * (1 - eccentricity**2)
        tangent_P = tangent_P - (found_P - wanted_P) * (1 + (1 - eccentricity**2) * tangent_P**2) / slope_P
    central = 6.0 * zone.number - 183.0
    return central + np.degrees(np.arctan2(np.sinh(side_P), np.cos(flat_P))), np.degrees(np.arctan(tangent_P))
