"""The files of one long table: in folders, as pyarrow, Spark and DuckDB partition it (year=2024/month=01), or in one.

The names of the folders say nothing that is read but a sensor, a channel, or, in files without times, a date.
"""

import os
from collections.abc import Collection
from pathlib import Path
from urllib.parse import unquote

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.blocks import Blocks
from dcrnn_fast.data.formats import Opened
from dcrnn_fast.data.formats.folder_files import accompanies, note_of_left
from dcrnn_fast.data.formats.long_files import PARQUET_ENDINGS, LongFile, holds_parquet, open_long_files
from dcrnn_fast.data.long_table import CHANNEL_NAMES, ID_NAMES
from dcrnn_fast.data.table_columns import TIME_NAMES
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import counted, first_few, naming_file
from dcrnn_fast.reading.tables import plain_name

_ENDINGS = (*PARQUET_ENDINGS, ".csv", ".tsv", ".txt")


def open_partitioned(path: Path, data: DataConfig, graph: GraphConfig) -> Opened:
    """The series of all files below the folder, in the order of their paths.

    Raises:
        UserError: no file, or files of several kinds; no long table (a row for each time and sensor); errors of
            ``open_long_files``.
    """
    with naming_file(path):
        names = sorted(
            os.path.relpath(os.path.join(folder, name), path)
            for folder, folders, files in os.walk(path)
            for name in files
            if not name.startswith((".", "_")) and "/." not in folder[len(str(path)) :]
        )
        files = [one for one in map(Path, names) if one.suffix.lower() in _ENDINGS and not accompanies(one.name)]
        kinds = {"parquet" if holds_parquet(path / one) else "csv" for one in files}
        if not files:
            raise UserError(f"holds no table: wanted files ending in {', '.join(_ENDINGS)} in its folders")
        if len(kinds) > 1:
            raise UserError("holds CSV and Parquet files: one kind is wanted")
    # pyarrow and Spark take the columns that name the folders out of the files: also the only one of dates.
    left = note_of_left(path, {*names} - set(map(str, files)))
    for read in ((*ID_NAMES, *CHANNEL_NAMES), (*ID_NAMES, *CHANNEL_NAMES, *TIME_NAMES)):
        if (blocks := _blocks(path, files, data, read, left)) is not None:
            return blocks, None
    raise UserError(
        f"{path / files[0]} is no long table: a row for each time and sensor is wanted, with the columns time, id and "
        "readings; for tables with a column for each sensor: --data-format continued or scenarios"
    )


def _blocks(
    path: Path, files: list[Path], data: DataConfig, read: Collection[str], left: tuple[str, ...]
) -> Blocks | None:
    """The series, with the folders' keys that have these plain names as columns; None: these are no long table's.

    Args:
        left: notes of the files that are not read.
    """
    known: dict[str, None] = {}
    long_files = []
    for file in files:
        keys = _keys(file)
        known |= dict.fromkeys(key for key, _ in keys)
        taken = tuple((key, value) for key, value in keys if plain_name(key) in read)
        long_files.append(LongFile(path / file, str(path / file), taken))
    spare = [key for key in known if plain_name(key) not in read]
    told = f"{path.name}: {counted(len(files), 'file')} read"
    if spare:
        where = "the times are those of other folders" if "time" in read else "the times are in the files"
        told += f"; their folders' {first_few(spare)} are not: {where}"
    return open_long_files(long_files, path.name, data, (told, *left))


def _keys(file: Path) -> list[tuple[str, str]]:
    """What the names of a file's folders say."""
    parts = [part.partition("=") for part in file.parent.parts]
    return [
        (key, unquote(value)) for key, sign, value in parts if sign and key and value != "__HIVE_DEFAULT_PARTITION__"
    ]
