"""Adjacency pickles: the published shapes are read, and nothing that a pickle names is ever run."""

import copyreg
import io
import os
import pickle
import pickletools
import struct
import sys
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import read_pickle

MATRIX = np.array([[0, 0.5, 0], [0, 1, 0.25], [0.125, 0, 0]], dtype=np.float32)
IDS = ["00123", "773869.0", "c"]
TRIPLE = [IDS, {node: index for index, node in enumerate(IDS)}, MATRIX]
RUN_EVENTS: list[str] = []


def _watch(event: str, args: tuple) -> None:
    if event in ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "exec", "pickle.find_class"):
        RUN_EVENTS.append(event)


@pytest.fixture(scope="module", autouse=True)
def _audit() -> None:
    sys.addaudithook(_watch)


def saved(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "adj.pkl"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "matrix",
    [
        MATRIX,
        MATRIX.astype(np.float64),
        np.asfortranarray(MATRIX),
        MATRIX.astype(">f4"),
        MATRIX.astype(np.float16),
        MATRIX.tolist(),
        list(MATRIX.astype(np.float64)),
        np.asmatrix(MATRIX),
    ],
    ids=["float32", "float64", "fortran", "big_endian", "float16", "lists", "rows", "np_matrix"],
)
def test_matrices_in_every_protocol(tmp_path: Path, protocol: int, matrix: Any) -> None:
    graph = read_pickle(saved(tmp_path, pickle.dumps([*TRIPLE[:2], matrix], protocol)))
    assert graph.ids == tuple(IDS)
    assert graph.adjacency.toarray().tolist() == MATRIX.tolist()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ("ids", "wanted"),
    [
        ([400001, 400017, 5], ("400001", "400017", "5")),
        ([1, 2, 3], ("1", "2", "3")),
        (np.array(["a", "b", "cc"]), ("a", "b", "cc")),
        (np.array([b"a", b"b", b"cc"]), ("a", "b", "cc")),
        (np.array(["a", "b", "cc"], dtype=object), ("a", "b", "cc")),
        (list(np.array([7, 8, 9])), ("7", "8", "9")),
        ((b"x", b"y", "z"), ("x", "y", "z")),
    ],
    ids=["ints", "row_like", "unicode_array", "bytes_array", "object_array", "numpy_scalars", "mixed"],
)
def test_ids_in_every_protocol(tmp_path: Path, protocol: int, ids: Any, wanted: tuple[str, ...]) -> None:
    index_of = OrderedDict((node, index) for index, node in enumerate(ids))
    assert read_pickle(saved(tmp_path, pickle.dumps((ids, index_of, MATRIX), protocol))).ids == wanted


def test_old_python_2_text(tmp_path: Path) -> None:
    # The matrix as Python 2 wrote it: its bytes are a latin-1 "string".
    content = MATRIX.tobytes()
    stream = (
        b"\x80\x02](](U\x011U\x012U\x013e}(U\x011K\x00U\x012K\x01U\x013K\x02u"
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
        b"(K\x01K\x03K\x03\x86cnumpy\ndtype\n(U\x02f4K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U" + struct.pack("<B", len(content)) + content + b"tbe."
    )
    graph = read_pickle(saved(tmp_path, stream))
    assert graph.ids == ("1", "2", "3")
    assert graph.adjacency.toarray().tolist() == MATRIX.tolist()


def test_a_matrix_alone_takes_the_given_ids(tmp_path: Path) -> None:
    path = saved(tmp_path, pickle.dumps(MATRIX))
    assert read_pickle(path).ids == ("0", "1", "2")
    assert read_pickle(path, ids=IDS).ids == tuple(IDS)
    assert read_pickle(saved(tmp_path, pickle.dumps(MATRIX.tolist()))).num_edges == 4
    with pytest.raises(UserError, match="3 x 3 matrix without ids, for 2 sensors"):
        read_pickle(path, ids=["a", "b"])


