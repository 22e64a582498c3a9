"""Readings that stay in their files: the same numbers as numpy's, an error where a map would kill, little memory."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data import pieces
from dcrnn_fast.data.digests import digests_of
from dcrnn_fast.data.left_out import silenced
from dcrnn_fast.data.opening import open_data
from dcrnn_fast.data.store import open_store, write_store
from dcrnn_fast.data.store_manifest import digest_of
from dcrnn_fast.data.stored import ABSENT, StoredArray
from dcrnn_fast.errors import UserError
from tests.data.made_series import random_series, ring

ROOT = Path(__file__).resolve().parents[2]
STEPS, SENSORS, CHANNELS = 23, 4, 3
WIDE = ["--city-nodes", "11160", "--city-days", "20"]
"""340 MB of readings and mask"""


def _keys() -> st.SearchStrategy:
    row = st.integers(-STEPS, STEPS - 1)
    border = st.none() | st.integers(-STEPS - 3, STEPS + 3)
    cut = st.builds(slice, border, border, st.sampled_from([None, 1, 2, 5, -1, -3]))
    some = st.lists(row, max_size=6).map(lambda rows: np.array(rows, dtype=np.int64))
    first = some.map(lambda rows: rows[:4, None])
    windows = st.builds(lambda rows, size: (rows + np.arange(size)) % STEPS, first, st.integers(1, 5))
    mask = st.lists(st.booleans(), min_size=STEPS, max_size=STEPS).map(np.array)
    sensor = st.sampled_from([slice(None), slice(1, 3), Ellipsis])
    with_numbers = st.tuples(cut | row, st.just(slice(None)), st.sampled_from([0, -1, [1, 0], slice(0, 2)]))
    one_sensor = st.tuples(cut | row, st.integers(-SENSORS, SENSORS - 1), st.integers(0, CHANNELS - 1))
    channel = st.tuples(st.just(Ellipsis), st.sampled_from([0, [0, 2], slice(1, 3)]))
    cut_more = st.tuples(cut | row | some | windows | mask, sensor)
    return row | cut | some | windows | mask | with_numbers | one_sensor | channel | cut_more


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[StoredArray, np.ndarray]:
    series = random_series(STEPS, SENSORS, CHANNELS)
    folder = tmp_path_factory.mktemp("stored") / "store"
    write_store(folder, series, None)
    opened = open_store(folder)[0].values_TNC
    assert isinstance(opened, StoredArray)
    assert isinstance(series.values_TNC, np.ndarray)
    return opened, series.values_TNC


@given(key=_keys(), at_once=st.sampled_from([1, 30, 1 << 22]), how=st.sampled_from(["all", "rows", "sensors", "both"]))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_is_read_as_numpy_would(
    key: object, at_once: int, how: str, stored: tuple[StoredArray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    array, wanted = stored
    if how in ("sensors", "both"):
        index = np.array([2, ABSENT, 0, 3])
        array = array.take(sensors=index)
        wanted = np.where((index == ABSENT)[:, None], np.float32(0), wanted[:, index])
    if how == "both":
        array = array.take(channels=(2, 0, 1)).take(sensors=np.array([3, 1, 2, 0])).take(channels=(0, 2, 1))
        wanted = wanted[:, :, [2, 0, 1]][:, [3, 1, 2, 0]][:, :, [0, 2, 1]]
    if how in ("rows", "both"):
        array, wanted = array.from_row(0).from_row(0), wanted[0:]
    with monkeypatch.context() as patch:
        patch.setattr(pieces, "AT_ONCE", at_once)
        got = array[key]
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, wanted[key])  # type: ignore[index]


def test_parts_of_it_are_read_as_numpy_would(stored: tuple[StoredArray, np.ndarray]) -> None:
    array, wanted = stored
    tail = array.from_row(5).from_row(4)
    np.testing.assert_array_equal(tail, wanted[9:])
    assert (tail.shape, tail.size, tail.nbytes, len(tail), tail.ndim) == ((14, 4, 3), 168, 672, 14, 3)
    for key in (23, np.array([3, 23]), np.array([-24]), (np.array([1]), [0]), np.zeros(22, dtype=bool)):
        with pytest.raises(IndexError):
            array[key]


def test_a_series_in_files_is_chosen_from_without_reading(tmp_path: Path) -> None:
    series = random_series(40, 4, 2)
    write_store(tmp_path / "store", series, None)
    opened, _ = open_store(tmp_path / "store")
    for chosen, wanted in (
        (opened.take_sensors(("s3", "s0")), series.take_sensors(("s3", "s0"))),
        (opened.take_channels((1,)).tail(7), series.take_channels((1,)).tail(7)),
        (silenced(opened, {"s1", "x"}, ("x", "s1", "s0")), silenced(series, {"s1", "x"}, ("x", "s1", "s0"))),
    ):
        assert isinstance(chosen.values_TNC, StoredArray)
        assert chosen.ids == wanted.ids
        np.testing.assert_array_equal(chosen.values_TNC, wanted.values_TNC)
        np.testing.assert_array_equal(chosen.observed_TNC, wanted.observed_TNC)


def test_a_store_that_is_replaced_is_read_on(tmp_path: Path) -> None:
    series = random_series(60, 3)
    write_store(tmp_path / "store", series, ring(series))
    opened, _ = open_store(tmp_path / "store")
    for seed in (1, 2):
        write_store(tmp_path / "store", random_series(60, 3, seed=seed), None)
    np.testing.assert_array_equal(opened.values_TNC[10:50], series.values_TNC[10:50])


_CUT = """
import os, sys
from pathlib import Path
import numpy as np
from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.opening import open_data
from dcrnn_fast.data.digests import digests_of
from dcrnn_fast.data.facts import series_facts
from dcrnn_fast.data.scaler import fit_scaler
from dcrnn_fast.data.store import write_store
from dcrnn_fast.data.training_part import training_part
from dcrnn_fast.errors import UserError
from dcrnn_fast.evaluation.target_rows import TargetRows

