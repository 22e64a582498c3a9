"""Checkpoints: what is written comes back, whatever happens meanwhile."""

import hashlib
import io
import json
import os
import pickle
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from dcrnn_fast import files
from dcrnn_fast.checkpoints.find import newest_good, read_good
from dcrnn_fast.checkpoints.read import load_checkpoint, read_checkpoint
from dcrnn_fast.checkpoints.save import save_checkpoint
from dcrnn_fast.errors import UserError


def make_state(step: int, size: int = 1000) -> dict:
    return {
        "format": 1,
        "version": "0",
        "config": {"training": {"milestones": [20, 30]}},
        "model": {"weight": torch.arange(size, dtype=torch.float32) + step},
        "graph": {"values": np.arange(3.0), "indices": np.arange(3, dtype=np.int32), "ids": ("a", "b")},
        "window_format": {"past_steps": 12},
        "scaler": {"mean": [1.5], "std": [np.float64(2.5)]},
        "training": {
            "step": step,
            "epoch": 0,
            "position": 0,
            "history": [],
            "python": random.getstate(),
            "numpy": np.random.get_state(),
        },
    }


def flip_bit(path: Path, where: float = 0.5) -> None:
    payload = bytearray(path.read_bytes())
    payload[int(len(payload) * where)] ^= 4
    path.write_bytes(payload)


def test_state_comes_back_with_its_types(tmp_path):
    state = make_state(3)
    state["model"]["view"] = torch.arange(1_000_000.0)[:2]
    path = save_checkpoint(tmp_path, state, "latest.pt")
    back = load_checkpoint(path)
    assert torch.equal(back["model"]["weight"], state["model"]["weight"])
    assert np.asarray(back["graph"]["indices"]).dtype == np.int32
    assert back["graph"]["ids"] == ("a", "b")
    assert back["scaler"]["std"] == [2.5]
    assert back["training"]["python"] == state["training"]["python"]
    assert np.array_equal(np.asarray(back["training"]["numpy"][1]), state["training"]["numpy"][1])
    assert path.stat().st_size < 40_000, "a view must not drag its storage along"
    assert read_checkpoint(path).notes == ()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest.pt", "manifest.json"]


def test_several_names_cost_one_serialisation_and_latest_is_written_last(tmp_path, monkeypatch):
    saved, renamed = [], []
    save, replace = torch.save, os.replace
    monkeypatch.setattr(torch, "save", lambda *args: (saved.append(args), save(*args)))
    monkeypatch.setattr(os, "replace", lambda a, b: (renamed.append(Path(b).name), replace(a, b)))
    assert save_checkpoint(tmp_path, make_state(3), "best.pt", "epoch_0001.pt", "latest.pt") == tmp_path / "latest.pt"
    assert len(saved) == 1
    assert renamed == ["manifest.json", "best.pt", "epoch_0001.pt", "latest.pt"]
    for name in renamed[1:4]:
        assert load_checkpoint(tmp_path / name)["training"]["step"] == 3


def test_a_flipped_bit_is_noticed_and_the_other_good_one_is_used(tmp_path):
    save_checkpoint(tmp_path, make_state(5), "best.pt")
    save_checkpoint(tmp_path, make_state(7), "epoch_0010.pt")
    latest = save_checkpoint(tmp_path, make_state(9), "latest.pt")
    assert newest_good(tmp_path).state["training"]["step"] == 9
    flip_bit(latest)
    torch.load(latest, weights_only=True)  # torch itself loads it without a word
    with pytest.raises(UserError, match=r"latest\.pt is damaged"):
        load_checkpoint(latest)
    found = newest_good(tmp_path)
    assert found.path.name == "epoch_0010.pt"
    assert len(found.notes) == 1
    assert "latest.pt is damaged" in found.notes[0]
    found = read_good(latest)
    assert found.path.name == "epoch_0010.pt"
    assert "latest.pt is damaged" in found.notes[0]
    flip_bit(tmp_path / "best.pt")
    flip_bit(tmp_path / "epoch_0010.pt")
    with pytest.raises(UserError, match=r"no checkpoint of .* can be used"):
        newest_good(tmp_path)
    with pytest.raises(UserError, match=r"^checkpoint \S+latest\.pt is damaged.*; beside it, no checkpoint of "):
        read_good(latest)


