"""Adjacency matrices in memory, as .npy, .npz and text, as people write them."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import SensorGraph, from_matrix, read_matrix

MATRIX = np.array([[0, 0.5, 0], [0, 1, 0.25], [0.125, 0, 0]])
IDS = ("00123", "773869.0", "717447")


def saved(path: Path, array: Any) -> Path:
    np.save(path, array)
    return path


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def assert_is_the_matrix(graph: SensorGraph, ids: tuple[str, ...] = ("0", "1", "2")) -> None:
    assert graph.adjacency.toarray().tolist() == MATRIX.tolist()
    assert graph.ids == ids


def test_in_memory() -> None:
    assert_is_the_matrix(from_matrix(MATRIX))
    assert_is_the_matrix(from_matrix(scipy.sparse.coo_matrix(MATRIX), IDS), IDS)
    assert from_matrix(MATRIX, IDS, np.zeros((3, 2))).positions_N2 is not None
    with pytest.raises(UserError, match="must be square"):
        from_matrix(3.0)


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f8", "f2"])
def test_npy(tmp_path: Path, dtype: str) -> None:
    path = saved(tmp_path / "a.npy", MATRIX.astype(dtype))
    assert_is_the_matrix(read_matrix(path))
    assert_is_the_matrix(read_matrix(path, ids=IDS), IDS)
    assert_is_the_matrix(read_matrix(str(path)))


@pytest.mark.parametrize("kind", ["csr", "csc", "coo"])
@pytest.mark.parametrize("container", [scipy.sparse.coo_array, scipy.sparse.coo_matrix])
def test_npz_of_scipy(tmp_path: Path, kind: str, container: Any) -> None:
    scipy.sparse.save_npz(tmp_path / "a.npz", container(MATRIX).asformat(kind))
    assert_is_the_matrix(read_matrix(tmp_path / "a.npz"))


@pytest.mark.parametrize("key", ["adjacency", "adj", "adj_mx", "A", "arr_0", "whatever"])
def test_npz_of_arrays(tmp_path: Path, key: str) -> None:
    np.savez_compressed(tmp_path / "a.npz", **{key: MATRIX, "speeds": np.zeros((7, 3))})
    assert_is_the_matrix(read_matrix(tmp_path / "a.npz"))


def test_npz_with_ids_and_positions(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", adj=MATRIX, sensor_ids=np.array(IDS), positions=np.ones((3, 2)))
    graph = read_matrix(tmp_path / "a.npz", ids=("x", "y", "z"))
    assert_is_the_matrix(graph, IDS)
    assert graph.positions_N2 is not None
    np.savez(tmp_path / "b.npz", adj=MATRIX, ids=np.array([3, 1, 2]))
    assert_is_the_matrix(read_matrix(tmp_path / "b.npz"), ("3", "1", "2"))


def test_npz_of_a_graph_state(tmp_path: Path) -> None:
    graph = SensorGraph(MATRIX, IDS, np.ones((3, 2)))
    np.savez(tmp_path / "graph.npz", **graph.to_state())
    back = read_matrix(tmp_path / "graph.npz")
    assert back.digest() == graph.digest()
    assert back.positions_N2 is not None


ROWS = ["0,0.5,0", "0,1,0.25", "0.125,0,0"]
HEADER = ",".join(IDS)
INDEXED = [f"{node},{row}" for node, row in zip(IDS, ROWS, strict=True)]


@pytest.mark.parametrize(
    ("lines", "ids"),
    [
        pytest.param(ROWS, None, id="numbers_only"),
        pytest.param([HEADER, *ROWS], IDS, id="header"),
        pytest.param(INDEXED, IDS, id="first_column"),
        pytest.param(["," + HEADER, *INDEXED], IDS, id="both_and_empty_corner"),
        pytest.param(["sensor_id," + HEADER, *INDEXED], IDS, id="both_and_named_corner"),
        pytest.param([HEADER, *INDEXED], IDS, id="both_and_no_corner_as_R_writes"),
        pytest.param(['"00123","773869.0","717447"', *ROWS], IDS, id="quoted"),
        pytest.param([" 00123 , 773869.0 , 717447 ", *(row.replace(",", " , ") for row in ROWS)], IDS, id="spaces"),
    ],
)
def test_text(tmp_path: Path, lines: list[str], ids: tuple | None) -> None:
    for delimiter, ends, encoding in product(",;\t", ["\n", "\r\n", "\n\n"], ["utf-8", "utf-8-sig", "utf-16"]):
        text = ends.join(lines).replace(",", delimiter) + ends
        graph = read_matrix(written(tmp_path / "a.csv", text.encode(encoding)), ids=("x", "y", "z"))
        assert_is_the_matrix(graph, ids or ("x", "y", "z"))


def test_text_of_other_programs(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "numpy.txt", MATRIX)
    assert_is_the_matrix(read_matrix(tmp_path / "numpy.txt"))
    np.savetxt(tmp_path / "numpy.csv", MATRIX, delimiter=",")
    assert_is_the_matrix(read_matrix(tmp_path / "numpy.csv"))
    frame = pd.DataFrame(MATRIX, index=list(IDS), columns=list(IDS))
    frame.to_csv(tmp_path / "pandas.csv")
    assert_is_the_matrix(read_matrix(tmp_path / "pandas.csv"), IDS)
    frame.to_csv(tmp_path / "header.csv", index=False)
    assert_is_the_matrix(read_matrix(tmp_path / "header.csv"), IDS)
    frame.to_csv(tmp_path / "bare.csv", index=False, header=False)
    assert_is_the_matrix(read_matrix(tmp_path / "bare.csv"))
    pd.DataFrame(MATRIX).to_csv(tmp_path / "range.csv")
    assert_is_the_matrix(read_matrix(tmp_path / "range.csv"))


@pytest.mark.parametrize(
    ("text", "ids", "weight"),
    [("0.5\n", "0", 0.5), ("a\n0.5\n", "a", 0.5), ("a,0.5\n", "a", 0.5), (",7\n7,0.5\n", "7", 0.5)],
)
def test_one_node(tmp_path: Path, text: str, ids: str, weight: float) -> None:
    graph = read_matrix(written(tmp_path / "a.csv", text))
    assert graph.ids == (ids,)
    assert graph.adjacency.toarray().tolist() == [[weight]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("0,1\n1,0\n0,1\n1,1\n", "4 lines of 2 columns are no square matrix"),
        ("0,1,0\n0,1\n", "line 2 has 2 columns|line 1 has 3 columns"),
        ("0,1,0\n0,0,1\n0,1\n", "line 3 has 2 columns, others have 3; is it truncated"),
        ("0,1\n1,\n", "line 2, column 2: a weight must be a number with a decimal point, got '' .no link: 0, or inf"),
        ("0;0,5\n0,5;0\n", "decimal point, got '0,5'"),
        ("0,x\n1,0\n", "line 1, column 2: .* got 'x'"),
        ("0,nan\n1,0\n", "got nan from '0' to '1'"),
        ("a,b\n0,1\n-1,0\n", "got -1 from 'b' to 'a'"),
        ("a,a\n0,1\n1,0\n", "more than once: 'a'"),
        (",a,b\na,0,1\nc,1,0\n", "header and the first column disagree: 'b' / 'c'"),
        ('"0,1\n1,0\n', "not a readable table"),
        (b"\xff\xfe\x00", "not a text file"),
        (b"\x80\x81,\x82\n", "not a text file in UTF-8"),
    ],
)
def test_text_mistakes(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_matrix(written(tmp_path / "a.csv", text))
    assert "\n" not in str(caught.value)
    assert "a.csv" in str(caught.value)


def test_number_of_sensors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a.npy: a 3 x 3 matrix without ids, for 2 sensors"):
        read_matrix(saved(tmp_path / "a.npy", MATRIX), ids=("x", "y"))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3)), "must be square"),
        (np.zeros(3), "must be square"),
        (np.zeros((2, 2), dtype=[("a", "f4")]), "must hold real numbers"),
        (np.array([["a", "b"], ["c", "d"]]), "must hold real numbers"),
        (np.array([[None, {}], [1, 2]], dtype=object), "Python objects, which are never loaded"),
    ],
)
def test_npy_mistakes(tmp_path: Path, array: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_matrix(saved(tmp_path / "a.npy", array))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((3, 2))}, "no adjacency among its arrays 'x'"),
        ({"x": MATRIX, "y": MATRIX}, "no adjacency among its arrays 'x', 'y'"),
        ({"adj": MATRIX, "ids": np.array(["a"])}, "3 nodes but 1 ids"),
        ({"adj": MATRIX, "ids": np.array([{}, 1, 2], dtype=object)}, "Python objects, which are never loaded"),
        ({"format": b"csr", "shape": (3, 3), "data": [1.0], "indices": [2]}, "without its part 'indptr'"),
        ({"format": b"bsr", "shape": (3, 3)}, "in the format 'bsr'"),
        (
            {"format": b"csr", "shape": (3, 3), "data": [1.0], "indices": [1 << 30], "indptr": [0, 1, 1, 1]},
            "damaged sparse matrix",
        ),
        (
            {"format": b"csc", "shape": (3, 3), "data": [1.0], "indices": [-5], "indptr": [0, 1, 1, 1]},
            "damaged sparse matrix",
        ),
        ({"format": b"coo", "shape": (3, 3), "data": [1.0], "row": [9], "col": [0]}, "damaged sparse matrix"),
        ({"format": b"csr", "shape": (3,), "data": [1.0], "indices": [0], "indptr": [0]}, "damaged sparse matrix"),
        ({"ids": np.array(["a"]), "indptr": [0, 1], "indices": [5], "data": [1.0]}, "the saved graph is damaged"),
    ],
)
def test_npz_mistakes(tmp_path: Path, arrays: dict, message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match=message) as caught:
        read_matrix(tmp_path / "a.npz")
    assert "\n" not in str(caught.value)
    assert "a.npz" in str(caught.value)


def test_numpy_files_truncated_anywhere(tmp_path: Path) -> None:
    saved(tmp_path / "a.npy", MATRIX)
    np.savez_compressed(tmp_path / "a.npz", adj=MATRIX)
    for name in ("a.npy", "a.npz"):
        content = (tmp_path / name).read_bytes()
        for stop in range(0, len(content), 3):
            with pytest.raises(UserError) as caught:
                read_matrix(written(tmp_path / f"cut_{name}", content[:stop]))
            assert "\n" not in str(caught.value)


def test_endings_that_lie(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", adj=MATRIX)
    (tmp_path / "a.npz").rename(tmp_path / "b.npy")
    with pytest.raises(UserError, match=r"an .npz archive under the name of an .npy array"):
        read_matrix(tmp_path / "b.npy")
    saved(tmp_path / "a.npy", MATRIX).rename(tmp_path / "b.npz")
    with pytest.raises(UserError, match=r"an .npy array under the name of an .npz archive"):
        read_matrix(tmp_path / "b.npz")
    with pytest.raises(UserError, match="not a numpy file"):
        read_matrix(written(tmp_path / "c.npy", "0,1\n1,0\n"))
    with pytest.raises(UserError, match=r"cannot read .*No such file"):
        read_matrix(tmp_path / "none.npy")
    with pytest.raises(UserError, match=r"cannot read .*No such file"):
        read_matrix(tmp_path / "none.csv")
