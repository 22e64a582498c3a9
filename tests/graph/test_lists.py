"""Edge lists and distance lists, as people write them."""

import re
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import from_distances, from_edges, read_distances, read_edges

PAIRS = [("00123", "00123", 0.0), ("00123", "773869.0", 1000.0), ("773869.0", "c", 2500.0), ("c", "00123", np.inf)]
IDS = ("00123", "773869.0", "c")


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def columns(pairs: list) -> tuple[list[str], list[str], list[float]]:
    return [p[0] for p in pairs], [p[1] for p in pairs], [p[2] for p in pairs]


def test_gaussian_kernel_of_distances() -> None:
    graph = from_distances(*columns(PAIRS))
    # These are neighbours only, so sigma keeps the longest link at the threshold.
    sigma = 2500 / np.sqrt(np.log(10))
    assert graph.ids == IDS
    wanted = np.zeros((3, 3))
    wanted[0, 0], wanted[0, 1], wanted[1, 2] = 1.0, np.exp(-((1000 / sigma) ** 2)), 0.1
    np.testing.assert_allclose(graph.adjacency.toarray(), wanted, rtol=1e-7)
    half = from_distances(*columns(PAIRS), threshold=0.5)
    assert half.adjacency[1, 2] == pytest.approx(0.5)
    with pytest.raises(UserError, match="1 of the 2 listed links fall below the threshold with sigma 1500"):
        from_distances(*columns(PAIRS), sigma=1500)
    cut = from_distances(*columns(PAIRS), sigma=1500, allow_lost_links=True)
    assert cut.num_edges == 2
    assert from_distances(*columns(PAIRS), sigma=1500, threshold=0).num_edges == 3
    wide = from_distances(*columns(PAIRS), sigma=1e6)
    assert wide.adjacency[1, 2] == pytest.approx(np.exp(-(0.0025**2)))


def test_order_of_first_appearance_or_the_one_asked_for() -> None:
    start, end, distance = columns(PAIRS[1:])
    assert from_distances(start, end, distance).ids == IDS
    assert from_distances(start[::-1], end[::-1], distance[::-1]).ids == ("c", "00123", "773869.0")
    asked = from_distances(start, end, distance, ids=IDS[::-1], sigma=2000)
    np.testing.assert_array_equal(
        asked.adjacency.toarray(), from_distances(start, end, distance, sigma=2000).adjacency.toarray()[::-1, ::-1]
    )


def test_pairs_of_other_sensors_count_neither_for_edges_nor_for_sigma() -> None:
    pairs = [*PAIRS, ("c", "elsewhere", 9e9), ("elsewhere", "c", 1.0)]
    assert from_distances(*columns(pairs), ids=IDS).digest() == from_distances(*columns(PAIRS)).digest()


def test_weights_are_directed_and_zero_is_no_edge() -> None:
    graph = from_edges(["a", "b", "c"], ["b", "c", "c"], [0.5, 2, 0])
    assert graph.adjacency.toarray().tolist() == [[0, 0.5, 0], [0, 0, 2], [0, 0, 0]]


def test_repeated_pairs() -> None:
    assert from_edges(["a", "a"], ["b", "b"], [0.5, 0.5]).num_edges == 1
    with pytest.raises(UserError, match=r"the pair from 'a' to 'b' comes twice, with the weights 0.5 and 0.25"):
        from_edges(["a", "a"], ["b", "b"], [0.5, 0.25])
    assert from_edges(["a", "b"], ["b", "a"], [0.5, 0.25]).num_edges == 2


