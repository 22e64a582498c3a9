"""Data files copied to a node's own storage: checked, removed whatever happens, and never named anywhere."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.config.sections import Config
from dcrnn_fast.data.opening import open_data
from dcrnn_fast.data.sources import read_source
from dcrnn_fast.data.staging import PREFIX, NotStagedError, Staged, remove_leftovers, stage
from dcrnn_fast.data.store import write_store
from dcrnn_fast.data.stored import StoredArray
from dcrnn_fast.errors import UserError
from dcrnn_fast.process import this_process
from tests.data.format_makers import MAKERS, Maker
from tests.data.pems_folders import write_day, write_metadata


@pytest.fixture
def files(tmp_path: Path) -> tuple[DataConfig, GraphConfig]:
    """Readings, a graph, a list of sensors to leave out; staged in tmp_path/node."""
    shared = tmp_path / "shared"
    shared.mkdir()
    rng = np.random.default_rng(0)
    times = np.datetime64("2024-01-01T00:00") + np.arange(300) * np.timedelta64(5, "m")
    rows = [f"{time},{','.join(f'{value:.2f}' for value in rng.normal(50, 9, 4))}" for time in times]
    (shared / "readings.csv").write_text("\n".join(["time,a,b,c,d", *rows]))
    (shared / "links.csv").write_text("\n".join(["from,to,cost"] + [f"{u},{v},{1 + k}" for k, (u, v) in enumerate(
        (u, v) for u in "abcd" for v in "abcd" if u != v)]))  # fmt: skip
    (shared / "out.txt").write_text("d\n")
    data = DataConfig(
        data=str(shared / "readings.csv"), leave_out=(str(shared / "out.txt"),), stage=str(tmp_path / "node")
    )
    return data, GraphConfig(graph=str(shared / "links.csv"))


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_the_data_is_that_of_the_files_and_names_them(files: tuple[DataConfig, GraphConfig], tmp_path: Path) -> None:
    data, graph = files
    wanted = open_data(data, graph)
    copies = stage(data, graph)
    assert copies.can_be_seen()
    assert copies.size == sum(os.path.getsize(name) for name in (data.data, *data.leave_out, graph.graph))
    for name in (data.data, *data.leave_out, graph.graph):
        assert Path(copies.places[name]).read_bytes() == Path(name).read_bytes()
        os.rename(name, f"{name}.away")  # read from the copies alone
    got = copies.open_data(data, graph)
    assert np.array_equal(got.series.values_TNC, wanted.series.values_TNC)
    assert got.graph.digest() == wanted.graph.digest()
    assert (got.config, got.notes) == (wanted.config, wanted.notes)
    assert str(tmp_path / "node") not in repr(got.notes + got.series.notes)
    assert (Path(copies.folder).stat().st_mode & 0o777) == 0o700
    copies.remove()
    assert left_in(tmp_path / "node") == []
    assert not copies.can_be_seen()


def test_a_mistake_in_a_file_is_told_with_its_own_name(files: tuple[DataConfig, GraphConfig], tmp_path: Path) -> None:
    data, graph = files
    Path(graph.graph).write_text("from,to,cost\na,b,x\n")
    copies = stage(data, graph)
    with pytest.raises(UserError) as told:
        copies.open_data(data, graph)
    with pytest.raises(UserError) as plainly:
        open_data(data, graph)
    assert str(told.value) == str(plainly.value)
    assert graph.graph in str(told.value)


def test_a_store_is_read_from_copies_that_are_gone(files: tuple[DataConfig, GraphConfig], tmp_path: Path) -> None:
    data, graph = files
    opened = open_data(data, graph)
    write_store(tmp_path / "store", opened.series, opened.graph)
    data = DataConfig(data=str(tmp_path / "store"), stage=data.stage)
    copies = stage(data, GraphConfig())
    got = copies.open_data(data, GraphConfig())
    assert isinstance(got.series.values_TNC, StoredArray)
    assert got.series.values_TNC.path == tmp_path / "store" / "values.npy"  # which errors name
    copies.remove()
    (tmp_path / "store" / "values.npy").write_bytes(b"")  # nor is the shared one read
    assert left_in(tmp_path / "node") == []
    assert np.array_equal(np.asarray(got.series.values_TNC), opened.series.values_TNC)
    assert got.config.data == data.data


def test_partitions_are_staged_with_their_folders(tmp_path: Path) -> None:
    for sensor in "ab":
        place = tmp_path / "parts" / f"id={sensor}"
        place.mkdir(parents=True)
        place.joinpath("x.csv").write_text("".join(["time,v\n", *(f"2024-01-{d:02d},{d}\n" for d in range(1, 31))]))
    (tmp_path / "links.csv").write_text("from,to,cost\na,b,1\nb,a,2\n")
    data = DataConfig(data=str(tmp_path / "parts"), stage=str(tmp_path / "node"), past_steps=2, future_steps=2)
    copies = stage(data, GraphConfig(graph=str(tmp_path / "links.csv")))
    os.rename(tmp_path / "parts", tmp_path / "away")
    opened = copies.open_data(data, GraphConfig(graph=str(tmp_path / "links.csv")))
    assert (opened.series.ids, opened.series.num_steps) == (("a", "b"), 30)
    copies.remove()


def test_days_below_a_folder_of_station_files_are_staged(tmp_path: Path) -> None:
    write_day(tmp_path / "pems", 1)
    write_metadata(tmp_path / "pems")
    write_day(tmp_path / "pems" / "march", 2)
    (tmp_path / "links.csv").write_text("from,to,cost\n400001,400017,1\n400017,400030,2\n")
    data = DataConfig(data=str(tmp_path / "pems"), stage=str(tmp_path / "node"))
    graph = GraphConfig(graph=str(tmp_path / "links.csv"))
    wanted, copies = open_data(data, graph), stage(data, graph)
    got = copies.open_data(data, graph)
    assert got.series.num_steps == wanted.series.num_steps == 576
    assert (got.notes, got.series.notes) == (wanted.notes, wanted.series.notes)
    copies.remove()


def test_what_lies_beside_a_file_is_staged_with_it(tmp_path: Path) -> None:
    city = tmp_path / "city"
    city.mkdir()
    (city / "X.geo").write_text('geo_id,type,coordinates\na,Point,"[1.0, 2.0]"\nb,Point,"[1.1, 2.0]"\n')
    (city / "X.rel").write_text("rel_id,type,origin_id,destination_id,weight\n0,geo,a,b,.5\n")
    rows = [f"{k},state,2024-01-01T{k % 24:02d}:00:00Z,{'ab'[k // 24]},{k}" for k in range(48)]
    (city / "X.dyna").write_text("\n".join(["dyna_id,type,time,entity_id,flow", *rows]))
    data = DataConfig(data=str(city / "X.dyna"), stage=str(tmp_path / "node"), past_steps=2, future_steps=2)
    wanted, copies = open_data(data, GraphConfig()), stage(data, GraphConfig())
    os.rename(city, tmp_path / "away")
    got = copies.open_data(data, GraphConfig())
    assert got.graph.digest() == wanted.graph.digest()
    assert (got.config, got.notes, got.series.notes) == (wanted.config, wanted.notes, wanted.series.notes)
    copies.remove()
    os.rename(tmp_path / "away", city)
    (city / "X.rel").write_text("rel_id,type,origin_id,destination_id,weight\n0,geo,a,b,heavy\n")
    copies = stage(data, GraphConfig())
    with pytest.raises(UserError) as told:
        copies.open_data(data, GraphConfig())
    assert str(tmp_path / "node") not in str(told.value)
    copies.remove()


@pytest.mark.slow
@pytest.mark.parametrize(
    "maker", [one for one in MAKERS if not one.is_slow or one.kind in ("pems", "hdf5_years")], ids=str
)
def test_every_format_is_read_from_its_copies_alone(maker: Maker, tmp_path: Path) -> None:
    place = tmp_path / "shared" / "more"
    place.mkdir(parents=True)
    maker.write(place / maker.name)
    data = DataConfig(data=str(place / maker.name), stage=str(tmp_path / "node"), past_steps=2, future_steps=2)
    data, graph = replace(data, **maker.settings), GraphConfig(**maker.graph)
    wanted, wanted_graph = read_source(data, graph)
    copies = stage(data, graph)
    os.rename(tmp_path / "shared", tmp_path / "away")
    got, got_graph = read_source(*copies._sections(data, graph))
    assert np.array_equal(np.asarray(got.values_TNC), np.asarray(wanted.values_TNC))
    assert (got.ids, got.positions_N2 is None) == (wanted.ids, wanted.positions_N2 is None)
    assert (got_graph is None) == (wanted_graph is None)
    assert got_graph is None or wanted_graph is None or got_graph.digest() == wanted_graph.digest()
    copies.remove()


@pytest.mark.slow
def test_one_year_of_largest_is_staged_with_its_network(tmp_path: Path) -> None:
    (maker,) = (one for one in MAKERS if one.kind == "hdf5_years")
    maker.write(tmp_path / "ca")
    data = DataConfig(data=str(tmp_path / "ca" / "ca_his_raw_2019.h5"), stage=str(tmp_path / "node"))
    _, wanted = read_source(data, GraphConfig())
    copies = stage(data, GraphConfig())
    os.rename(tmp_path / "ca", tmp_path / "away")
    series, graph = read_source(*copies._sections(data, GraphConfig()))
    assert wanted is not None
    assert graph is not None
    assert graph.digest() == wanted.digest()
    assert series.positions_N2 is not None
    copies.remove()


def test_a_named_data_set_is_staged_with_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "pems-bay"
    folder.mkdir(parents=True)
    (folder / "pems-bay.h5").write_bytes(b"h5")
    data = DataConfig(data="pems-bay", data_folder=str(tmp_path / "data"), stage=str(tmp_path / "node"))
    copies = stage(data, GraphConfig())
    staged, _ = copies._sections(data, GraphConfig())
    assert staged.data == "pems-bay"
    assert Path(staged.data_folder, "pems-bay", "pems-bay.h5").read_bytes() == b"h5"
    with pytest.raises(UserError, match=f"{folder}") as told:
        copies.open_data(data, GraphConfig())
    assert str(tmp_path / "node") not in str(told.value)
    copies.remove()


def test_without_room_nothing_is_copied(files: tuple[DataConfig, GraphConfig], small_disk: Path) -> None:
    data, graph = files
    with open(data.data, "ab") as readings:
        readings.write(b"\n" * (4 << 20))
    with pytest.raises(NotStagedError, match=rf"{small_disk} has \S+ MiB free, the files need 5\.\d+ MiB"):
        stage(replace(data, stage=str(small_disk)), graph)
    assert left_in(small_disk) == []


def test_a_disk_that_fills_meanwhile_leaves_no_copy(
    files: tuple[DataConfig, GraphConfig], small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, graph = files
    with open(data.data, "ab") as readings:
        readings.write(b"\n" * (2 << 20))
    sync = os.fsync

    def filled_by_another(descriptor: int) -> None:
        sync(descriptor)
        free = os.statvfs(small_disk)
        (small_disk / "filler").write_bytes(bytes(free.f_bavail * free.f_frsize))

    monkeypatch.setattr(os, "fsync", filled_by_another)
    with pytest.raises(NotStagedError, match="No space left on device"):
        stage(replace(data, stage=str(small_disk)), graph)
    assert left_in(small_disk) == ["filler"]


def test_a_byte_that_the_disk_changes_is_noticed(
    files: tuple[DataConfig, GraphConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def damaged(descriptor: int) -> None:
        sync(descriptor)
        os.pwrite(descriptor, b"#", 40)

    monkeypatch.setattr(os, "fsync", damaged)
    with pytest.raises(NotStagedError, match=r"the copy of \S+readings\.csv in \S+ is not what was read"):
        stage(*files)
    assert left_in(tmp_path / "node") == []


def test_a_folder_that_cannot_be_made_and_nothing_to_copy_are_reasons(
    files: tuple[DataConfig, GraphConfig], tmp_path: Path
) -> None:
    data, graph = files
    with pytest.raises(NotStagedError, match="Not a directory"):
        stage(replace(data, stage=f"{data.data}/node"), graph)
    with pytest.raises(NotStagedError, match="no files"):
        stage(DataConfig(stage=str(tmp_path)), GraphConfig())


def test_a_stop_ends_the_copying(files: tuple[DataConfig, GraphConfig], tmp_path: Path) -> None:
    with pytest.raises(NotStagedError, match="asked to stop"):
        stage(*files, lambda: True)
    assert left_in(tmp_path / "node") == []


def test_the_place_and_the_jobs_number(
    files: tuple[DataConfig, GraphConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, graph = files
    data = replace(data, stage="auto")
    for name in ("SLURM_TMPDIR", "TMPDIR", "SLURM_JOB_ID", "PBS_JOBID"):
        monkeypatch.delenv(name, raising=False)
    for name in ("system", "tmp", "slurm"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "system"))
    user = os.getuid()

    def place() -> str:
        copies = stage(data, graph)
        try:
            return str(Path(copies.folder).relative_to(tmp_path))
        finally:
            copies.remove()

    assert place() == f"system/{PREFIX}{user}-{os.getpid()}"
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("PBS_JOBID", "71[3].server/x")
    assert place() == f"tmp/{PREFIX}{user}-71[3]"
    monkeypatch.setenv("SLURM_TMPDIR", str(tmp_path / "slurm"))
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    assert place() == f"slurm/{PREFIX}{user}-4711"
    (tmp_path / "slurm" / f"{PREFIX}{user}-4711").mkdir()  # another step of the same job
    assert place() == f"slurm/{PREFIX}{user}-4711-{os.getpid()}"
    monkeypatch.setenv("SLURM_TMPDIR", str(tmp_path / "gone"))
    assert place().startswith("tmp/")


def test_what_dead_processes_left_is_removed_and_nothing_else(
    files: tuple[DataConfig, GraphConfig], tmp_path: Path
) -> None:
    root, user = tmp_path / "node", os.getuid()
    child = os.fork()
    if child == 0:
        try:
            stage(*files)
            os.kill(os.getpid(), 9)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
    (left,) = left_in(root)
    living = stage(*files)  # which removes it
    assert left_in(root) == [Path(living.folder).name] != [left]
    ours = this_process().to_dict()
    others = {
        f"{PREFIX}{user}-elsewhere": {"process": {**ours, "host": "elsewhere", "pid": 1}, "id": "1"},
        f"{PREFIX}{user}-new": None,
        f"{PREFIX}{user}-old": None,
        f"{PREFIX}{user + 1}-dead": {"process": {**ours, "started": 1}, "id": "2"},
        "mine": {"process": {**ours, "started": 1}, "id": "3"},
        f"{PREFIX}{user}-dead": {"process": {**ours, "started": 1}, "id": "4"},
    }
    for name, owner in others.items():
        (root / name).mkdir()
        if owner:
            (root / name / "owner.json").write_text(json.dumps(owner))
    (root / f"{PREFIX}{user}-link").symlink_to(tmp_path)
    os.utime(root / f"{PREFIX}{user}-old", (time.time() - 7200,) * 2)
    remove_leftovers(root)
    gone = {f"{PREFIX}{user}-old", f"{PREFIX}{user}-dead"}
    assert left_in(root) == sorted({Path(living.folder).name, f"{PREFIX}{user}-link", *others} - gone)
    living.remove()


def test_staged_is_a_choice_of_the_configuration() -> None:
    assert Config().data.stage == "off"
    with pytest.raises(UserError, match="stage must be off, auto or a folder"):
        DataConfig(stage="")
    assert not Staged("nowhere", {}, "1", 0).can_be_seen()
