"""Which checkpoint is meant by a file or a folder: for use the best one, to train on (``--resume``) the latest."""

from pathlib import Path

from dcrnn_fast.checkpoints.files import BEST, Checkpoint, newest_good, read_good
from dcrnn_fast.errors import UserError


def find_checkpoint(path: str | Path) -> Checkpoint:
    """The checkpoint to forecast with, to measure, to export or to start from; notes say which one of a folder it is.

    Of a file, ``read_good``. Of a folder of checkpoints, or of a results folder, ``best.pt``: it has the least
    validation error, and the prediction intervals. Without one, the newest good checkpoint.

    Raises:
        UserError: there is none, or none that is good.
    """
    if path == "":  # an unset variable of a script, which Path would take for the current folder
        raise UserError("the checkpoint's name is empty: name a file or a folder")
    path = Path(path)
    if not path.is_dir():
        return read_good(path)
    folder = next((folder for folder in (path, path / "checkpoints") if any(folder.glob("*.pt"))), path)
    if (folder / BEST).exists():
        found = read_good(folder / BEST)
        why = "the epoch with the least validation error (--resume takes the latest)"
        if found.path.name != BEST:
            return found  # its notes name both
    else:
        newest = newest_good(folder)
        if newest is None:
            raise UserError(f"there is no checkpoint (*.pt) in the folder {path}, nor in its folder checkpoints")
        found, why = newest, f"the furthest in training, as there is no {BEST}"
    return found._replace(notes=(*found.notes, f"using {found.path}: {why}"))