@pytest.mark.parametrize(
    ("pairs", "options", "message"),
    [
        ([("a", "b", np.nan)], {}, "a distance must be a number and not negative, got nan from 'a' to 'b'"),
        ([("a", "b", -1.0)], {}, "got -1 from 'a' to 'b'"),
        ([("a", "b", -np.inf)], {}, "got -inf from 'a' to 'b'"),
        ([("a", "b", 0.0), ("b", "a", 0.0)], {}, "finite distances are all 0, .* set one with --sigma"),
        ([("a", "a", 0.0), ("b", "b", 0.0)], {}, "finite distances are all 0"),
        ([("a", "b", np.inf)], {}, "no finite distance"),
        ([("a", "b", 1.0), ("a", "b", 2.0)], {}, "comes twice, with the distances 1 and 2"),
        ([("a", "b", 1.0)], {"sigma": -1.0}, "sigma must be positive, got -1.0"),
        ([("a", " ", 1.0)], {"sigma": 1.0}, "non-empty text"),
        (
            PAIRS,
            {"ids": ("00123", "x", "y")},
            r"2 of the 3 sensors are not in the list: 'x', 'y'; the list names '773869.0', 'c'",
        ),
        (PAIRS, {"ids": ("c", "c")}, "more than once: 'c'"),
    ],
)
def test_mistakes(pairs: list, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_distances(*columns(pairs), **options)


def test_infinite_weights_and_unequal_columns() -> None:
    with pytest.raises(UserError, match="a weight must be a number and not negative, got inf"):
        from_edges(["a"], ["b"], [np.inf])
    with pytest.raises(UserError, match="got 1, 1 and 2"):
        from_edges(["a"], ["b"], [1.0, 2.0])


LINES = ["from,to,cost", "00123,00123,0.0", "00123,773869.0,1000", "773869.0,c,2.5e3", "c,00123,inf"]


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(LINES, id="published"),
        pytest.param(LINES[1:], id="no_header"),
        pytest.param(["From Node,To_Node,Distance", *LINES[1:]], id="other_names"),
        pytest.param(["from_sensor_id,to_sensor_id,metres from a to b", *LINES[1:]], id="unknown_third_name"),
        pytest.param([LINES[0], *(f" {line.replace(',', ' , ')} " for line in LINES[1:])], id="spaces"),
        pytest.param([LINES[0], *('"' + line.replace(",", '","') + '"' for line in LINES[1:])], id="quoted"),
        pytest.param([",from,to,cost", *(f"{i},{line}" for i, line in enumerate(LINES[1:]))], id="pandas_index"),
        pytest.param(
            ["cost,note,to,from"] + ["{2},x,{1},{0}".format(*line.split(",")) for line in LINES[1:]], id="another_order"
        ),
    ],
)
def test_files(tmp_path: Path, lines: list[str]) -> None:
    wanted = from_distances(*columns(PAIRS)).digest()
    for delimiter, ends, encoding in product(",;\t", ["\n", "\r\n", "\r\n\r\n"], ["utf-8", "utf-8-sig", "utf-16"]):
        path = written(tmp_path / "d.csv", ends.join(lines).replace(",", delimiter).encode(encoding))
        assert read_distances(path).digest() == wanted
        assert read_distances(path, ids=IDS[::-1]).ids == IDS[::-1]


def test_edge_files(tmp_path: Path) -> None:
    for text in ("from,to,weight\na,b,0.5\nb,c,1\n", "a,b,0.5\nb,c,1\n", "source target weight\na b 0.5\nb c 1\n"):
        graph = read_edges(written(tmp_path / "e.csv", text))
        assert graph.ids == ("a", "b", "c")
        assert graph.adjacency.toarray().tolist() == [[0, 0.5, 0], [0, 0, 1], [0, 0, 0]]
    for text in ("from,to\n1,2\n2,3\n", "1,2\n2,3\n"):
        graph = read_edges(written(tmp_path / "e.csv", text))
        assert graph.ids == ("1", "2", "3")
        assert graph.adjacency.toarray().tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 0]]