class Runs:
    """Pickles into a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def _global(name: str, arguments: bytes) -> bytes:
    return b"c" + name.replace(" ", "\n").encode() + b"\n(" + arguments + b"tR."


def _stack_global(module: str, name: str, arguments: bytes) -> bytes:
    def text(value: str) -> bytes:
        return b"\x8c" + bytes([len(value)]) + value.encode()

    return b"\x80\x04" + text(module) + text(name) + b"\x93(" + arguments + b"tR."


CANARY = "touch {canary}"
PYTHON = "open({canary!r}, 'w')"
ATTACKS = {
    "os_system": lambda c: pickle.dumps(Runs(os.system, CANARY.format(canary=c))),
    "os_system_in_the_triple": lambda c: pickle.dumps([IDS, Runs(os.system, CANARY.format(canary=c)), MATRIX]),
    "eval": lambda c: pickle.dumps(Runs(eval, PYTHON.format(canary=c))),
    "exec": lambda c: pickle.dumps(Runs(exec, PYTHON.format(canary=c)), 0),
    "eval_python_2": lambda c: _global("__builtin__ eval", b"V" + PYTHON.format(canary=c).encode() + b"\n"),
    "getattr": lambda c: pickle.dumps(Runs(getattr, np.ndarray, "tofile")),
    "dotted_numpy": lambda c: _stack_global("numpy", "ndarray.tofile", b"V" + c.encode() + b"\n"),
    "dotted_os": lambda c: _stack_global("numpy", "os.system", b"V" + CANARY.format(canary=c).encode() + b"\n"),
    "numpy_save": lambda c: _global("numpy save", b"V" + c.encode() + b"\nK\x01"),
    "numpy_load": lambda c: _global("numpy load", b"V/etc/hostname\n"),
    "numpy_fromfile": lambda c: _global("numpy.core.multiarray fromfile", b"V/etc/hostname\n"),
    "numpy_memmap": lambda c: _global("numpy memmap", b"V" + c.encode() + b"\nV<f8\nVw+\n"),
    "numpy_runstring": lambda c: _global(
        "numpy.testing._private.utils runstring", b"V" + PYTHON.format(canary=c).encode() + b"\n}"
    ),
    "inst": lambda c: b"(V" + CANARY.format(canary=c).encode() + b"\nios\nsystem\n.",
    "obj": lambda c: b"(cos\nsystem\nV" + CANARY.format(canary=c).encode() + b"\no.",
    "newobj": lambda c: b"\x80\x02csubprocess\nPopen\n(V" + c.encode() + b"\nt\x81.",
    "copyreg": lambda c: _global("copyreg _reconstructor", b"cos\nsystem\ncos\nsystem\nN"),
    "copy_reg": lambda c: _global("copy_reg _reconstructor", b"cos\nsystem\ncos\nsystem\nN"),
    "codecs_decode": lambda c: _global("_codecs decode", b"Vabc\nVrot13\n"),
    "partial": lambda c: pickle.dumps(Runs(__import__("functools").partial, os.system, CANARY.format(canary=c))),
    "attrgetter": lambda c: _global("operator attrgetter", b"Vsystem\n"),
    "import": lambda c: _global("builtins __import__", b"Vos\n"),
    "set_state_of_the_class": lambda c: b"cnumpy\nndarray\n}(V__class__\nV1\nub.",
    "set_state_of_a_function": lambda c: b"cnumpy.core.multiarray\n_reconstruct\n(N}V__defaults__\nNstb.",
    "persistent": lambda c: b"P" + c.encode() + b"\n.",
    "binary_persistent": lambda c: b"N\x51.",
    "call_text": lambda c: b"(Vabc\nVabc\n" + b"tR.",
    "encode_elsewhere": lambda c: _global("_codecs encode", b"Vabc\nVidna\n"),
    "array_of_a_class": lambda c: _global("numpy.core.multiarray _reconstruct", b"cos\nsystem\n)U\x01b"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_runs(tmp_path: Path, attack: str) -> None:
    canary = tmp_path / "canary"
    path = saved(tmp_path, ATTACKS[attack](str(canary)))
    RUN_EVENTS.clear()
    with pytest.raises(UserError) as caught:
        read_pickle(path)
    assert not canary.exists()
    assert RUN_EVENTS == []
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("attack", ["os_system", "eval", "obj"])
def test_the_attacks_would_run_elsewhere(tmp_path: Path, attack: str) -> None:
    canary = tmp_path / "canary"
    pickle.load(io.BytesIO(ATTACKS[attack](str(canary))))
    assert canary.exists()


def test_the_message_names_what_would_have_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"wants to run '(posix|nt)\.system'.*nothing was run"):
        read_pickle(saved(tmp_path, pickle.dumps(Runs(os.system, "true"))))


def test_copyreg_extensions_are_refused(tmp_path: Path) -> None:
    copyreg.add_extension("os", "system", 240)
    try:
        content = b"\x80\x02\x82\xf0(Vtrue\ntR."
        assert "EXT1" in {opcode.name for opcode, _, _ in pickletools.genops(content)}
        with pytest.raises(UserError, match="copyreg extension 240"):
            read_pickle(saved(tmp_path, content))
    finally:
        copyreg.remove_extension("os", "system", 240)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_truncated_anywhere(tmp_path: Path, protocol: int) -> None:
    content = pickle.dumps(TRIPLE, protocol)
    for stop in range(len(content)):
        with pytest.raises(UserError, match="truncated"):
            read_pickle(saved(tmp_path, content[:stop]))


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_flipped_bytes_never_do_more_than_fail(tmp_path: Path, protocol: int) -> None:
    content = pickle.dumps(TRIPLE, protocol)
    rng = np.random.default_rng(protocol)
    outcomes: set[int | str] = set()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] = rng.integers(256)
        try:
            outcomes.add(read_pickle(saved(tmp_path, bytes(damaged))).num_nodes)
        except UserError as error:
            outcomes.add("one line" if "\n" not in str(error) else str(error))
    assert outcomes == {"one line", 3}


def test_claimed_sizes_are_not_reserved(tmp_path: Path) -> None:
    huge = 1 << 33
    tracemalloc.start()
    for content in (
        b"\x80\x04\x8e" + struct.pack("<Q", huge) + b"abc",
        b"\x80\x05\x96" + struct.pack("<Q", huge) + b"abc",
        b"\x80\x04\x95" + struct.pack("<Q", huge) + b"N.",
        b"\x80\x02Nr" + struct.pack("<I", 0xFFFFFFFF) + b".",
        pickle.dumps(np.zeros(3), 2).replace(b"K\x03\x85", b"J\xff\xff\xff\x7f\x85"),
    ):
        with pytest.raises(UserError):
            read_pickle(saved(tmp_path, content))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text", "must hold .* or a matrix, got str"),
        ({"adjacency": MATRIX}, "got dict"),
        ([IDS, TRIPLE[1]], "no square matrix"),
        ([IDS, TRIPLE[1], MATRIX[:2]], "must be square"),
        ([IDS[:2], {}, MATRIX], "3 nodes but 2 ids"),
        ([["a", "b", "b"], {}, MATRIX], "more than once: 'b'"),
        ([IDS, {"00123": 2, "773869.0": 1, "c": 0}, MATRIX], "disagree on '00123', 'c'"),
        ([IDS, TRIPLE[1], -MATRIX], "not negative"),
        ([IDS, TRIPLE[1], np.full((3, 3), np.nan)], "got nan from '00123' to '00123'"),
        ([IDS, TRIPLE[1], [["x"] * 3] * 3], "must hold numbers"),
        ([IDS, TRIPLE[1], np.array([["x"] * 3] * 3)], "square numbers"),
        ([IDS, TRIPLE[1], np.zeros((3, 3), dtype=[("a", "f4")])], "an array of records"),
        ([IDS, TRIPLE[1], np.zeros((3, 3), dtype=complex)], "dtype c16"),
        ([IDS, TRIPLE[1], np.zeros((3, 3), dtype="M8[s]")], "dtype M8"),
        ([IDS, TRIPLE[1], np.zeros((3, 3), dtype=object)], "not a plain row"),
        ([None, {}, MATRIX], "list of sensor ids, got NoneType"),
    ],
)
def test_other_contents(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_pickle(saved(tmp_path, pickle.dumps(content, 2)))
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*No such file"):
        read_pickle(tmp_path / "none.pkl")
    with pytest.raises(UserError, match=r"cannot read .*Is a directory"):
        read_pickle(tmp_path)


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_line_ends_that_git_changed_are_said(protocol: int, tmp_path: Path) -> None:
    matrix = np.roll(np.eye(3), 1, axis=1)
    for part in (matrix, matrix.tolist()):
        content = pickle.dumps([["a", "b", "c"], {"a": 0, "b": 1, "c": 2}, part], protocol=protocol)
        (tmp_path / "a.pkl").write_bytes(content)
        assert read_pickle(tmp_path / "a.pkl").num_edges == 3
        if b"\n" not in content:
            continue
        (tmp_path / "b.pkl").write_bytes(content.replace(b"\n", b"\r\n"))
        with pytest.raises(UserError, match=r"b.pkl: its line ends were changed \(CRLF\).*binary file"):
            read_pickle(tmp_path / "b.pkl")
