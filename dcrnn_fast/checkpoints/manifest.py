"""``manifest.json`` of a folder of checkpoints: name -> SHA-256 of the saves that the file of this name may be.

The newest save comes last. Earlier ones stay in the list for a while: a network file system may still show the file
that a rename has replaced, and that is a whole checkpoint too.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

from dcrnn_fast.errors import UserError
from dcrnn_fast.files import open_regular, write_bytes
from dcrnn_fast.messages import first_line

MANIFEST = "manifest.json"
_LARGEST = 16 << 20
"""bytes that are read of a manifest"""
_KEPT, _LONGEST = 16, 32
"""saves of a name that stay listed when a list has become longer than the second"""
_SHA256 = re.compile(r"[0-9a-f]{64}")

Manifest = dict[str, list[str]]


def read_manifest(folder: Path) -> Manifest:
    """The manifest of ``folder``; empty if there is none.

    Raises:
        UserError: the file of that name is another program's, or cannot be read.
    """
    path = folder / MANIFEST
    try:
        with open_regular(path) as stream:
            payload = stream.read(_LARGEST + 1)
        found = json.loads(payload) if len(payload) <= _LARGEST else None
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise _not_ours(path, f"it cannot be read: {error.strerror or error}") from error
    except RecursionError as error:
        raise _not_ours(path, "it is nested too deeply") from error
    except ValueError as error:
        raise _not_ours(path, f"it is no JSON: {first_line(error)[:100]}") from error
    if not isinstance(found, dict) or not all(map(_is_listing, found.values())):
        raise _not_ours(path, "it does not list files with their SHA-256")
    return found


def write_manifest(folder: Path, manifest: Manifest, before_rename: Callable[[], None] = lambda: None) -> None:
    """Replaces the manifest of ``folder``, which ``read_manifest`` has accepted; see ``write_bytes``."""
    write_bytes(folder / MANIFEST, (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode(), before_rename)


def shortened(manifest: Manifest) -> Manifest:
    """Without old saves if a list has become long; to be written once the newest save of each name is in its place."""
    if all(len(listed) <= _LONGEST for listed in manifest.values()):
        return manifest
    return {name: listed[-_KEPT:] for name, listed in manifest.items()}


def require_own_manifest(folder: Path) -> None:
    """Checks, before anything is trained or read, that checkpoints can be saved in ``folder``.

    Raises:
        UserError: a file named manifest.json there is another program's, or cannot be read.
    """
    read_manifest(folder)


def _is_listing(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and _SHA256.fullmatch(item) for item in value)


def _not_ours(path: Path, why: str) -> UserError:
    return UserError(
        f"{path} is no manifest of checkpoints ({why}) and is never replaced: move it or remove it, or name another "
        "folder for the checkpoints"
    )
