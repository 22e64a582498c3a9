"""The receiving side of ``--push``: runs in a host's Python before the package is there, so it imports nothing of it.

Input: for each parcel a JSON line, then the bytes of the files that were asked for. Output: for each a line that asks
for files, and one when all of it is in place. A parcel is a folder of the root, named by a digest of its content. It is
written under another name and renamed once every checksum agrees; a file that an earlier parcel has is taken from it.
"""

import hashlib
import json
import os
import shutil
import socket
import sys
from typing import IO, Any

MARK = "dcrnn_fast push "
BLOCK = 1 << 20


class RefusedError(Exception):
    """A reason, for the other side to print."""


def main() -> int:
    """Returns 0 when every parcel is in place."""
    root = ""
    source, sink = sys.stdin.buffer, sys.stdout
    try:
        while line := source.readline():
            parcel = json.loads(line)
            root = parcel["root"]
            require_own_folder(root)
            target = os.path.join(root, parcel["name"])
            if is_good(target, parcel["files"]):
                say(sink, wanted=[])
            else:
                receive(source, sink, root, target, parcel)
            say(sink, placed=target)
    except RefusedError as error:
        say(sink, refused=str(error))
        return 1
    except OSError as error:
        say(sink, refused=f"{error.strerror or error} ({error.filename or root})")
        return 1
    return 0


def say(sink: IO[str], **fact: Any) -> None:
    """Tells the other side."""
    print(MARK + json.dumps(fact), file=sink, flush=True)


def require_own_folder(root: str) -> None:
    """A folder of a place where all may write must be ours: code is run from it."""
    os.makedirs(root, mode=0o700, exist_ok=True)
    found = os.lstat(root)
    if os.path.islink(root) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise RefusedError(
            f"{root} belongs to somebody else or others may write there: DCRNN_PUSH_ROOT names another folder"
        )


def receive(source: IO[bytes], sink: IO[str], root: str, target: str, parcel: dict) -> None:
    """Asks for the files that are missing, and puts the folder in place."""
    files = parcel["files"]
    host = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
    clear_leftovers(root, f".receiving-{host}-")
    new = os.path.join(root, f".receiving-{host}-{os.getpid()}")
    os.mkdir(new)
    try:
        wanted = [number for number, file in enumerate(files) if not take_earlier(root, parcel["kind"], new, file)]
        needed, free = sum(files[number][1] for number in wanted), shutil.disk_usage(root).free
        if needed > free:
            raise RefusedError(f"{root} has {free / 2**20:.3g} MiB free, {needed / 2**20:.3g} MiB are needed")
        say(sink, wanted=wanted)
        for number in wanted:
            write(source, new, files[number])
        if os.path.lexists(target):  # its checksums do not agree
            os.rename(target, new + ".damaged")
        os.rename(new, target)
    finally:
        for left in (new, new + ".damaged"):
            shutil.rmtree(left, ignore_errors=True)


def place_of(folder: str, name: str) -> str:
    """Where a file goes; its folder is made."""
    path = os.path.normpath(os.path.join(folder, name))
    if not path.startswith(folder + os.sep):
        raise RefusedError(f"{name!r} is no name of a file in a folder")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path


def write(source: IO[bytes], folder: str, file: list) -> None:
    """Writes a file, syncs it, and compares its checksum."""
    name, left, digest, mode = file
    found = hashlib.sha256()
    path = place_of(folder, name)
    with open(path, "wb") as stream:
        while left:
            block = source.read(min(left, BLOCK))
            if not block:
                raise RefusedError(f"the transfer ended inside {name}")
            found.update(block)
            stream.write(block)
            left -= len(block)
        stream.flush()
        os.fsync(stream.fileno())
    if found.hexdigest() != digest:
        raise RefusedError(f"{name} arrived damaged (its checksum differs)")
    os.chmod(path, mode)


def take_earlier(root: str, kind: str, folder: str, file: list) -> bool:
    """Whether an earlier parcel of this kind has the same file: copied from there."""
    name, size, digest, mode = file
    for other in sorted(os.listdir(root)):
        path = os.path.join(root, other, name)
        if other.startswith(kind + "-") and os.path.isfile(path) and os.path.getsize(path) == size:
            copy = place_of(folder, name)
            shutil.copyfile(path, copy)
            if sha256(copy) == digest:
                os.chmod(copy, mode)
                return True
    return False


def is_good(target: str, files: list) -> bool:
    """Whether all of it lies there, and nothing else."""
    there = set()
    for folder, _, names in os.walk(target):
        there |= {os.path.relpath(os.path.join(folder, name), target) for name in names if not name.endswith(".pyc")}
    if there != {file[0] for file in files}:
        return False
    return all(sha256(os.path.join(target, file[0])) == file[2] for file in files)


def sha256(path: str) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    found = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(BLOCK):
            found.update(block)
    return found.hexdigest()


def clear_leftovers(root: str, prefix: str) -> None:
    """Removes what a receiver of this host that was killed has left."""
    for name in os.listdir(root):
        number = name.removeprefix(prefix).partition(".")[0]
        if name.startswith(prefix) and number.isdigit() and not os.path.exists(f"/proc/{number}"):
            shutil.rmtree(os.path.join(root, name), ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
