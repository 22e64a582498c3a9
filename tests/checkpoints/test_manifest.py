"""``manifest.json``: of a run, of another run, of another program; and file and manifest while a run replaces both."""

import contextlib
import json
import os
import random
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dcrnn_fast.checkpoints import read as reading
from dcrnn_fast.checkpoints import save as saving
from dcrnn_fast.checkpoints.find import newest_good, read_good
from dcrnn_fast.checkpoints.manifest import MANIFEST, read_manifest, require_own_manifest
from dcrnn_fast.checkpoints.read import DamagedError, read_checkpoint
from dcrnn_fast.checkpoints.save import save_checkpoint
from dcrnn_fast.errors import UserError
from tests.checkpoints.test_checkpoint import flip_bit, make_state


def step_of(folder: Path) -> int:
    return read_checkpoint(folder / "latest.pt").state["training"]["step"]


ODD = {
    "another program's": '{"name": "My app", "icons": [{"src": "a.png"}], "start_url": "/"}',
    "a number": '{"latest.pt": 5}',
    "a flag": '{"latest.pt": true}',
    "no hash": '{"latest.pt": ["abc"]}',
    "a list": "[]",
    "deep": "[" * 100_000,
    "broken": "{",
    "empty": "",
    "bytes": "\x00\x01",
    "digits": "9" * 5000,
}


@pytest.mark.parametrize("content", ODD.values(), ids=ODD)
def test_a_manifest_that_is_not_ours_hides_no_checkpoint_and_is_never_replaced(tmp_path: Path, content: str) -> None:
    path = save_checkpoint(tmp_path, make_state(1), "latest.pt")
    (tmp_path / MANIFEST).write_text(content)
    (note,) = read_checkpoint(path).notes
    assert "manifest.json is no manifest of checkpoints" in note
    assert newest_good(tmp_path) is not None
    flip_bit(path)
    with pytest.raises(DamagedError):
        read_checkpoint(path)
    for write in (
        lambda: require_own_manifest(tmp_path),
        lambda: save_checkpoint(tmp_path, make_state(2), "latest.pt"),
    ):
        with pytest.raises(
            UserError, match=r"manifest\.json is no manifest .* never replaced: move it or remove it, or"
        ):
            write()
    assert (tmp_path / MANIFEST).read_text() == content
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest.pt", MANIFEST]


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_a_manifest_that_is_no_file_is_named(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = save_checkpoint(tmp_path, make_state(1), "latest.pt")
    (tmp_path / MANIFEST).unlink()
    make(tmp_path / MANIFEST)
    assert "cannot be read" in read_checkpoint(path).notes[0]
    with pytest.raises(UserError, match="never replaced"):
        save_checkpoint(tmp_path, make_state(2), "latest.pt")


def test_a_checkpoint_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "latest.pt")
    for read in (read_checkpoint, read_good):
        with pytest.raises(UserError, match=r"latest\.pt cannot be read: not a regular file"):
            read(tmp_path / "latest.pt")


def test_the_manifest_of_another_run_is_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_LATE", (0.01,))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_checkpoint(tmp_path / name, make_state(ord(name)), "best.pt", "latest.pt")
    shutil.copy(tmp_path / "b" / MANIFEST, tmp_path / "a")
    with pytest.raises(
        UserError, match=r"manifest\.json is of another run: .*; .* remove manifest\.json and it is used"
    ):
        read_checkpoint(tmp_path / "a" / "latest.pt")
    with pytest.raises(UserError, match="remove manifest") as error:
        newest_good(tmp_path / "a")
    assert not isinstance(error.value, DamagedError), "a fresh start must not take its place"
    monkeypatch.setattr(reading, "_LATE", (60.0,))
    for path in (tmp_path / "a").iterdir():
        os.utime(path, (1e9, 1e9))  # nobody replaces it now: nothing is waited for
    with pytest.raises(UserError, match="remove manifest"):
        read_checkpoint(tmp_path / "a" / "latest.pt")
    (tmp_path / "a" / MANIFEST).unlink()
    assert step_of(tmp_path / "a") == ord("a")


def test_all_damaged_is_told_apart_from_files_that_are_whole(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, make_state(1), "latest.pt")
    flip_bit(path)
    with pytest.raises(DamagedError, match="can be used"):
        newest_good(tmp_path)
    (tmp_path / "mine.pt").write_text("hello")
    with pytest.raises(DamagedError, match="truncated or no checkpoint"):
        read_checkpoint(tmp_path / "mine.pt")


