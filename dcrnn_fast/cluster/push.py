"""``--push``: the package and data copied to hosts that share no storage, with every checksum verified there.

What is copied lies in folders named by a digest of their content, so that the same content is sent once and two
versions never mix: ``ROOT/code-DIGEST``, ``ROOT/data-DIGEST``. Only ``receive.py`` knows how they are written.
"""

import getpass
import hashlib
import json
import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from dcrnn_fast.cluster import receive
from dcrnn_fast.cluster.hosts import Host, over_ssh
from dcrnn_fast.cluster.preflight import last_words, on_all
from dcrnn_fast.config.sections import Config
from dcrnn_fast.errors import UserError
from dcrnn_fast.files import sha256_of

CODE = "code"
_LEFT_OUT = {"__pycache__", ".git"}
_CHECKOUT_HAS = ("kernels", "csrc")
"""beside the package; the compiled kernels are compared with csrc"""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A folder to be: its files by their names there, and which words of the training it replaces.

    Attributes:
        kind: the first part of the folder's name.
        files: relative name -> the file here.
        facts: for each: name, bytes, SHA-256, permissions.
        replaces: a flag of the training (or ``code``) -> the relative name that it is to have; "" is the folder.
    """

    kind: str
    files: Mapping[str, Path]
    facts: tuple[tuple[str, int, str, int], ...]
    replaces: Mapping[str, str]

    @property
    def name(self) -> str:
        """The folder's name, by its content."""
        return f"{self.kind}-{hashlib.sha256(json.dumps(self.facts).encode()).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class Cargo:
    """All that is pushed, and the hosts' folder for it."""

    root: str
    parcels: tuple[Parcel, ...]

    @classmethod
    def of(cls, data: str, config: str | None, settings: Config) -> "Cargo":
        """The package, the configuration's file, and ``data``, which holds the files that the training reads.

        Raises:
            UserError: ``data`` is not there, or a file that the training reads is not in it.
        """
        root = os.environ.get("DCRNN_PUSH_ROOT") or f"/var/tmp/dcrnn_fast-{getpass.getuser()}"
        if not os.path.isabs(root):
            raise UserError(f"DCRNN_PUSH_ROOT must be an absolute path, got {root!r:.80}")
        parcels = [_parcel(CODE, _code_files(), {CODE: ""}), _data(Path(data), settings)]
        if config is not None and Path(config).is_file():
            parcels.append(_parcel("config", {"config.yaml": Path(config)}, {"--config": "config.yaml"}))
        return cls(root, tuple(parcels))


def pushed_paths(cargo: Cargo) -> dict[str, str]:
    """Where things lie on every host once they are pushed: by flag of the training, and ``code``."""
    return {
        flag: os.path.join(cargo.root, parcel.name, name).rstrip("/")
        for parcel in cargo.parcels
        for flag, name in parcel.replaces.items()
    }


def push_to(hosts: Sequence[Host], python: Sequence[str], ssh: str, cargo: Cargo) -> None:
    """Copies to all hosts at once; what lies there already is verified instead.

    Raises:
        UserError: a transfer failed, a disk is full; the message names each host, where nothing incomplete stays.
    """
    on_all(hosts, lambda host: _push(host, python, ssh, cargo))


def _push(host: Host, python: Sequence[str], ssh: str, cargo: Cargo) -> None:
    program = Path(receive.__file__).read_bytes()
    start = f"import sys; exec(compile(sys.stdin.buffer.read({len(program)}), 'receive.py', 'exec'))"
    command = over_ssh(host, f"exec {shlex.join(python)} -c {shlex.quote(start)}", ssh)
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise UserError(f"cannot start {ssh}: {error.strerror or error}") from error
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        try:
            process.stdin.write(program)
            for parcel in cargo.parcels:
                _send(parcel, cargo.root, process.stdin, process.stdout)
        except (BrokenPipeError, EOFError) as error:
            refusal = _refusal(process.stdout)
            raise UserError(refusal or f"the transfer broke off: {last_words(process.stderr.read())}") from error
        except BaseException:
            process.kill()
            raise
        finally:
            with suppress(BrokenPipeError):  # bytes are left for one that has ended
                process.stdin.close()


