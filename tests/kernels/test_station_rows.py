"""The compiled reader of station files: any bytes are read or refused, and nothing outside its arrays is touched."""

import random
from typing import Any

import numpy as np
import pytest

from dcrnn_fast.kernels.native import library

LINE = b"03/01/2024 00:05:00,1100033,11,5,N,HV,.35,80,100,34,.0263,65.5,10,4,.0021,62.2,1\n"
COLUMNS = LINE.count(b",") + 1
SETTINGS = {
    "first_id": 1100030, "steps": 4, "stations": 3, "first_second": 1709251200, "step_seconds": 300,
    "columns": COLUMNS, "keep_imputed": False,
}  # fmt: skip


def read(text: bytes, at_end: bool = True, **settings: Any) -> tuple[tuple[int, ...], np.ndarray, np.ndarray]:
    """What is told, (4, 3, 4) readings, (4, 3) places seen."""
    readings, seen = np.full((4, 3, 4), np.nan, dtype=np.float32), np.zeros((4, 3), dtype=bool)
    place = np.array([-1, 0, -1, 1, 2], dtype=np.int32)
    told = library().module.station_rows(text, at_end, readings, seen, place, **(SETTINGS | settings))  # type: ignore[union-attr]
    return told, readings, seen


def test_a_line_goes_to_its_place() -> None:
    told, readings, seen = read(LINE)
    assert told == (len(LINE), 1, 0, 0, 0, 0)
    np.testing.assert_array_equal(readings[1, 1], np.array([34, 0.0263, 65.5, 100], dtype=np.float32))
    assert seen.sum() == 1


def test_half_a_line_waits_for_the_rest() -> None:
    for size in range(len(LINE)):
        told, _, seen = read(LINE + LINE[:size], at_end=False)
        assert told[:2] == (len(LINE), 1)
        assert seen.sum() == 1


@pytest.mark.parametrize("seed", range(40))
def test_any_bytes_are_read_or_refused(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(100):
        text = bytearray(LINE * rng.randrange(1, 4))
        for _ in range(rng.randrange(1, 8)):
            at = rng.randrange(len(text) + 1)
            text[at : at + rng.randrange(3)] = rng.choice([b",", b"\n", b"\r", b".", b"9" * 30, b"", rng.randbytes(3)])
        text = text[: rng.randrange(len(text) + 1)]
        told, _, seen = read(bytes(text), at_end=rng.random() < 0.5)
        assert 0 <= told[0] <= len(text)
        assert told[1] == seen.sum() + told[3] + told[4]
        assert told[5] in (0, 1, 2)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"steps": 5}, "readings must have 60 items"),
        ({"stations": 2}, "readings must have 32 items"),
        ({"steps": 0}, "must be positive"),
        ({"step_seconds": 0}, "must be positive"),
        ({"steps": 6, "stations": 2}, "place names a station that is not there"),
    ],
)
def test_arrays_of_another_size_are_refused(wrong: dict[str, int], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read(LINE, **wrong)
