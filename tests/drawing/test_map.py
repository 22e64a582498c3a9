"""Maps: places, colours, what is thinned and said, anywhere on the globe, at any number of sensors."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from dcrnn_fast.drawing.map_colours import STEPS, ColourScale, scale_of
from dcrnn_fast.drawing.map_svg import Links, sensor_map
from dcrnn_fast.drawing.page import whole_page
from dcrnn_fast.drawing.projection import flattened
from dcrnn_fast.graph import haversine_km

PLACES = {
    "Los Angeles": (34.05, -118.25),
    "Fiji, at the date line": (-17.8, 180.0),
    "the North Pole": (90.0, 0.0),
    "the South Pole": (-90.0, 50.0),
    "Greenwich": (51.5, 0.0),
}


def around(middle: tuple[float, float], count: int = 40) -> np.ndarray:
    """Positions within some 30 km, on both sides of the date line or all around a pole."""
    rng = np.random.default_rng(1)
    latitude, longitude = middle
    if abs(latitude) == 90:
        return np.stack(
            [latitude - np.sign(latitude) * rng.uniform(0.01, 0.3, count), rng.uniform(-180, 180, count)], 1
        )
    away = rng.uniform(-0.3, 0.3, (count, 2))
    return np.stack([latitude + away[:, 0], (longitude + away[:, 1] + 180) % 360 - 180], axis=1)


def drawn(picture: str, tag: str) -> list[dict[str, str]]:
    svg = picture[picture.index("<svg") : picture.index("</svg>") + 6]
    return [one.attrib for one in ElementTree.fromstring(svg).iter(tag)]


@pytest.mark.parametrize("middle", PLACES.values(), ids=PLACES)
def test_distances_on_the_map_are_those_on_the_globe(middle: tuple[float, float]) -> None:
    positions = around(middle)
    flat = flattened(positions)
    first, second = np.triu_indices(len(positions), 1)
    on_map = np.linalg.norm(flat.places_N2[first] - flat.places_N2[second], axis=1)
    assert on_map == pytest.approx(haversine_km(positions[first], positions[second]), rel=1e-3)
    assert flat.is_true


def test_north_is_up_and_east_is_right() -> None:
    places = flattened(np.array([[34.0, -118.0], [34.2, -118.0], [34.0, -117.8]])).places_N2
    assert places[1, 1] > places[0, 1]
    assert places[2, 0] > places[0, 0]


def test_the_whole_globe_is_cut_where_nobody_is() -> None:
    positions = np.array([[10.0, longitude] for longitude in (-170, -100, 0, 60, 130, 175)] + [[-60.0, 20.0]])
    flat = flattened(positions)
    assert flat.wraps_km is not None
    assert not flat.is_true
    x = flat.places_N2[:, 0]
    # The widest gap is between -100 and 0.
    assert np.argsort(x).tolist() == [2, 6, 3, 4, 5, 0, 1]
    links = Links(
        rows_E=np.array([1]), columns_E=np.array([2]), values_E=np.ones(1), strength_E=np.ones(1), words="weight"
    )
    picture = sensor_map("world", positions, list("abcdefg"), links=links)
    path = "".join(one["d"] for one in drawn(picture, "path") if "ms" in one["class"])
    assert path.count("M") == 2, "over the edge, and in again from the other"
    numbers = [float(word) for word in re.findall(r"-?[\d.]+", path)]
    assert abs(numbers[0] - numbers[2]) < 500
    assert 'class="bar"' not in picture


def test_points_links_and_legend() -> None:
    positions = np.array([[34.0, -118.0], [34.1, -118.1], [34.2, -118.0], [np.nan, np.nan]])
    links = Links(
        rows_E=np.array([0, 1, 0]),
        columns_E=np.array([1, 2, 3]),
        values_E=np.array([0.2, 0.9, 0.5]),
        strength_E=np.array([0.2, 0.9, 0.5]),
        words="weight",
    )
    picture = sensor_map(
        "speeds", positions, ["a<b", "b", "c", "d"], values_N=np.array([10.0, np.nan, 70.0, 5.0]), words="mph",
        tips_N=["on I-5", "", "", ""], links=links, moved_N2=positions + 0.001,
    )  # fmt: skip
    points = drawn(picture, "circle")
    assert [one["class"] for one in points] == ["mf0", "empty", f"mf{len(STEPS) - 1}"]
    titles = re.findall(r"<circle[^>]*><title>([^<]*)</title>", picture)
    assert titles == ["a&lt;b: 10 mph\non I-5", "b: no value", "c: 70 mph"]
    assert "a&lt;b to b: 0.2 weight" in picture
    assert sum("ms" in one["class"] for one in drawn(picture, "path")) == 2
    assert "1 sensor without a position not drawn" in picture
    assert re.search(r">\d+ k?m</text>", picture)
    assert all(0 <= float(one["cx"]) <= 1000 for one in points)
    assert "<script" not in whole_page("t", picture, made_from="x")


@pytest.mark.parametrize("count", [1, 2, 11_000])
def test_any_number_of_sensors(count: int) -> None:
    rng = np.random.default_rng(0)
    positions = np.stack([rng.uniform(32, 42, count), rng.uniform(-124, -115, count)], axis=1)
    pairs = rng.integers(0, count, (2, 60_000 if count > 2 else count))
    weights = rng.uniform(size=pairs.shape[1])
    links = Links(rows_E=pairs[0], columns_E=pairs[1], values_E=weights, strength_E=weights, words="weight")
    picture = sensor_map(
        "many", positions, [str(n) for n in range(count)], values_N=rng.normal(size=count), links=links
    )
    assert len(drawn(picture, "circle")) == count
    assert ('class="scale"' in picture) == (count > 1), "one place has no scale"
    assert ('class="points many"' in picture) == (count > 500), "rims would hide the colours of small points"
    assert len(picture) < 2_500_000
    if count > 2:
        assert re.search(r"the 12,000 strongest of 59,\d{3} links drawn", picture)
        lines = sum(one["d"].count("M") for one in drawn(picture, "path") if "ms" in one["class"])
        assert lines == 12_000


def test_more_points_than_a_page_takes_are_thinned() -> None:
    rng = np.random.default_rng(0)
    positions = np.stack([rng.uniform(32, 42, 60_000), rng.uniform(-124, -115, 60_000)], axis=1)
    picture = sensor_map("cells", positions, [str(n) for n in range(60_000)])
    assert len(drawn(picture, "circle")) <= 20_000
    assert "of the 60,000 sensors drawn" in picture


def test_nowhere() -> None:
    assert "no sensor has a position" in sensor_map("none", np.full((2, 2), np.nan), ["a", "b"])


def test_colours() -> None:
    values = np.concatenate([np.linspace(0, 1, 98), [1e9, -1e9]])
    scale = scale_of(values)
    assert scale is not None
    assert scale.high < 2, "an outlier takes no colour from the others"
    steps = scale.steps(values)
    assert steps[[98, 99]].tolist() == [len(STEPS) - 1, 0]
    assert set(steps.tolist()) == set(range(len(STEPS)))
    assert scale_of(np.array([np.nan])) is None
    assert ColourScale(3, 3).steps(np.array([3.0])).tolist() == [0]
