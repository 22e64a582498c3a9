"""The table of formats: what it says agrees with the configuration, the readers, the tests' files and the docs."""

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest

from dcrnn_fast.config.data import DataConfig, DataFormat, GraphConfig
from dcrnn_fast.data.formats import FORMATS, Format, Opened, Source, formats_of_path, read_path
from dcrnn_fast.errors import UserError
from tests.data.written_files import WRITERS

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_choices_of_data_format_are_the_table() -> None:
    assert get_args(DataFormat) == ("auto", *(one.name for one in FORMATS))


def test_the_table_of_the_docs_is_the_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", (DOCS / "data.md").read_text(encoding="utf-8"), re.MULTILINE)
    spoken = {
        one.name: ", or ".join(
            [
                *([", ".join(f"`{e}`" for e in one.endings) or "by its content"] if not one.is_folder else []),
                *(["a folder"] if one.is_folder is not False else []),
            ]
        )
        for one in FORMATS
    }
    assert rows[: len(FORMATS)] == list(spoken.items())


@pytest.mark.parametrize("one", FORMATS, ids=lambda one: one.name)
def test_every_reader_has_the_one_signature(one: Format) -> None:
    assert (one.reader or one.opener) is not None
    for way, returned in ((one.reader, (Source,)), (one.opener, (Opened, Opened | None))):
        if way is not None:
            module, name = way.split(":")
            signature = inspect.signature(getattr(import_module(module), name))
            named = [parameter.annotation for parameter in signature.parameters.values()]
            assert named == [Path, DataConfig, GraphConfig]
            assert signature.return_annotation in returned


@pytest.mark.parametrize("one", [one for one in FORMATS if one.detects], ids=lambda one: one.name)
def test_telling_a_format_raises_nothing(one: Format, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "cut.gz").write_bytes(b"\x1f\x8b\x08\x00")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path, *tmp_path.iterdir(), tmp_path / "none"):
        assert not one.claims(path)


def test_no_ending_means_two_formats() -> None:
    endings = [ending for one in FORMATS for ending in one.endings]
    assert len(endings) == len(set(endings))
    assert all(re.fullmatch(r"\.[a-z0-9]+", ending) for ending in endings)


def test_every_kind_of_file_is_written_by_a_test() -> None:
    written = {Path(param.values[0]).suffix for param in WRITERS} | {".npy"}
    assert all(set(one.endings) & written for one in FORMATS if one.endings and not one.is_folder)


def test_a_folder_is_no_file_and_a_file_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    for path, kind, what in ((tmp_path, "csv", "folder"), (tmp_path / "a.csv", "store", "file")):
        with pytest.raises(UserError, match=f"is a {what}, which {kind} is not"):
            read_path(path, DataConfig(data_format=kind), GraphConfig())


def test_formats_of_a_path(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    (tmp_path / "b.H5").touch()
    assert formats_of_path(tmp_path / "b.H5", "auto") == {"hdf5"}
    assert formats_of_path(tmp_path / "a.csv", "npz") == {"npz"}
    assert formats_of_path(tmp_path / "none.dat", "auto") == set()
    assert formats_of_path(tmp_path, "auto") == formats_of_path(tmp_path, "channels") == {"csv", "hdf5"}
    assert formats_of_path(tmp_path, "store") == {"store"}
    (tmp_path / "manifest.json").touch()
    assert formats_of_path(tmp_path, "auto") == {"store"}


def test_a_folder_that_two_formats_claim_is_refused_with_both_words(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").touch()
    (tmp_path / "d04_text_station_5min_2024_03_01.txt.gz").touch()
    with pytest.raises(
        UserError, match="as store and as pems: say which with --data-format store or --data-format pems"
    ):
        read_path(tmp_path, DataConfig(), GraphConfig())
    with pytest.raises(UserError, match="d04_text_station_5min_2024_03_01"):  # that insists
        read_path(tmp_path, DataConfig(data_format="pems"), GraphConfig())