def test_nothing_stands_in_for_a_whole_file_that_is_wrong(tmp_path):
    save_checkpoint(tmp_path, make_state(5), "best.pt")
    torch.save({"format": 2}, tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"^checkpoint \S+other\.pt is not a checkpoint of dcrnn_fast"):
        read_good(tmp_path / "other.pt")


def test_without_a_manifest_the_files_own_checksums_decide(tmp_path):
    path = save_checkpoint(tmp_path, make_state(1), "model.pt")
    (tmp_path / "manifest.json").unlink()
    assert "no entry" in read_checkpoint(path).notes[0]
    flip_bit(path)
    with pytest.raises(UserError, match="damaged"):
        load_checkpoint(path)


@pytest.mark.parametrize("keep", [0, 10, 2000])
@pytest.mark.parametrize("manifest", [True, False])
def test_truncated_files_are_refused(tmp_path, keep, manifest):
    path = save_checkpoint(tmp_path, make_state(1), "latest.pt")
    if not manifest:
        (tmp_path / "manifest.json").unlink()
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError) as error:
        load_checkpoint(path)
    assert "\n" not in str(error.value)
    assert "latest.pt" in str(error.value)


class Payload:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def test_nothing_in_a_checkpoint_can_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({**make_state(0), "model": Payload()}, tmp_path / "evil.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Payload()))
    for name in ("evil.pt", "plain.pt"):
        with pytest.raises(UserError):
            load_checkpoint(tmp_path / name)
    assert not (tmp_path / "pwned").exists()


def test_other_files_are_named(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        load_checkpoint(tmp_path / "none.pt")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="it lacks format"):
        load_checkpoint(tmp_path / "other.pt")
    save_checkpoint(tmp_path, make_state(0) | {"format": 99}, "future.pt")
    with pytest.raises(UserError, match="format 99"):
        load_checkpoint(tmp_path / "future.pt")
    with zipfile.ZipFile(tmp_path / "zip.pt", "w") as archive:
        archive.writestr("x", "y")
    with pytest.raises(UserError, match="not a checkpoint"):
        load_checkpoint(tmp_path / "zip.pt")


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it runs."""


@pytest.mark.parametrize("names", [("latest.pt",), ("best.pt", "latest.pt")], ids=len)
def test_a_kill_between_any_two_file_operations_leaves_a_loadable_checkpoint(tmp_path, monkeypatch, names):
    operations = {"count": 0, "kill_at": -1, "dead": False}

    def mortal(real):
        def call(*args, **kwargs):
            if operations["dead"]:
                raise Killed
            if operations["count"] == operations["kill_at"]:
                operations["dead"] = True
                raise Killed
            operations["count"] += 1
            return real(*args, **kwargs)

        return call

    real_unlink, real_open = Path.unlink, open
    monkeypatch.setattr(os, "replace", mortal(os.replace))
    monkeypatch.setattr(os, "fsync", mortal(os.fsync))
    monkeypatch.setattr(files, "open", mortal(real_open), raising=False)
    monkeypatch.setattr(Path, "unlink", mortal(real_unlink))

    def save_and_die(folder: Path, step: int, kill_at: int) -> bool:
        operations.update(count=0, kill_at=kill_at, dead=False)
        try:
            save_checkpoint(folder, make_state(step), *names)
        except Killed:
            return True
        finally:
            operations.update(count=0, kill_at=-1, dead=False)
        return False

    seen = set()
    kill_at = 0
    while True:
        folder = tmp_path / str(kill_at)
        folder.mkdir()
        save_checkpoint(folder, make_state(1), *names)
        died = save_and_die(folder, 2, kill_at)
        found = newest_good(folder)
        assert found.notes == (), (kill_at, found.notes)
        seen.add(found.state["training"]["step"])
        for name in names:
            assert read_checkpoint(folder / name).notes == ()
        # A second crash on top of the first, then a save that succeeds.
        save_and_die(folder, 3, kill_at)
        assert newest_good(folder).notes == ()
        save_checkpoint(folder, make_state(4), *names)
        for name in names:
            assert load_checkpoint(folder / name)["training"]["step"] == 4
            newest = json.loads((folder / "manifest.json").read_text())[name][-1]
            assert newest == hashlib.sha256((folder / name).read_bytes()).hexdigest()
        if not died:
            break
        kill_at += 1
    assert seen == {1, 2}
    assert kill_at >= 7


def test_disk_full_keeps_the_old_checkpoint_and_leaves_no_temporary_file(small_disk):
    save_checkpoint(small_disk, make_state(1, size=600_000), "latest.pt")
    with pytest.raises(UserError, match="No space left on device"):
        save_checkpoint(small_disk, make_state(2, size=700_000), "latest.pt")
    assert newest_good(small_disk).state["training"]["step"] == 1
    assert sorted(p.name for p in small_disk.iterdir()) == ["latest.pt", "manifest.json"]


def test_what_cannot_be_stored_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(TypeError, match="BytesIO"):
        save_checkpoint(tmp_path, make_state(0) | {"model": io.BytesIO()}, "latest.pt")
    with pytest.raises(ValueError, match="lacks"):
        save_checkpoint(tmp_path, {"format": 1}, "latest.pt")
    assert list(tmp_path.iterdir()) == []


PICKLES = {
    "cut": b"\x80\x02}q\x00(X\x06\x00",
    "empty": b"",
    "no mark": b"\x80\x02\x87.",
    "an id that is a number": b"\x80\x02K\x05Q.",
    "a text of 4 GB": b"\x80\x02X\xff\xff\xff\xff.",
    "bytes of 2 GB": b"\x80\x02T\xff\xff\xff\x7f.",
    "a memo that is not there": b"\x80\x02h\x07.",
    "an OrderedDict of a number": b"\x80\x02ccollections\nOrderedDict\nK\x05\x85R.",
    "a tensor of nothing": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.",
    "a tensor of numbers": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x02K\x03K\x04K\x05K\x06tR.",
    "a number": b"\x80\x02K\x05.",
    "nested": b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b".",
    "another protocol": b"\x80\x7fK\x05.",
    "unknown": b"\x80\x02\xff.",
    "text that is no UTF-8": b"\x80\x02X\x02\x00\x00\x00\xff\xff.",
}


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("pickled", PICKLES.values(), ids=PICKLES)
def test_garbled_pickles_are_one_line(tmp_path, pickled, listed):
    """Whole archives, with the right checksums, whose ``data.pkl`` is not what torch writes."""
    path = save_checkpoint(tmp_path, make_state(1), "latest.pt")
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(buffer, "w") as changed:
        for part in archive.infolist():
            changed.writestr(part.filename, pickled if part.filename.endswith("data.pkl") else archive.read(part))
    path.write_bytes(buffer.getvalue())
    (tmp_path / "manifest.json").unlink()
    if listed:
        listing = {"latest.pt": [hashlib.sha256(buffer.getvalue()).hexdigest()]}
        (tmp_path / "manifest.json").write_text(json.dumps(listing))
    with pytest.raises(UserError, match=r"checkpoint \S+latest\.pt ") as error:
        load_checkpoint(path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("listed", [True, False])
def test_parts_that_claim_more_than_the_file_are_not_opened(tmp_path, listed):
    """Ten million zeros compressed to ten kilobytes; torch would allocate what they claim."""
    path = save_checkpoint(tmp_path, make_state(1), "latest.pt")
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as changed:
        for part in archive.infolist():
            changed.writestr(part.filename, bytes(10**7) if "data/" in part.filename else archive.read(part))
    path.write_bytes(buffer.getvalue())
    assert path.stat().st_size < 10**6
    (tmp_path / "manifest.json").unlink()
    if listed:
        listing = {"latest.pt": [hashlib.sha256(buffer.getvalue()).hexdigest()]}
        (tmp_path / "manifest.json").write_text(json.dumps(listing))
    with pytest.raises(UserError, match=r"its parts claim \d{8,} bytes, the file has \d{4,6}$"):
        load_checkpoint(path)
