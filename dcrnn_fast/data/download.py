"""Downloads the known data sets that have a public address, and checks the files."""

from pathlib import Path

import pooch
import requests

from dcrnn_fast.data.known import known_data, require_files
from dcrnn_fast.errors import UserError
from dcrnn_fast.files import folder_for_new_files
from dcrnn_fast.messages import one_line


def _reason(error: OSError) -> str:
    """Why a download failed, in a few words: those of requests hold the address and the objects around it."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answers {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError):
        return "no connection; is there a network?"
    return error.strerror or one_line(error)[:120]


def download(name: str, folder: Path) -> list[Path]:
    """Download the files with a known address and checksum into ``folder``/``name``; files already there stay if right.

    Returns:
        the files' paths.
    Raises:
        UserError: no network, another content than the checksum's, or a file that only people can fetch is not there
            (after the others were downloaded).
    """
    known_data(name)
    target = folder / name
    if target.is_dir():  # perhaps with all files there, and write-protected
        return _download_into(target, name, folder)
    with folder_for_new_files(target, "data folder"):
        return _download_into(target, name, folder)


def _download_into(target: Path, name: str, folder: Path) -> list[Path]:
    known = known_data(name)
    paths = []
    for file in known.files:
        if file.address is None:
            continue
        try:
            paths.append(Path(pooch.retrieve(file.address, f"sha256:{file.sha256}", fname=file.name, path=target)))
        except (OSError, requests.RequestException) as error:
            raise UserError(
                f"cannot download {file.address} ({_reason(error)}): put {file.name} from {file.place} into {target} "
                "yourself"
            ) from error
        except ValueError as error:
            raise UserError(
                f"{file.address} is not the file that was expected, its checksum differs: nothing was kept"
            ) from error
    require_files(name, folder)
    return paths
