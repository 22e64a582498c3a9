"""Checkpoints written in the background: true copies, in order, one at most behind, and whole whenever a kill comes."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dcrnn_fast.checkpoints.find import newest_good
from dcrnn_fast.checkpoints.manifest import read_manifest
from dcrnn_fast.checkpoints.read import load_checkpoint
from dcrnn_fast.checkpoints.save import save_checkpoint
from dcrnn_fast.checkpoints.writer import Writer
from dcrnn_fast.errors import UserError
from dcrnn_fast.records.lock import LOCK, FolderLock, Holder
from tests.checkpoints.test_checkpoint import make_state

NAMES = ("latest.pt", "best.pt")


def step_in(path: Path) -> int:
    return load_checkpoint(path)["training"]["step"]


@pytest.fixture
def writer(tmp_path: Path):
    with contextlib.closing(Writer(tmp_path)) as made:
        yield made


def test_what_is_written_is_the_state_of_the_moment_however_training_goes_on(tmp_path: Path, writer: Writer) -> None:
    for step in (1, 2):  # the second one in the memory of the first
        state = make_state(step, size=4_000_000)
        writer.put(state, NAMES)
        state["model"]["weight"].zero_()
        state["graph"]["values"][:] = 9
        assert writer.finished(wait=True)
        for name in NAMES:
            back = load_checkpoint(tmp_path / name)
            assert torch.equal(back["model"]["weight"], torch.arange(4_000_000.0) + step)
            assert back["graph"]["values"].tolist() == [0, 1, 2]


def test_the_memory_of_one_copy_is_used_again(tmp_path: Path, writer: Writer) -> None:
    addresses = set()
    for step in range(3):
        writer.put(make_state(step), NAMES)
        addresses.add(writer._copy["model"]["weight"].data_ptr())
    assert len(addresses) == 1
    writer.put(make_state(4, size=7), NAMES)  # of another shape: another place
    assert writer.finished(wait=True)
    assert load_checkpoint(tmp_path / "best.pt")["model"]["weight"].shape == (7,)


def test_a_save_is_finished_once_and_not_before_its_files_are_there(tmp_path: Path) -> None:
    go_on = threading.Event()
    with contextlib.closing(Writer(tmp_path, lambda: assert_true(go_on.wait(60)))) as writer:
        assert not writer.finished(wait=True)
        writer.put(make_state(1), NAMES)
        time.sleep(0.05)
        assert not writer.finished()
        assert not list(tmp_path.glob("*.pt"))
        go_on.set()
        assert writer.finished(wait=True)
        assert [step_in(tmp_path / name) for name in NAMES] == [1, 1]
        assert not writer.finished(wait=True)


def assert_true(value: bool) -> None:
    assert value


def test_at_most_one_is_behind_and_the_order_is_kept(tmp_path: Path) -> None:
    go_on = threading.Event()
    with contextlib.closing(Writer(tmp_path, lambda: assert_true(go_on.wait(60)))) as writer:
        writer.put(make_state(1), NAMES)
        second = threading.Thread(target=writer.put, args=(make_state(2), ("latest.pt",)))
        second.start()
        second.join(0.1)
        assert second.is_alive()
        go_on.set()
        second.join()
        assert step_in(tmp_path / "best.pt") == 1
        writer.finished(wait=True)
    assert (step_in(tmp_path / "latest.pt"), step_in(tmp_path / "best.pt")) == (2, 1)
    assert [len(listed) for listed in read_manifest(tmp_path).values()] == [1, 2]


def test_an_error_is_raised_once_and_the_older_files_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.closing(Writer(tmp_path)) as writer:
        writer.put(make_state(1), NAMES)
        assert writer.finished(wait=True)
        with monkeypatch.context() as broken:
            broken.setattr(os, "fsync", full_disk)
            writer.put(make_state(2), NAMES)
            with pytest.raises(UserError, match="No space left on device"):
                writer.finished(wait=True)
        assert not writer.finished(wait=True)
        assert [step_in(tmp_path / name) for name in NAMES] == [1, 1]
        writer.put(make_state(3), NAMES)
        assert writer.finished(wait=True)
    assert [step_in(tmp_path / name) for name in NAMES] == [3, 3]


def full_disk(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_folder_that_another_run_takes_while_bytes_are_synced_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, make_state(1), *NAMES)
    listed = read_manifest(tmp_path)
    sync = os.fsync

    def taken_meanwhile(descriptor: int) -> None:
        sync(descriptor)
        (tmp_path / LOCK).write_bytes(Holder().to_bytes())

    with contextlib.closing(FolderLock()) as lock:
        lock.take({"--results": tmp_path}, print)
        with contextlib.closing(Writer(tmp_path, lock.require_held)) as writer:
            monkeypatch.setattr(os, "fsync", taken_meanwhile)
            writer.put(make_state(2), NAMES)
            with pytest.raises(UserError, match="took this run for dead: stopped"):
                writer.finished(wait=True)
    assert [step_in(tmp_path / name) for name in NAMES] == [1, 1]
    assert read_manifest(tmp_path) == listed


@pytest.mark.parametrize(("renames", "steps"), [(0, [1, 1]), (1, [1, 1]), (2, [2, 1]), (3, [2, 2])])
def test_kill_9_before_a_rename_leaves_whole_files(tmp_path: Path, renames: int, steps: list[int]) -> None:
    """manifest, latest.pt, best.pt: killed before the first, the second, the third, and after all."""
    save_checkpoint(tmp_path, make_state(1), *NAMES)

    def second_save() -> None:
        left = iter(range(renames))
        writer = Writer(tmp_path, lambda: None if next(left, None) is not None else os.kill(os.getpid(), 9))
        writer.put(make_state(2), NAMES)
        writer.finished(wait=True)

    assert ended(second_save) == (signal.SIGKILL if renames < 3 else 0)
    assert [step_in(tmp_path / name) for name in NAMES] == steps
    assert newest_good(tmp_path).notes == ()


def test_kill_9_at_any_moment_leaves_the_last_finished_save_or_a_later_one(tmp_path: Path) -> None:
    told = tmp_path / "told"
    for number in range(8):
        with open(told, "w"):
            pass
        killed = os.fork()
        if killed == 0:
            write_on(tmp_path, told, first=100 * number)
        deadline = time.monotonic() + 60
        while not told.read_text().strip():
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(0.003 * number)
        os.kill(killed, signal.SIGKILL)
        os.waitpid(killed, 0)
        finished = int(told.read_text().split("\n")[-2])
        found = newest_good(tmp_path)
        assert found.notes == ()
        assert finished <= found.state["training"]["step"] <= finished + 2
        assert torch.equal(found.state["model"]["weight"][:2] - found.state["training"]["step"], torch.arange(2.0))


def write_on(folder: Path, told: Path, first: int) -> None:
    try:
        writer = Writer(folder)
        with open(told, "a") as lines:
            for step in range(first, first + 90):
                writer.put(make_state(step, size=500_000), NAMES)
                if step > first:
                    lines.write(f"{step - 1}\n")  # the next one was taken: this one is finished
                    lines.flush()
    finally:
        os._exit(1)


def ended(body: Callable[[], None]) -> int:
    """Runs ``body`` in a process of its own: 0, or the signal that ended it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            body()
            code = 0
        finally:
            os._exit(code)
    return -os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_older_files_are_deleted_before_they_leave_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: Writer
) -> None:
    save_checkpoint(tmp_path, make_state(1), "epoch_0001.pt", "epoch_0002.pt")
    unlink = Path.unlink

    def killed(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok=missing_ok)
        if path.name == "epoch_0001.pt":
            raise OSError(5, "the machine stops here")

    with monkeypatch.context() as broken:
        broken.setattr(Path, "unlink", killed)
        writer.put(make_state(3), ("latest.pt",), delete=("epoch_0001.pt",))
        with pytest.raises(UserError, match=r"cannot delete .*epoch_0001\.pt"):
            writer.finished(wait=True)
    assert "epoch_0001.pt" in read_manifest(tmp_path)
    writer.put(make_state(4), ("latest.pt",), delete=("epoch_0001.pt", "epoch_0002.pt"))
    assert writer.finished(wait=True)
    assert sorted(read_manifest(tmp_path)) == ["latest.pt"]
    assert [path.name for path in tmp_path.glob("*.pt")] == ["latest.pt"]
