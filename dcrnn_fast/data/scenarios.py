"""A folder of scenario files: many short series on the same sensors, each cut into windows of its own."""

from collections.abc import Callable
from pathlib import Path

from dcrnn_fast.data.series import SensorSeries, join_parts
from dcrnn_fast.errors import UserError


def read_scenarios(folder: Path, endings: tuple[str, ...], read: Callable[[Path], SensorSeries]) -> SensorSeries:
    """All files of the folder with one of the endings, by name, as the parts of one series.

    Raises:
        UserError: none, of several kinds, or with other sensors, channels or interval than the first (it is named).
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in endings and path.is_file())
    if not paths:
        raise UserError(f"{folder} holds no series: wanted files ending in {', '.join(endings)}, or a prepared store")
    kinds = {path.suffix.lower() for path in paths}
    if len(kinds) > 1:
        raise UserError(f"{folder} holds files of several kinds ({', '.join(sorted(kinds))}): one kind is wanted")
    return join_parts([read(path) for path in paths], [path.name for path in paths], str(folder))