def reads(store, name):
    data = open_data(DataConfig(data=str(store), past_steps=3, future_steps=2), GraphConfig())
    last = data.test.starts_W[-1:]
    data.gather(last)
    os.truncate(store / name, 4096 * 2 + 1)
    yield lambda: data.gather(last)
    yield lambda: digests_of(data)
    yield lambda: series_facts(data.series)
    yield lambda: write_store(store.with_name("copy"), data.series, None)
    yield lambda: np.asarray(getattr(data.series.tail(3), name.replace(".npy", "_TNC")))
    yield lambda: data.series.take_sensors(("s1",)).observed_TNC[:] if name == "observed.npy" else data.gather(last)
    yield lambda: training_part(data)
    yield lambda: fit_scaler(data.series, data.train.starts_W, 3, "sensor")
    yield lambda: TargetRows(data)

for name in ("values.npy", "observed.npy"):
    store, told = Path(sys.argv[1], name.removesuffix(".npy")), 0
    for read in reads(store, name):
        try:
            read()
        except UserError as error:
            assert f"{store / name}: was cut short while it was read" in str(error), error
            assert "\\n" not in str(error)
            told += 1
    print(name, told)
print(sorted(path.name for path in store.parent.iterdir()))
"""


@pytest.mark.slow
def test_a_file_that_is_cut_while_it_is_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    series = random_series(20_000, 5)
    for name in ("values", "observed"):
        write_store(tmp_path / name, series, ring(series))
    argv = [sys.executable, "-c", _CUT, str(tmp_path)]
    run = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, (run.returncode, run.stderr)
    assert run.stdout == "values.npy 9\nobserved.npy 9\n['observed', 'values']\n"


@pytest.mark.parametrize("name", ["values.npy", "observed.npy"])
def test_large_files_that_were_changed_are_noticed_when_a_training_begins(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = random_series(200, 3)
    write_store(tmp_path / "store", series, ring(series))
    monkeypatch.setattr("dcrnn_fast.data.store._HASHED_AT_OPEN", 100)
    config = DataConfig(data=str(tmp_path / "store"), past_steps=3, future_steps=2)
    before = digests_of(open_data(config, GraphConfig()))
    path = tmp_path / "store" / name
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: was changed since it was written, its checksum differs"):
        digests_of(open_data(config, GraphConfig()))
    # A store of older versions has no such digest.
    manifest = json.loads((tmp_path / "store" / "manifest.json").read_text())
    for file in manifest["files"].values():
        file.pop("array", None)
    manifest["sha256"] = digest_of(manifest)
    (tmp_path / "store" / "manifest.json").write_text(json.dumps(manifest))
    assert digests_of(open_data(config, GraphConfig())) != before


def _most_memory(words: list[str], timeout: float = 100.0) -> tuple[int, str]:
    """The most bytes of anonymous memory that a program had, and what it printed."""
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as program:
        most, until = 0, time.monotonic() + timeout
        status = Path(f"/proc/{program.pid}/status")
        while program.poll() is None and time.monotonic() < until:
            lines = [line for line in status.read_text().splitlines() if line.startswith("RssAnon")]
            most = max([most, *(int(line.split()[1]) * 1024 for line in lines)])
            time.sleep(0.005)
        assert program.stdout is not None
        said = program.stdout.read()
        program.kill()
    assert program.returncode == 0
    return most, said


_USE = """
import sys
import numpy as np
from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.config.data import GraphConfig
from dcrnn_fast.data.account import series_looks
from dcrnn_fast.data.window_account import facts_of
from dcrnn_fast.data.window_account import window_looks
from dcrnn_fast.data.opening import open_data
from dcrnn_fast.data.digests import digests_of
from dcrnn_fast.data.training_part import training_part

if len(sys.argv) > 1:
    config = DataConfig(data=sys.argv[1])
    data = open_data(config, GraphConfig())
    digests_of(data), training_part(data), window_looks(data, facts := facts_of(data))
    series_looks(data.series, facts, config)
    for start in np.random.default_rng(0).permutation(data.train.starts_W)[:100]:
        data.gather(np.array([start, start + 1]))
    few = data.series.take_sensors(data.series.ids[::2])
    few.values_TNC[:500]
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no /proc")
def test_a_store_is_prepared_and_used_in_a_part_of_its_memory(tmp_path: Path) -> None:
    folder = str(tmp_path / "store")
    imports, _ = _most_memory([sys.executable, "-c", _USE])
    prepared, said = _most_memory([sys.executable, "-m", "dcrnn_fast.prepare", *WIDE, "--output", folder])
    assert "5,760 steps of 5min" in said
    used, _ = _most_memory([sys.executable, "-c", _USE, folder])
    size = sum(file.stat().st_size for file in Path(folder).iterdir())
    assert size > 5 * 5760 * 11160
    print(f"{imports >> 20} MiB imports, {prepared >> 20} prepared, {used >> 20} used, {size >> 20} on the disk")
    assert prepared - imports < 0.9 * size
    assert used - imports < 0.9 * size