def test_weights_may_stand_beside_distances(tmp_path: Path) -> None:
    path = written(tmp_path / "e.csv", "from,to,distance,weight\na,b,1000,0.5\nb,a,2000,0.25\n")
    assert read_edges(path).adjacency.toarray().tolist() == [[0, 0.5], [0.25, 0]]
    assert read_distances(path, sigma=1000, threshold=0).adjacency[0, 1] == pytest.approx(np.exp(-1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("from,to,cost\n", "a header and no lines"),
        ("from,to,cost\na,b,1\na,c\n", "line 3 has 2 columns and line 1 has 3; is the file truncated"),
        ("from,to,cost\na,b,1\na,b c,x\n", "line 3, column 3: a distance must be a number .* got 'x'"),
        ("from,to,cost\na,b,nan\n", "line 2, column 3: .* got 'nan'"),
        ("from,to,cost\na,b,\n", "line 2, column 3: .* got ''"),
        ("from;to;cost\na;b;1,5\n", "line 2, column 3: .* decimal point, got '1,5'"),
        ("from,to,cost\na,b,1_000\n", "got '1_000'"),
        ("from,to,cost\na,,1\n", "line 2: an empty sensor id"),
        ("from,to,cost\na,b,-3\n", "got -3 from 'a' to 'b'"),
        ("from,to\na,b\n", "has the columns from, to, distance, got 2 columns"),
        ("a,b,1,2\n", "without a header has 3 columns"),
        ("x,y,z,w\na,b,1,2\n", "no columns from, to, distance in the header 'x, y, z, w'"),
        (b"\x00\xff\x00\xff", "not a text file"),
    ],
)
def test_file_mistakes(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_distances(written(tmp_path / "d.csv", text))
    assert "\n" not in str(caught.value)
    assert "d.csv" in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    for read in (read_edges, read_distances):
        with pytest.raises(UserError, match=r"cannot read .*none.csv: No such file"):
            read(tmp_path / "none.csv")


@pytest.mark.parametrize(("series", "listed"), [(0, 1), (1, 0)])
@pytest.mark.parametrize("left_out", [None, 7])
def test_numbers_counted_from_0_in_one_file_and_from_1_in_the_other(
    tmp_path: Path, series: int, listed: int, left_out: int | None
) -> None:
    # 49 of 50 numbers are in both, so that each sensor would silently get its neighbour's links.
    ids = [str(node) for node in range(series, series + 50) if node != left_out]
    lines = [f"{node},{node + 1},{500 + node}" for node in range(listed, listed + 49)]
    path = written(tmp_path / "list.csv", "\n".join(["from,to,cost", *lines]))
    said = f"the series counts its sensors from {series}, the file from {listed}.*--match position"
    with pytest.raises(UserError, match=said):
        read_distances(path, ids=ids)
    alone = "0" if series == 0 else "50"
    written(path, "\n".join(["from,to,cost", *lines, f"{alone},{alone},0"]))
    assert read_distances(path, ids=ids).num_nodes == len(ids)


@pytest.mark.parametrize(("filler", "times"), [(9999, 1), (99999, 2), (65535, 1), (1e9, 4), (123456, 3)])
def test_a_number_that_means_no_path_does_not_set_sigma(filler: float, times: int) -> None:
    links = [(f"s{k}", f"s{k + 1}", 500.0 + k) for k in range(8)]
    fillers = [(f"s{k}", f"s{k + 3}", filler) for k in range(times)]
    with pytest.raises(
        UserError, match=f"distances? of {re.escape(f'{filler:g}')}, where all others are up to 507: .*write inf"
    ):
        from_distances(*columns(links + fillers))
    kept = from_distances(*columns(links + fillers), sigma=400, allow_lost_links=True)
    no_path = from_distances(*columns([*links, *((a, b, np.inf) for a, b, _ in fillers)]), sigma=400)
    np.testing.assert_array_equal(kept.adjacency.toarray(), no_path.adjacency.toarray())


def test_one_far_neighbour_is_a_distance() -> None:
    links = [(f"s{k}", f"s{k + 1}", 500.0 + k) for k in range(8)]
    assert from_distances(*columns([*links, ("s0", "s8", 20000.0)])).num_edges == 9
