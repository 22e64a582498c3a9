"""The prepared store and its command: what goes in comes out, read as it is needed, and damage is noticed."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data import known
from dcrnn_fast.data.city import synthetic_city
from dcrnn_fast.data.opening import open_data
from dcrnn_fast.data.pieces import row_pieces
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.store import Block, open_store, verify_store, write_store
from dcrnn_fast.data.store_manifest import digest_of
from dcrnn_fast.data.stored import StoredArray
from dcrnn_fast.data.times import count_from
from dcrnn_fast.errors import UserError
from dcrnn_fast.prepare import main
from tests.data.made_series import TOY_CSV, random_series, ring

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def store(tmp_path: Path) -> tuple[Path, SensorSeries]:
    series = random_series(60, 3, 2, gaps=(30,))
    write_store(tmp_path / "store", series, ring(series))
    return tmp_path / "store", series


def test_what_goes_in_comes_out(store: tuple[Path, SensorSeries]) -> None:
    folder, series = store
    opened, graph = open_store(folder)
    assert isinstance(opened.values_TNC, StoredArray)
    assert graph is not None
    assert graph.digest() == ring(series).digest()
    for name in ("values_TNC", "observed_TNC", "times_T"):
        np.testing.assert_array_equal(getattr(opened, name), getattr(series, name))
    for name in ("ids", "channels", "units", "interval", "segments", "parts", "missing"):
        assert getattr(opened, name) == getattr(series, name)
    assert "1 gap" in opened.notes[0]
    assert set(verify_store(folder)) == {"values.npy", "observed.npy", "times.npy", "graph.npz"}


def test_windows_of_the_store_are_those_of_the_source(tmp_path: Path) -> None:
    settings = {"city_nodes": 12, "city_days": 2}
    city = open_data(DataConfig(**settings), GraphConfig())  # type: ignore[arg-type]
    assert main(["--city-nodes", "12", "--city-days", "2", "--output", str(tmp_path / "s")]) == 0
    prepared = open_data(DataConfig(data=str(tmp_path / "s")), GraphConfig())
    assert prepared.scaler == city.scaler
    assert prepared.graph.digest() == city.graph.digest()
    starts = city.train.starts_W[[0, 50, 100]]
    np.testing.assert_array_equal(prepared.gather(starts).x_BPNC, city.gather(starts).x_BPNC)
    assert prepared.window_format == city.window_format


def test_the_city_is_written_day_by_day_as_it_is_in_memory(tmp_path: Path) -> None:
    city, graph = synthetic_city(nodes=12, days=3, seed=4)
    chosen = (*city.ids[:2], *city.ids[3:11])
    flags = ["--city-nodes", "12", "--city-days", "3", "--city-seed", "4", "--leave-out", city.ids[2], city.ids[11]]
    assert main([*flags, "--output", str(tmp_path / "some")]) == 0
    assert main([*flags[:6], "--output", str(tmp_path / "all")]) == 0
    for name, series, wanted in (("all", city, graph), ("some", city.take_sensors(chosen), graph.take(list(chosen)))):
        opened, prepared = open_store(tmp_path / name)
        assert prepared is not None
        assert prepared.digest() == wanted.digest()
        for part in ("values_TNC", "observed_TNC", "times_T", "positions_N2"):
            np.testing.assert_array_equal(getattr(opened, part), getattr(series, part))
        for part in ("ids", "channels", "units", "interval", "segments", "parts", "missing", "in_utc", "zone"):
            assert getattr(opened, part) == getattr(series, part)


@pytest.mark.parametrize("fault", ["too-few", "too-many", "other-sensors", "other-type", "an-error"])
def test_blocks_that_are_not_the_series_leave_no_store(fault: str, tmp_path: Path) -> None:
    series = random_series(60, 3)

    def blocks() -> Iterator[Block]:
        values_TNC, observed_TNC = np.asarray(series.values_TNC), np.asarray(series.observed_TNC)
        yield values_TNC[:30], observed_TNC[:30]
        if fault == "too-many":
            yield values_TNC[:31], observed_TNC[:31]
        elif fault == "other-sensors":
            yield values_TNC[30:, :2], observed_TNC[30:, :2]
        elif fault == "other-type":
            yield values_TNC[30:].astype(np.float64), observed_TNC[30:]
        elif fault == "an-error":
            raise UserError("a sensor is silent")

    with pytest.raises(ValueError, match=r"wanted, got|is silent"):
        write_store(tmp_path / "store", series, None, blocks())
    assert not (tmp_path / "store").exists()
    write_store(tmp_path / "store", random_series(50), None)
    with pytest.raises(ValueError, match=r"wanted, got|is silent"):
        write_store(tmp_path / "store", series, None, blocks())
    assert open_store(tmp_path / "store")[0].num_steps == 50


def _sign(folder: Path, **changed: Any) -> None:
    """Other parts in a manifest, whose checksum is right."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text()) | changed
    manifest["sha256"] = digest_of(manifest)
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("part", "value", "says"),
    [
        ("format", True, "not a finished store of format 1"),
        ("missing", "foo", "missing must be one of zero, nan, none, got 'foo'"),
        ("missing", [], "missing must be one of"),
        ("channels", "c0", "channels must be different texts"),
        ("channels", [], "channels must be different texts"),
        ("channels", ["c0", "c0"], "channels must be different texts"),
        ("ids", ["s0", "s1"], "ids must be 3, got 2"),
        ("ids", ["s0", "s1", "\ud800"], "ids must be different texts"),
        ("units", [None, ""], "units must be texts"),
        ("shape", [60, 3, 10**12], "channels must be 1000000000000, got 2"),
        ("shape", [10**12, 3, 2], "segments must be the rows 0 to 1000000000000"),
        ("shape", [60, True, 2], "shape must be three positive whole numbers"),
        ("freq", "99999999999999999999D", "freq must be an interval"),
        ("freq", "10min", "its times do not rise by 10min"),
        ("segments", [[0, 10**9]], "segments must be the rows 0 to 60"),
        ("segments", [[0, 60]], "its times do not rise"),
        ("segments", [[0, 30], [30, 30], [30, 60]], "segments must be pairs of rows"),
        ("parts", [], "parts must be the rows 0 to 60"),
        ("parts", [[-5, 3]], "parts must be pairs of rows"),
        ("parts", [[0, 10], [10, 60]], "a part begins within a segment"),
        ("positions", [[float("nan"), 0]] * 3, "positions must be pairs of degrees"),
        ("positions", [[10**400, 0]] * 3, "positions must be pairs of degrees"),
        ("positions", [[95, 0]] * 3, "is not on the globe"),
        ("in_utc", "yes", "in_utc must be true, false or null"),
        ("files", {}, "files must be values, observed, times"),
        ("files", {"../values.npy": {"bytes": 5, "sha256": "0" * 64}}, "files must be the bytes and sha256"),
    ],
)
def test_a_manifest_that_is_signed_and_wrong_is_one_line(
    part: str, value: object, says: str, store: tuple[Path, SensorSeries]
) -> None:
    _sign(store[0], **{part: value})
    with pytest.raises(UserError, match=re.escape(says)) as said:
        open_store(store[0])
    assert "\n" not in str(said.value)


