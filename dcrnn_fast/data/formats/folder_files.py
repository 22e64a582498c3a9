"""Which files of a folder are series, and which only accompany them: a README, a licence, checksums, pictures."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from dcrnn_fast.data.formats import ENDINGS, format_of_file
from dcrnn_fast.data.formats.signatures import is_table, packing_of
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import first_few, naming_file

_WORDS = "readme|licen[cs]e|copying|copyright|notice|authors|citation|changelog|requirements|checksums?|md5|sha\\d*"
_NAME = re.compile(rf"({_WORDS}|(md5|sha\d*)sums?)([._-].*)?", re.IGNORECASE)
_ENDINGS = {
    *(".md", ".rst", ".pdf", ".ipynb", ".py", ".r", ".m", ".sh", ".log", ".json", ".xml", ".yaml", ".yml", ".toml"),
    *(".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".md5", ".sha1", ".sha256", ".sha512", ".asc", ".sig", ".bib"),
    *(".ini", ".cfg", ".bak", ".tmp", ".part", ".crc"),
}


def accompanies(name: str) -> bool:
    """Whether a file is no series by its name: hidden, a README, a licence, checksums, a picture, a program."""
    return name.startswith(".") or _NAME.fullmatch(name) is not None or Path(name).suffix.lower() in _ENDINGS


def series_files(folder: Path) -> tuple[list[tuple[Path, str]], list[str]]:
    """The files of a folder that are series, each with the word of its format, and the names of all others.

    Besides what accompanies series by its name, a file of which neither ending nor contents name a format is none, and
    beside other files a .txt that is no table.

    Raises:
        UserError: the folder cannot be read, or a file is packed.
    """
    with naming_file(folder):
        paths = sorted(path for path in folder.iterdir())
    found: list[tuple[Path, str]] = []
    left: list[str] = []
    for path in paths:
        is_file = not os.path.isdir(path)
        if not is_file and path.suffix.lower() in ENDINGS:
            raise UserError(f"{path} is a folder, where a file is wanted: move it away")
        kind = format_of_file(path) if is_file and not accompanies(path.name) else None
        if kind is not None and (kind != "csv" or path.suffix.lower() in ENDINGS):
            found.append((path, kind))
        elif is_file and not accompanies(path.name) and (packing := packing_of(path)) is not None:
            raise UserError(f"{path} is {packing}: unpack it, or move it away")
        else:
            left.append(path.name if is_file else f"{path.name}/")
    texts = {path for path, kind in found if kind == "csv" and path.suffix.lower() == ".txt" and not is_table(path)}
    if len(texts) < len(found):
        found = [(path, kind) for path, kind in found if path not in texts]
        left += sorted(path.name for path in texts)
    return found, left


def note_of_left(folder: Path, names: Iterable[str]) -> tuple[str, ...]:
    """A line of the account about files of a folder that are not read; none if there are none."""
    left = sorted(names, key=lambda name: (name.startswith("."), name))
    return (f"{folder}: no series, and not read: {first_few(left)}",) if left else ()
