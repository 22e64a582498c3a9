"""Data files copied to a node's own storage before they are read; a node of a cluster reads shared files but once.

The copies lie in a folder ``dcrnn_fast-stage-USER-JOB`` (the job's number, or the process's), which goes as soon as the
data is open: the open files of a store keep the bytes. A killed process leaves it, and the next one removes it.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.formats import files_of_path
from dcrnn_fast.data.opening import open_data
from dcrnn_fast.data.scaler import Scaler
from dcrnn_fast.data.sources import source_files
from dcrnn_fast.data.stored import StoredArray
from dcrnn_fast.errors import UserError
from dcrnn_fast.files import sha256_of
from dcrnn_fast.messages import sized
from dcrnn_fast.process import Process, this_process

PREFIX = "dcrnn_fast-stage-"
_OWNER = "owner.json"
_MARGIN, _SPARE = 1.02, 1 << 20
"""share and bytes of room beyond the files' own"""
_CHUNK = 8 << 20
_NOBODYS_AFTER = 3600
"""seconds after which a folder without an owner's file is what a kill has left"""


class NotStagedError(Exception):
    """Nothing was staged, for the reason in the message; the shared files are as good, only slower."""


@dataclass(frozen=True, slots=True)
class Staged:
    """Copies of a run's data files.

    Attributes:
        folder: that holds them; places: the copy of each file and folder that the configuration names, and of each file
            in or beside these.
        id: in the folder's owner file: whoever reads it there sees the same folder.
        size: bytes in all.
    """

    folder: str
    places: Mapping[str, str]
    id: str
    size: int

    def can_be_seen(self) -> bool:
        """Whether this process sees the folder, as a rank in another container may not."""
        try:
            return bool(json.loads(Path(self.folder, _OWNER).read_bytes())["id"] == self.id)
        except (OSError, ValueError, TypeError, KeyError):
            return False

    def open_data(
        self, data: DataConfig, graph: GraphConfig, *, scaler: Scaler | None = None, all_digits: bool = True
    ) -> ForecastData:
        """``dataset.open_data`` from the copies; its configuration, notes and errors name the original files."""
        try:
            opened = open_data(*self._sections(data, graph), scaler=scaler, all_digits=all_digits)
        except UserError as error:
            raise UserError(self._told(str(error))) from error
        for array in (opened.series.values_TNC, opened.series.observed_TNC):
            if isinstance(array, StoredArray):
                array.call(Path(self._told(str(array.path))))
        return replace(
            opened,
            config=replace(opened.config, data=data.data, data_folder=data.data_folder),
            series=opened.series.with_notes(tuple(map(self._told, opened.series.notes))),
            notes=tuple(map(self._told, opened.notes)),
        )

    def remove(self) -> None:
        """Removes the copies; what cannot be removed is left for the next run."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _sections(self, data: DataConfig, graph: GraphConfig) -> tuple[DataConfig, GraphConfig]:
        def there(name: Any) -> Any:
            return self.places.get(name, name)

        known = self.places.get(_known_folder(data))
        data = replace(
            data,
            data=there(data.data),
            data_folder=data.data_folder if known is None else str(Path(known).parent),
            leave_out=tuple(map(there, data.leave_out)),
        )
        graph = replace(
            graph,
            graph=there(graph.graph),
            land_mask=graph.land_mask if graph.land_mask_file is None else there(graph.land_mask),
            sensor_positions=there(graph.sensor_positions),
        )
        return data, graph

    def _told(self, text: str) -> str:
        for original, copy in self.places.items():
            text = text.replace(copy, original)
        return text


def stage(data: DataConfig, graph: GraphConfig, asked_to_stop: Callable[[], bool] = lambda: False) -> Staged:
    """Copies the files that these sections name to ``data.stage``; each copy is read again and its SHA-256 compared.

    Removes what dead processes of this user have left there.

    Raises:
        NotStagedError: there is no room or nothing to copy, a copy is not what was read, or a file cannot be read or
            written. No copy is left.
    """
    try:
        sources = _sources(data, graph)
        if not sources:
            raise NotStagedError("there are no files to copy")
        root = _root(data.stage)
        remove_leftovers(root)
        size = sum(file.stat().st_size for files in sources.values() for file in files)
        needed, free = int(size * _MARGIN) + _SPARE, shutil.disk_usage(root).free
        if needed > free:
            raise NotStagedError(f"{root} has {sized(free)} free, the files need {sized(needed)}")
        folder, name = _make_folder(root)
    except OSError as error:
        raise NotStagedError(f"{data.stage}: {error.strerror or error}") from error
    try:
        places = {}
        for number, (source, files) in enumerate(sources.items()):
            root = _common_folder(source, files)
            place = folder / str(number)
            own = place / Path(source).absolute().relative_to(root)
            (own if os.path.isdir(source) else own.parent).mkdir(parents=True)
            for file in files:
                copy = place / file.absolute().relative_to(root)
                copy.parent.mkdir(parents=True, exist_ok=True)
                _copy(file, copy, asked_to_stop)
                places[str(file)] = str(copy)
            places[source] = str(own)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise NotStagedError(f"{error.filename or folder}: {error.strerror or error}") from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Staged(str(folder), places, name, size)


def remove_leftovers(root: Path) -> None:
    """Removes the folders that dead processes of this user have left in ``root``."""
    for folder in root.glob(f"{PREFIX}{os.getuid()}-*"):
        with suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            owner = _owner_of(folder)
            if owner is None:
                if time.time() - folder.stat().st_mtime > _NOBODYS_AFTER:
                    shutil.rmtree(folder, ignore_errors=True)
            elif owner.can_be_seen and not owner.lives():
                shutil.rmtree(folder, ignore_errors=True)


def _root(where: str) -> Path:
    """The folder to stage in."""
    if where != "auto":
        root = Path(where)
        root.mkdir(parents=True, exist_ok=True)
        return root
    named = (os.environ.get(name) for name in ("SLURM_TMPDIR", "TMPDIR"))
    return next((Path(name) for name in named if name and os.path.isdir(name)), Path(tempfile.gettempdir()))


def _make_folder(root: Path) -> tuple[Path, str]:
    """A new folder that only this user may enter, and its id; the job scripts know its name."""
    # PBS: 71.server, and 71[3].server in an array.
    job = os.environ.get("SLURM_JOB_ID") or os.environ.get("PBS_JOBID", "").split(".")[0] or str(os.getpid())
    job = re.sub(r"[^\w\[\]-]", "_", job)
    folder = root / f"{PREFIX}{os.getuid()}-{job}"
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:  # another step of this job, or another user's folder
        folder = folder.with_name(f"{folder.name}-{os.getpid()}")
        folder.mkdir(mode=0o700)
    name = secrets.token_hex(8)
    (folder / _OWNER).write_text(json.dumps({"process": this_process().to_dict(), "id": name}))
    return folder, name


def _owner_of(folder: Path) -> Process | None:
    try:
        return Process.from_dict(json.loads((folder / _OWNER).read_bytes())["process"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _sources(data: DataConfig, graph: GraphConfig) -> dict[str, list[Path]]:
    """The files of each file and folder that the sections name and that is there; of the data also those that are read
    beside it, or in folders below it.
    """
    found = {}
    for source in dict.fromkeys(map(str, source_files(data, graph))):
        if source == data.data and os.path.exists(source):
            found[source] = files_of_path(Path(source), data.data_format)
        elif os.path.isdir(source):
            found[source] = sorted(path for path in Path(source).iterdir() if path.is_file())
        elif os.path.isfile(source):
            found[source] = [Path(source)]
    return found


def _common_folder(source: str, files: list[Path]) -> Path:
    """The folder from which the copies keep their paths: readers look at the names of the folders above a file."""
    if os.path.isdir(source):
        return Path(source).absolute().parent
    return Path(os.path.commonpath([file.absolute().parent for file in files])).parent


def _known_folder(data: DataConfig) -> str:
    return str(Path(data.data_folder, data.data))


def _copy(source: Path, target: Path, asked_to_stop: Callable[[], bool]) -> None:
    digest = hashlib.sha256()
    with source.open("rb") as read, target.open("wb") as write:
        while chunk := read.read(_CHUNK):
            if asked_to_stop():
                raise NotStagedError("asked to stop meanwhile")
            digest.update(chunk)
            write.write(chunk)
        write.flush()
        os.fsync(write.fileno())
        if hasattr(os, "posix_fadvise"):  # so that what is compared comes from the disk, not from memory
            os.posix_fadvise(write.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if sha256_of(target) != digest.hexdigest():
        raise NotStagedError(f"the copy of {source} in {target.parent} is not what was read: that disk is damaged")
