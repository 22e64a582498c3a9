"""Areas that touch, by corner or by edge, also where their borders do not quite meet."""

import json
from pathlib import Path

import numpy as np
import pytest

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.making.by_polygon import by_polygon
from dcrnn_fast.graph.making.made import MadeList

Ring = list[list[float]]


def square(x: float, y: float, size: float = 0.01) -> Ring:
    return [[x, y], [x + size, y], [x + size, y + size], [x, y + size], [x, y]]


def written(path: Path, areas: dict[str, list[Ring]]) -> Path:
    features = [
        {"type": "Feature", "properties": {"GEOID": name}, "geometry": {"type": "Polygon", "coordinates": rings}}
        for name, rings in areas.items()
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def pairs(made: MadeList) -> set[str]:
    found = zip(made.rows_E[made.linked].tolist(), made.columns_E[made.linked].tolist(), strict=True)
    return {made.ids[a] + made.ids[b] for a, b in found}


def both(*names: str) -> set[str]:
    return {pair for name in names for pair in (name, name[::-1])}


GRID = {"a": [square(8.00, 49.00)], "b": [square(8.01, 49.00)], "c": [square(8.01, 49.01)], "x": [square(9, 49)]}


def test_corners_and_edges(tmp_path: Path) -> None:
    path = written(tmp_path / "areas.geojson", GRID)
    queen = by_polygon(path, contiguity="queen", tolerance=0.0)
    assert pairs(queen) == both("ab", "bc", "ac")
    assert pairs(by_polygon(path, contiguity="rook", tolerance=0.0)) == both("ab", "bc")
    assert "look: 1 area that no other touches: 'x'" in queen.notes
    own = (queen.rows_E == queen.columns_E).nonzero()[0]
    assert [queen.ids[queen.rows_E[e]] for e in own] == ["x"]
    assert queen.values_E[own].tolist() == [0]
    assert queen.positions_N2 is not None
    assert queen.positions_N2[0] == pytest.approx([49.005, 8.005])


def test_a_corner_within_an_edge_touches_it(tmp_path: Path) -> None:
    """Two small squares along one side of a large one, which has no corner where they meet."""
    areas = {
        "a": [square(8.0, 49.0, 0.02)],
        "b": [square(8.02, 49.0)],
        "c": [square(8.02, 49.01)],
        "d": [square(8.03, 49.02)],
    }
    path = written(tmp_path / "areas.geojson", areas)
    assert pairs(by_polygon(path, contiguity="rook", tolerance=0.1)) == both("ab", "ac", "bc")
    assert pairs(by_polygon(path, contiguity="queen", tolerance=0.1)) == both("ab", "ac", "bc", "cd")


def test_borders_that_do_not_quite_meet(tmp_path: Path) -> None:
    """A gap of 0.7 m."""
    path = written(tmp_path / "areas.geojson", {"a": [square(8.0, 49.0)], "b": [square(8.01001, 49.0)]})
    assert pairs(by_polygon(path, contiguity="rook", tolerance=1.0)) == both("ab")
    with pytest.raises(UserError, match=r"no two of the 2 areas share an edge within --tolerance 0.1 m: give more"):
        by_polygon(path, contiguity="rook", tolerance=0.1)


def test_an_enclave_touches_what_surrounds_it(tmp_path: Path) -> None:
    path = written(
        tmp_path / "areas.geojson", {"a": [square(8.0, 49.0, 0.03), square(8.01, 49.01)], "b": [square(8.01, 49.01)]}
    )
    assert pairs(by_polygon(path, contiguity="rook", tolerance=0.0)) == both("ab")


def test_a_grid_of_areas_is_the_grid_of_its_neighbours(tmp_path: Path) -> None:
    """30 x 20 squares whose corners are a few millimetres off, as rounding makes them."""
    rng = np.random.default_rng(2)
    areas = {}
    for i in range(30):
        for j in range(20):
            ring = np.array(square(8 + 0.01 * i, 49 + 0.01 * j)) + rng.uniform(-2e-8, 2e-8, (5, 2))
            ring[4] = ring[0]
            areas[f"{i},{j} "] = [ring.tolist()]
    made = by_polygon(written(tmp_path / "g.geojson", areas), contiguity="rook", tolerance=0.1)
    assert int(made.linked.sum()) == 2 * (29 * 20 + 30 * 19)
    queen = by_polygon(tmp_path / "g.geojson", contiguity="queen", tolerance=0.1)
    assert int(queen.linked.sum()) == 2 * (29 * 20 + 30 * 19 + 2 * 29 * 19)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            '{"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": [1, 2]}}',
            "this is a Point",
        ),
        ('{"type": "FeatureCollection", "features": []}', "holds no areas"),
        ('{"type": "FeatureCollection", "features": [{"type": "Fea', "is the file truncated"),
        ('{"type": "Topology", "objects": {}}', "TopoJSON"),
        ("[" * 100_000, "no readable GeoJSON|nested too deeply"),
        (
            '{"type": "Feature", "properties": {"a": 1}, "geometry": {"type": "Polygon", "coordinates": '
            "[[[1, 2], [2, 2], [2, 3], [1, 2]]]}}",
            "feature 1: lacks an id; it has 'a': --id-property names the one",
        ),
        (
            '{"type": "Feature", "id": 4, "properties": {}, "geometry": {"type": "Polygon", "coordinates": [[[1]]]}}',
            "feature 1 .'4'.: a ring needs four points",
        ),
    ],
)
def test_mistakes_are_named(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "areas.geojson").write_text(content)
    with pytest.raises(UserError, match=said) as raised:
        by_polygon(tmp_path / "areas.geojson", contiguity="queen", tolerance=0.1)
    assert str(raised.value).startswith(str(tmp_path / "areas.geojson"))
    assert "\n" not in str(raised.value)