def test_sizes_are_compared_before_anything_is_opened(store: tuple[Path, SensorSeries]) -> None:
    files = json.loads((store[0] / "manifest.json").read_text())["files"]
    files["values.npy"]["bytes"] = 4 * 60 * 3 * 2 - 1
    _sign(store[0], files=files)
    with pytest.raises(UserError, match=r"values\.npy must have 1440 bytes and a header, got 1439"):
        open_store(store[0])


@pytest.mark.parametrize("months", [False, True], ids=["scenarios", "months"])
def test_parts_and_months_come_out_again(months: bool, tmp_path: Path) -> None:
    series = random_series(40, gaps=(10, 30))
    series = replace(
        series, parts=((0, 10), (10, 40)), times_T=np.concatenate([series.times_T[:10], series.times_T[:30]])
    )
    series = replace(series, segments=((0, 10), (10, 20), (20, 40)))
    if months:
        month = np.timedelta64(1, "M")
        series = replace(random_series(40), interval=month, times_T=count_from(np.datetime64("2020-01-31"), month, 40))
    write_store(tmp_path / "store", series, None)
    opened, _ = open_store(tmp_path / "store")
    assert (opened.parts, opened.segments, opened.interval) == (series.parts, series.segments, series.interval)
    np.testing.assert_array_equal(opened.times_T, series.times_T)


