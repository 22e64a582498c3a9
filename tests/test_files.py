"""Files that are complete or not there, and folders that can be written."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from dcrnn_fast.errors import UserError
from dcrnn_fast.files import (
    clear_leftovers,
    folder_for_new_files,
    require_apart,
    require_creatable_folder,
    require_writable_folder,
    sha256_of,
    write_atomically,
    write_bytes,
)
from tests.checkout import ROOT


def test_a_written_file_is_whole_and_its_digest_right(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"

    def write(stream: BinaryIO) -> None:
        stream.write(b"weights")

    digest = write_atomically(path, write)
    assert path.read_bytes() == b"weights"
    assert digest == sha256_of(path) == hashlib.sha256(b"weights").hexdigest()
    assert os.listdir(tmp_path) == ["model.pt"]
    write_bytes(path, b"others")
    assert path.read_bytes() == b"others"
    assert os.listdir(tmp_path) == ["model.pt"]


def test_an_error_in_the_middle_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(b"old")

    def broken(stream: BinaryIO) -> None:
        stream.write(b"half")
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        write_atomically(path, broken)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model.pt"]


@pytest.mark.parametrize("writer", ["lambda f: f.write(bytes(10**6))", "lambda f: torch.save(torch.zeros(10**6), f)"])
def test_a_full_disk_is_one_line_and_keeps_the_old_file(writer: str, tmp_path: Path) -> None:
    """A limit on file size stands in for the full disk: write() fails in the middle with an OSError as well."""
    path = tmp_path / "model.pt"
    path.write_bytes(b"old")
    code = f"""
import resource, signal, torch
from dcrnn_fast.errors import UserError
from dcrnn_fast.files import write_atomically
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    write_atomically({str(path)!r}, {writer})
except UserError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == f"cannot write {path}: File too large; nothing there was changed\n"
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model.pt"]


def test_a_folder_is_made(tmp_path: Path) -> None:
    made = require_writable_folder(tmp_path / "a" / "b", "results folder")
    assert made.is_dir()
    assert os.listdir(made) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(
        UserError, match=r"^results folder .*taken/runs cannot be written: Not a directory; name a fold"
    ):
        require_writable_folder(tmp_path / "taken" / "runs", "results folder")


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_that_could_be_made_is_not_made(tmp_path: Path, there: bool) -> None:
    (tmp_path / "a").mkdir()
    wanted = tmp_path / "a" if there else tmp_path / "a" / "b" / "c"
    assert require_creatable_folder(wanted, "results folder") == wanted
    assert list(tmp_path.rglob("*")) == [tmp_path / "a"]


def test_a_relative_folder_that_could_be_made_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    require_creatable_folder("a/b", "results folder")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ("taken", "Not a directory"),
        ("taken/runs", "Not a directory"),
        ("dangling/runs", "No such file or directory"),
        ("x" * 300, "File name too long"),
    ],
)
def test_a_folder_that_could_not_be_made_is_named(tmp_path: Path, wanted: str, reason: str) -> None:
    (tmp_path / "taken").write_text("a file")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError) as refused:
        require_creatable_folder(tmp_path / wanted, "output folder")
    assert str(refused.value) == (
        f"output folder {tmp_path / wanted} cannot be written: {reason}; name a folder that you may write to"
    )


def test_a_folder_below_one_that_is_read_only_could_not_be_made() -> None:
    with pytest.raises(UserError, match="output folder /proc/new/runs cannot be written: "):
        require_creatable_folder("/proc/new/runs", "output folder")


def _fill(folder: Path, *names: str) -> None:
    with folder_for_new_files(folder, "store") as made:
        for name in names:
            (made / name).write_text("")
        raise UserError("the disk is full")


def test_a_folder_made_for_files_that_were_not_written_goes_again(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for wanted in ("a/b", "mine", "mine/new"):
        with pytest.raises(UserError, match="the disk is full"):
            _fill(tmp_path / wanted)
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]
    with pytest.raises(UserError, match="the disk is full"):
        _fill(tmp_path / "a" / "b", "kept")
    assert (tmp_path / "a" / "b" / "kept").is_file()


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000], ids=["NUL", "too-long"])
def test_a_folder_that_cannot_be_named_is_one_line(name: str, tmp_path: Path) -> None:
    for check in (require_writable_folder, require_creatable_folder):
        with pytest.raises(UserError, match=r"results folder .* cannot be written"):
            check(tmp_path / name, "results folder")
    require_apart([tmp_path / name], [tmp_path / name], "--output")