def test_readers_beside_a_run_that_saves_see_whole_files_only(tmp_path: Path) -> None:
    """Two readers; the run replaces the file as often as it can."""
    states = [make_state(step, size=300_000) for step in range(2)]
    save_checkpoint(tmp_path, states[0], "best.pt", "latest.pt")
    end = time.monotonic() + 1.5
    wrong: list[str] = []
    reads = [0, 0]

    def read(reader: int) -> None:
        while time.monotonic() < end:
            for found in (newest_good(tmp_path), read_good(tmp_path / "latest.pt"), read_good(tmp_path / "best.pt")):
                assert found is not None
                wrong.extend(found.notes)
                reads[reader] += 1

    readers = [threading.Thread(target=read, args=(number,)) for number in range(2)]
    for reader in readers:
        reader.start()
    saves = 0
    while any(reader.is_alive() for reader in readers):
        saves += 1
        save_checkpoint(tmp_path, states[saves % 2], "best.pt", "latest.pt")
    assert wrong == []
    assert min(reads) > 5
    assert saves > 5
    assert all(len(listed) <= 33 for listed in read_manifest(tmp_path).values())


def test_a_reader_that_the_run_overtakes_reads_the_file_that_it_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening and reading the file, the run replaces file and manifest three times."""
    save_checkpoint(tmp_path, make_state(1), "latest.pt")
    beside = reading._manifest_beside

    def overtaken(path: Path) -> tuple[dict[str, list[str]], str]:
        for step in (2, 3, 4):
            save_checkpoint(tmp_path, make_state(step), "latest.pt")
        return beside(path)

    monkeypatch.setattr(reading, "_manifest_beside", overtaken)
    assert step_of(tmp_path) == 1


@pytest.mark.parametrize("late", ["latest.pt", MANIFEST])
@pytest.mark.parametrize("saves", [1, 3])
def test_a_network_file_system_shows_one_of_the_two_late(tmp_path: Path, late: str, saves: int) -> None:
    """The other is already the new one; the late one comes half a second later."""
    server = tmp_path / "server"
    server.mkdir()
    save_checkpoint(server, make_state(1), "latest.pt")
    client = tmp_path / "client"
    shutil.copytree(server, client)
    for step in range(saves):
        save_checkpoint(server, make_state(2 + step), "latest.pt")
    for name in {"latest.pt", MANIFEST} - {late}:
        shutil.copy(server / name, client)
    arrives = threading.Timer(0.4, lambda: os.replace(shutil.copy(server / late, tmp_path / "new"), client / late))
    arrives.start()
    found = read_checkpoint(client / "latest.pt")
    arrives.join()
    assert found.notes == ()
    assert found.state["training"]["step"] == (1 if late == "latest.pt" else 1 + saves)


def test_a_file_that_is_gone_after_it_was_opened_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network file system says ESTALE for a file that another machine has replaced."""
    save_checkpoint(tmp_path, make_state(1), "latest.pt")
    real, calls = reading.open_regular, []

    def stale(path: Path) -> object:
        calls.append(path)
        if len(calls) == 1:
            raise OSError(116, "Stale file handle")
        return real(path)

    monkeypatch.setattr(reading, "open_regular", stale)
    assert step_of(tmp_path) == 1
    monkeypatch.setattr(reading, "open_regular", lambda path: (_ for _ in ()).throw(OSError(116, "Stale file handle")))
    with pytest.raises(UserError, match="cannot be read: Stale file handle"):
        read_checkpoint(tmp_path / "latest.pt")


def test_saves_that_fail_drop_no_file_from_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty saves whose file could not be written leave the old file listed."""
    save_checkpoint(tmp_path, make_state(1), "latest.pt")
    real = saving.write_bytes
    monkeypatch.setattr(saving, "write_bytes", lambda *_: (_ for _ in ()).throw(UserError("disk full")))
    for step in range(40):
        with pytest.raises(UserError, match="disk full"):
            save_checkpoint(tmp_path, make_state(step), "latest.pt")
    assert read_checkpoint(tmp_path / "latest.pt").notes == ()
    monkeypatch.setattr(saving, "write_bytes", real)
    save_checkpoint(tmp_path, make_state(2), "latest.pt")
    assert step_of(tmp_path) == 2
    assert len(json.loads((tmp_path / MANIFEST).read_text())["latest.pt"]) == 16


@pytest.mark.parametrize("seed", range(8))
def test_a_flipped_bit_anywhere_is_a_damage_without_a_manifest_too(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in the list of parts at the file's end, which has no checksum."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # nobody replaces the file
    path = save_checkpoint(tmp_path, make_state(1), "latest.pt")
    whole = path.read_bytes()
    (tmp_path / MANIFEST).unlink()
    draw = random.Random(seed)
    for _ in range(20):
        content = bytearray(whole)
        content[-1 - draw.randrange(2000)] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        with contextlib.suppress(DamagedError):
            newest_good(tmp_path)