def test_a_manifest_of_another_program_is_never_replaced(tmp_path: Path) -> None:
    for content in ('{"format": "zip", "name": "app"}', '{"format": 1}', "[]", "half of"):
        folder = tmp_path / "app"
        folder.mkdir(exist_ok=True)
        (folder / "manifest.json").write_text(content)
        (folder / "app.js").touch()
        with pytest.raises(UserError, match="is not empty and no prepared store"):
            write_store(folder, random_series(), None)
        assert (folder / "manifest.json").read_text() == content


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 3e38])
def test_readings_of_a_store_are_finite(number: float, store: tuple[Path, SensorSeries]) -> None:
    folder, _ = store
    values_TNC = np.load(folder / "values.npy")
    values_TNC[7] = number
    np.save(folder / "values.npy", values_TNC)
    content = (folder / "values.npy").read_bytes()
    files = json.loads((folder / "manifest.json").read_text())["files"]
    files["values.npy"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    _sign(folder, files=files)
    if number == 3e38:  # more of which are too large to add up
        assert open_store(folder)[0].num_steps == 60
        return
    with pytest.raises(UserError, match=r"values\.npy holds NaN or infinity: prepare the store again"):
        open_store(folder)


def test_a_manifest_that_is_a_pipe_is_not_waited_for(store: tuple[Path, SensorSeries]) -> None:
    folder, series = store
    (folder / "manifest.json").unlink()
    os.mkfifo(folder / "manifest.json")
    write_store(folder, series, None)
    assert open_store(folder)[0].num_steps == 60


def test_another_missing_rule_than_the_stores_is_refused(store: tuple[Path, SensorSeries]) -> None:
    assert open_data(DataConfig(data=str(store[0]), missing="zero"), GraphConfig()).window_format.missing == "zero"
    with pytest.raises(UserError, match="was made with missing = zero, got nan"):
        open_data(DataConfig(data=str(store[0]), missing="nan"), GraphConfig())


def test_a_stored_channel_stays_on_the_disk(store: tuple[Path, SensorSeries]) -> None:
    data = open_data(DataConfig(data=str(store[0]), variables=("c1",), past_steps=3, future_steps=2), GraphConfig())
    assert isinstance(data.series.values_TNC, StoredArray)
    np.testing.assert_array_equal(data.gather(np.array([4])).y_BFNO[0, :, :, 0], store[1].values_TNC[7:9, :, 1])


@pytest.mark.parametrize("name", ["values.npy", "observed.npy", "times.npy", "graph.npz", "manifest.json"])
def test_a_flipped_bit_or_a_cut_is_refused(name: str, store: tuple[Path, SensorSeries]) -> None:
    path = store[0] / name
    whole = path.read_bytes()
    for place in (len(whole) // 2, len(whole) - 2):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(UserError, match=name):
            open_store(store[0])
    path.write_bytes(whole[:-1])
    with pytest.raises(UserError, match=name):
        open_store(store[0])
    path.unlink()
    with pytest.raises(UserError, match=name):
        open_store(store[0])
    path.write_bytes(whole)
    open_store(store[0])


def test_large_files_are_hashed_by_verify_only(
    store: tuple[Path, SensorSeries], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dcrnn_fast.data.store._HASHED_AT_OPEN", 100)
    path = store[0] / "values.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    open_store(store[0])
    assert main(["--verify", str(store[0])]) == 2
    assert "values.npy: was changed since it was written" in capsys.readouterr().err


def test_a_full_disk_leaves_the_old_store_and_no_rest(small_disk: Path) -> None:
    folder = small_disk / "store"
    write_store(folder, random_series(1000), None)
    with pytest.raises(UserError, match=r"No space left on device for 5,600,000 bytes .* nothing there was changed"):
        write_store(folder, random_series(200_000, 4), None)
    assert open_store(folder)[0].num_steps == 1000
    assert {path.name for path in folder.iterdir()} == {"values.npy", "observed.npy", "times.npy", "manifest.json"}
    write_store(folder, random_series(2000), None)
    assert open_store(folder)[0].num_steps == 2000
    with pytest.raises(UserError, match=r"No space left on device .* nothing there was changed"):
        write_store(small_disk / "first", random_series(200_000, 4), None)
    assert not (small_disk / "first").exists()


@pytest.mark.parametrize("left", [0, 200_000, 1_900_000, 2_500_000], ids=["nothing", "a-block", "not-all", "no-times"])
def test_a_disk_that_fills_while_a_store_is_written_leaves_the_old_one(left: int, small_disk: Path) -> None:
    folder, large = small_disk / "store", random_series(100_000, 5)
    write_store(folder, random_series(1000), None)

    def blocks() -> Iterator[Block]:
        ballast = os.statvfs(small_disk).f_bavail * 4096 - left
        (small_disk / "ballast").write_bytes(bytes(ballast))
        for rows in row_pieces(large.values_TNC.shape, readings=50_000):
            yield large.values_TNC[rows], large.observed_TNC[rows]

    name = "times" if left == 2_500_000 else "values|observed"
    with pytest.raises(UserError, match=rf"({name})\.2\.npy: No space left on device; nothing there was changed"):
        write_store(folder, large, None, blocks())
    assert open_store(folder)[0].num_steps == 1000
    assert {path.name for path in folder.iterdir()} == {"values.npy", "observed.npy", "times.npy", "manifest.json"}


_KILLED = """
import os, signal, sys
from pathlib import Path
from dcrnn_fast.data.store import open_store, write_store
from dcrnn_fast.errors import UserError
from tests.data.made_series import random_series, ring

folder = Path(sys.argv[1])

def write(steps):
    write_store(folder, random_series(steps), ring(random_series(steps)))

def kill_in(step):
    left = [step]
    def counted(call):
        def instead(*arguments, **named):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **named)
        return instead
    for name in ("fsync", "replace", "unlink"):
        setattr(os, name, counted(getattr(os, name)))

written, found = int(sys.argv[2]), []
if written:
    write(written)
for step in range(100):
    child = os.fork()
    if child == 0:
        kill_in(step)
        write(50 + step)
        os._exit(0)
    finished = os.waitpid(child, 0)[1] == 0
    try:
        found.append(open_store(folder)[0].num_steps)
    except UserError:
        assert not written
    else:
        assert found[-1] in (written, 50 + step), found
        written = found[-1]
    if finished:
        assert found[-1] == 50 + step
        break
assert step > 10, step
print("killed", step, "times;", len(list(folder.iterdir())), "files")
"""


@pytest.mark.parametrize("first", ["0", "40"], ids=["first-store", "replaced-store"])
def test_a_kill_at_any_moment_leaves_the_old_store_or_the_new_one_and_blocks_no_repeat(
    first: str, tmp_path: Path
) -> None:
    argv = [sys.executable, "-c", _KILLED, str(tmp_path / "store"), first]
    run = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.endswith("5 files\n")


@pytest.mark.parametrize("first", [0, 40], ids=["first-store", "replaced-store"])
def test_an_interrupt_after_any_call_leaves_the_old_store_or_the_new_one(
    first: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for step in range(100):
        folder, left = tmp_path / str(step), [step]
        if first:
            write_store(folder, random_series(first), None)

        def interrupted(call: Any, left: list[int] = left) -> Any:
            def instead(*arguments: Any) -> None:
                call(*arguments)
                left[0] -= 1
                if left[0] == -1:
                    raise KeyboardInterrupt

            return instead

        with monkeypatch.context() as patch:
            for name in ("fsync", "replace"):
                patch.setattr(os, name, interrupted(getattr(os, name)))
            try:
                write_store(folder, random_series(50), None)
            except KeyboardInterrupt:
                pass
            else:
                break
        if first or (folder / "manifest.json").exists():
            found.append(open_store(folder)[0].num_steps)
        write_store(folder, random_series(60), None)
        assert open_store(folder)[0].num_steps == 60
    assert 50 in found
    assert set(found) <= {first, 50}


def test_nothing_but_a_store_is_replaced(store: tuple[Path, SensorSeries], tmp_path: Path) -> None:
    series = random_series(50)
    write_store(store[0], series, None)
    opened, graph = open_store(store[0])
    assert graph is None
    assert opened.num_steps == 50
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    # Arrays with the names of a store's, and a folder of checkpoints.
    np.save(tmp_path / "values.npy", np.ones(3))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "manifest.json").write_text('{"latest.pt": ["0"]}')
    (tmp_path / "file").touch()
    for name, says in (
        *(("mine", "is not empty and no"), (".", "is not empty and no"), ("checkpoints", "is not empty and no")),
        ("file", "store .* cannot be written"),
    ):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(UserError, match=says):
            write_store(tmp_path / name, series, None)
        assert sorted(tmp_path.rglob("*")) == before


def test_the_command_says_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "nothing to do: give --output" in capsys.readouterr().err
    assert main(["--download", "metr"]) == 2
    assert "no data set is called 'metr'; known: city, metr-la, pems-bay" in capsys.readouterr().err


def _known(monkeypatch: pytest.MonkeyPatch, address: str | None, sha256: str | None) -> None:
    series = known.KnownFile(name="toy.csv", place="the toy page", address=address, sha256=sha256)
    graph = known.KnownFile(name="adj.csv", place="the toy page")
    monkeypatch.setitem(known.KNOWN, "toy", known.KnownData(series=series, graph=graph))


def test_offline_and_changed_downloads_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Port 9 of this machine: nothing listens there, and no name is looked up.
    _known(monkeypatch, "http://127.0.0.1:9/toy.csv", "0" * 64)
    assert main(["--download", "toy", "--data-folder", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "cannot download http://127.0.0.1:9/toy.csv (no connection; is there a network?): put toy.csv from" in said
    assert f"put toy.csv from the toy page into {tmp_path}/toy yourself" in said
    assert len([line for line in said.splitlines() if "error:" in line]) == 1


def test_downloads_are_checked_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], toy_server: str
) -> None:
    _known(monkeypatch, f"{toy_server}/toy.csv", "0" * 64)
    assert main(["--download", "toy", "--data-folder", str(tmp_path)]) == 2
    assert "its checksum differs: nothing was kept" in capsys.readouterr().err
    assert not (tmp_path / "toy" / "toy.csv").exists()
    _known(monkeypatch, f"{toy_server}/toy.csv", hashlib.sha256(TOY_CSV.encode()).hexdigest())
    assert main(["--download", "toy", "--data-folder", str(tmp_path)]) == 2
    assert f"toy: {tmp_path}/toy/adj.csv is missing: get it from the toy page" in capsys.readouterr().err
    (tmp_path / "toy" / "adj.csv").write_text("1,1\n0,1\n")
    assert main(["--download", "toy", "--data-folder", str(tmp_path)]) == 0
    data = open_data(DataConfig(data="toy", data_folder=str(tmp_path)), GraphConfig())
    assert data.series.num_sensors == 2
    assert data.graph.num_edges == 3
