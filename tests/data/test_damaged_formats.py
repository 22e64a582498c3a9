"""Damaged files of every format, by one table: one line that names the file, or an account that says what is not there.

A new line of ``FORMATS`` fails here until ``MAKERS`` has its files, which then get all of these cases.
"""

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.formats import FORMATS
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.sources import open_source, read_source
from dcrnn_fast.errors import UserError
from tests.data.format_makers import MAKERS, Maker

NOBODY = 65534
ALL = [pytest.param(one, id=str(one), marks=[pytest.mark.slow] if one.is_slow else []) for one in MAKERS]
_IN_CI = {"x.csv", "x.npy", "x.h5", "memmap", "CITY", "rdb", "scenarios"}
ALL_SLOWLY = [
    pytest.param(one, id=str(one), marks=pytest.mark.slow if one.name in _IN_CI else pytest.mark.prove)
    for one in MAKERS
]


def _config(maker: Maker, folder: Path) -> tuple[DataConfig, GraphConfig]:
    return DataConfig(data=str(folder / maker.name), **maker.settings), GraphConfig(**maker.graph)


def _read(maker: Maker, folder: Path) -> SensorSeries:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        series, _ = read_source(*_config(maker, folder))
        np.asarray(series.values_TNC)
        return series


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _one_line_that_names(file: Path, folder: Path, said: str) -> None:
    """Chunks of zarr, and the parts of a folder that is no longer of its kind, are named by their folder."""
    names = {file.name, *(above.name for above in file.relative_to(folder).parents if above.name)}
    assert "\n" not in said
    assert any(name in said for name in names), said
    assert len(said) < 700


def _refused_or_told(maker: Maker, file: Path, folder: Path, whole: SensorSeries, damage: str) -> None:
    """Checks that a damaged file ends in one line; or that the readings are the same, or the account says otherwise."""
    try:
        series = _read(maker, folder)
    except UserError as error:
        _one_line_that_names(file, folder, str(error))
        return
    same = series.values_TNC.shape == whole.values_TNC.shape and np.array_equal(
        np.asarray(series.values_TNC), np.asarray(whole.values_TNC)
    )
    told = set(series.notes) - set(whole.notes)
    assert same or told, f"{file.name} {damage}: other readings, and no word about it"


def _cut(share: float) -> Callable[[bytes], bytes]:
    """Cut within a line of a text: at the end of one nobody can tell, but by what is no longer there."""

    def cut(content: bytes) -> bytes:
        kept = content[: int(len(content) * share)]
        return kept[:-1] if kept.endswith(b"\n") else kept

    return cut


def _flipped(place: int) -> Callable[[bytes], bytes]:
    return lambda content: bytes(b ^ 0x10 if k == place else b for k, b in enumerate(content))


QUICK: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut at half": _cut(0.5),
    "garbage": lambda content: b"\x00\xff\xfegarbage" * 50,
}
SLOW: dict[str, Callable[[bytes], bytes]] = {
    **{f"cut at {share}": _cut(share) for share in (0.02, 0.1, 0.3, 0.7, 0.9, 0.97)},
    "without its last byte": lambda content: content[:-1],
    "a page in its place": lambda content: b"<!doctype html>\n<html><body>404</body></html>\n",
    **{f"byte {k} changed": _flipped(k) for k in (0, 1, 4, 8)},
}


def test_every_format_has_files_to_damage() -> None:
    assert {one.kind for one in MAKERS} == {one.name for one in FORMATS}


@pytest.mark.parametrize("maker", ALL)
def test_a_damaged_file_is_one_line_or_told(maker: Maker, tmp_path: Path) -> None:
    maker.write(tmp_path / maker.name)
    whole = _read(maker, tmp_path)
    for file in _files(tmp_path):
        content = file.read_bytes()
        for name, damage in QUICK.items():
            file.write_bytes(damage(content))
            _refused_or_told(maker, file, tmp_path, whole, name)
        file.write_bytes(content)


@pytest.mark.parametrize("maker", ALL_SLOWLY)
def test_many_damages_are_one_line_or_told(maker: Maker, tmp_path: Path) -> None:
    maker.write(tmp_path / maker.name)
    whole = _read(maker, tmp_path)
    for file in _files(tmp_path):
        content = file.read_bytes()
        for name, damage in SLOW.items():
            is_plain = file.suffix == ".dat" or (content.isascii() and b"\0" not in content)
            if "byte" in name and is_plain:
                continue  # another letter or number is another reading
            file.write_bytes(damage(content))
            _refused_or_told(maker, file, tmp_path, whole, name)
        file.write_bytes(content)


@contextmanager
def _nobody() -> Iterator[None]:
    """As a user to whom nothing belongs, if this one may become it: root reads whatever modes say."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.mark.parametrize("maker", ALL_SLOWLY)
def test_what_is_in_the_place_of_a_file_is_one_line(maker: Maker) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        maker.write(folder / maker.name)
        whole = _read(maker, folder)
        for file in _files(folder):
            content = file.read_bytes()
            for damage, make in _PLACED.items():
                file.unlink()
                make(file)
                _refused_or_told(maker, file, folder, whole, damage)
                file.rmdir() if file.is_dir() else file.unlink()
                file.write_bytes(content)
            file.chmod(0)
            with _nobody():
                _refused_or_told(maker, file, folder, whole, "not to be read")
            file.chmod(0o644)
        place = folder / maker.name
        if place.is_dir():
            for mode in (0o000, 0o444):
                place.chmod(mode)
                with _nobody(), pytest.raises(UserError) as caught:
                    _read(maker, folder)
                _one_line_that_names(place, folder, str(caught.value))
                place.chmod(0o755)


_PLACED: dict[str, Callable[[Path], Any]] = {
    "a folder": Path.mkdir,
    "a link to nothing": lambda path: path.symlink_to("/nowhere/file"),
    "a pipe": os.mkfifo,
}


@pytest.mark.parametrize("maker", ALL_SLOWLY)
def test_a_file_that_changes_while_it_is_read_is_one_line_or_whole(maker: Maker, tmp_path: Path) -> None:
    maker.write(tmp_path / maker.name)
    for file in _files(tmp_path):
        content = file.read_bytes()
        for change in _CHANGES:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if (opened := open_source(*_config(maker, tmp_path))) is None:
                    return  # read whole, at once
                change(file)
                try:
                    rows = sum(len(block) for block in opened[0].read())
                except UserError as error:
                    _one_line_that_names(file, tmp_path, str(error))
                else:
                    assert rows == len(opened[0].stamps.times_T)
            file.write_bytes(content)


def _grow(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content + content[-(len(content) // 3) :])


_CHANGES: tuple[Callable[[Path], Any], ...] = (
    Path.unlink,
    lambda path: os.truncate(path, path.stat().st_size // 2),
    lambda path: os.truncate(path, 0),
    _grow,
)
