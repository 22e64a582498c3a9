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
    folder_for_new_files,
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
