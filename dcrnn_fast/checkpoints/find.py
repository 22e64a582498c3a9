"""A checkpoint by its file, or by a folder of them."""

from pathlib import Path

from dcrnn_fast.checkpoints.files import Checkpoint, newest_good, read_good
from dcrnn_fast.errors import UserError


def find_checkpoint(path: str | Path) -> Checkpoint:
    """``read_good`` of a file; of a folder, or of a results folder, its newest good checkpoint.

    Raises:
        UserError: there is none, or none that is good.
    """
    if path == "":  # an unset variable of a script, which Path would take for the current folder
        raise UserError("the checkpoint's name is empty: name a file or a folder")
    path = Path(path)
    if not path.is_dir():
        return read_good(path)
    folders = [folder for folder in (path, path / "checkpoints") if any(folder.glob("*.pt"))]
    if not folders or (newest := newest_good(folders[0])) is None:
        raise UserError(f"there is no checkpoint (*.pt) in the folder {path}, nor in its folder checkpoints")
    return newest