def _send(parcel: Parcel, root: str, sink: IO[bytes], answers: IO[bytes]) -> None:
    order = {"root": root, "name": parcel.name, "kind": parcel.kind, "files": parcel.facts}
    sink.write(json.dumps(order).encode() + b"\n")
    sink.flush()
    for number in _answer(answers)["wanted"]:
        name, size, _, _ = parcel.facts[number]
        _copy(parcel.files[name], size, sink)
    sink.flush()
    _answer(answers)


def _copy(path: Path, size: int, sink: IO[bytes]) -> None:
    with path.open("rb") as stream:
        while size:
            block = stream.read(min(size, receive.BLOCK))
            if not block:
                raise UserError(f"{path} became shorter while it was sent: start again when nobody writes it")
            sink.write(block)
            size -= len(block)


def _answer(answers: IO[bytes]) -> dict[str, Any]:
    """The next line of the receiver's; what a login shell greets with is skipped."""
    mark = receive.MARK.encode()
    for line in answers:
        if line.startswith(mark):
            fact: dict[str, Any] = json.loads(line.removeprefix(mark))
            if "refused" in fact:
                raise UserError(f"{fact['refused']}; nothing was put in place there")
            return fact
    raise EOFError


def _refusal(answers: IO[bytes]) -> str:
    """Why the receiver has ended; "": it does not say."""
    try:
        while True:
            _answer(answers)
    except UserError as error:
        return str(error)
    except EOFError:
        return ""


def _data(data: Path, settings: Config) -> Parcel:
    if not data.exists():
        raise UserError(f"--push {data}: there is no such file or folder")
    top = data.resolve()
    graph = settings.graph
    read = {"--data": settings.data.data, "--graph": graph.graph}
    read |= {"--sensor-positions": graph.sensor_positions, "--land-mask": graph.land_mask_file}
    replaces: dict[str, str] = {}
    for flag, given in read.items():
        if given is None or not Path(given).exists():  # the name of a data set
            continue
        path = Path(given).resolve()
        if path != top and top not in path.parents:
            raise UserError(f"{flag} {given} is not in --push {data}: push a folder with both")
        name = path.name if top.is_file() else path.relative_to(top).as_posix()
        replaces[flag] = "" if name == "." else name
    if not replaces:
        raise UserError(f"--push {data} is nothing that the training reads: --data is {settings.data.data}")
    files = {top.name: top} if top.is_file() else _files_under(top, "")
    if not files:
        raise UserError(f"--push {data}: the folder is empty")
    return _parcel("data", files, replaces)


def _code_files() -> dict[str, Path]:
    """The package as it is imported here: an installed one, or a checkout's."""
    package = Path(__file__).resolve().parents[1]
    files = _files_under(package, "dcrnn_fast/")
    if not (package / "kernels").is_dir():
        for name in _CHECKOUT_HAS:
            files |= _files_under(package.parent / name, f"{name}/")
    return files | {path.name: path for path in package.parent.glob("_dcrnn_fast_C*") if path.is_file()}


def _files_under(folder: Path, prefix: str) -> dict[str, Path]:
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if _LEFT_OUT.isdisjoint(name.parts):
            if path.is_symlink() and path.is_dir():
                raise UserError(f"{path} is a link to a folder: --push copies files and folders only")
            if path.is_file():
                found[prefix + name.as_posix()] = path
    return found


def _parcel(kind: str, files: Mapping[str, Path], replaces: Mapping[str, str]) -> Parcel:
    facts = []
    for name, path in sorted(files.items()):
        try:
            status = path.stat()
            facts.append((name, status.st_size, sha256_of(path), 0o755 if status.st_mode & 0o100 else 0o644))
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    return Parcel(kind, files, tuple(facts), replaces)