@pytest.fixture
def readings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in a folder of data, beside other ways to it; the working folder is the one above."""
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "sensors.csv"
    path.write_text("readings")
    (tmp_path / "soft.csv").symlink_to(path)
    (tmp_path / "hard.csv").hardlink_to(path)
    (tmp_path / "folder").symlink_to(tmp_path / "data")
    # A file system without case finds one file under both names, as two hard links are.
    (tmp_path / "data" / "SENSORS.CSV").hardlink_to(path)
    monkeypatch.chdir(tmp_path)
    return path


OTHER_WAYS = (
    *("data/sensors.csv", "./data/../data//sensors.csv", "soft.csv", "hard.csv", "folder/sensors.csv"),
    *("data/SENSORS.CSV", "data/sens*.csv", "folder/*ors.csv"),
)


@pytest.mark.parametrize("read", ["data/sensors.csv", "data", "soft.csv", "hard.csv", "folder", "ABSOLUTE", "."])
@pytest.mark.parametrize("output", OTHER_WAYS)
def test_an_output_is_never_an_input(readings: Path, output: str, read: str) -> None:
    read = read.replace("ABSOLUTE", str(readings))
    if read == "." and "hard" not in output:
        (readings.parent.parent / "again.csv").hardlink_to(readings)
    with pytest.raises(UserError, match=r"would replace .*, which is an input: give another --output") as error:
        require_apart(["new.csv", output], [None, "metr-la", read], "--output")
    assert "\n" not in str(error.value)
    assert readings.read_text() == "readings"


def test_outputs_beside_an_input_are_fine(readings: Path) -> None:
    outputs = ["data/sensors.csv.png", "data/new.csv", "data/map*.png", "data", "nowhere/x.csv", "other*.csv"]
    require_apart(outputs, [readings, "data", "nowhere", ""], "--output")
    require_apart(outputs, [], "--output")


_KILLED_WRITER = """
import os, signal, sys
from dcrnn_fast.files import write_bytes
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
write_bytes(sys.argv[1], b"half")
"""


def test_a_killed_writer_that_its_parent_has_not_waited_for_is_dead(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as writer:
        left = tmp_path / f"a.csv.tmp-{writer.pid}"
        left.touch()
        clear_leftovers(tmp_path, ["a.csv"])
        assert left.exists(), "it lives"
        writer.kill()
        os.waitid(os.P_PID, writer.pid, os.WEXITED | os.WNOWAIT)
        clear_leftovers(tmp_path, ["a.csv"])
        assert not left.exists()


def test_what_a_killed_writer_left_is_cleared_and_nothing_else(tmp_path: Path) -> None:
    for name in ("horizons.png", "notes.txt"):
        run = subprocess.run([sys.executable, "-c", _KILLED_WRITER, str(tmp_path / name)], cwd=ROOT, check=False)
        assert run.returncode == -9
    (left,) = tmp_path.glob("horizons.png.tmp-*")
    host, dead = left.name.rpartition("tmp-")[2].split("-")
    living = os.getppid()
    kept = {
        f"horizons.png.tmp-{host}-{living}",
        f"horizons.png.tmp-{living}",
        f"horizons.png.tmp-{'0' * 8}-{dead}",  # of another machine
        f"mine.png.tmp-{dead}",
        f"horizons.pngtmp-{dead}",
        "horizons.png.tmp-mine",
        "horizons.png",
        *(path.name for path in tmp_path.glob("notes.txt*")),
    }
    for name in (*kept, f"horizons_a.png.tmp-{dead}", f".writable-{dead}", f".writable-{host}-{dead}"):
        (tmp_path / name).touch()
    clear_leftovers(tmp_path, ["horizons*.png", "report.txt"])
    assert set(os.listdir(tmp_path)) == kept
    clear_leftovers(tmp_path / "nowhere", ["x"])
