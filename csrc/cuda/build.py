"""How nvcc compiles the CUDA kernels. ``setup.py`` runs this file; a test does too.

``DCRNN_FAST_CUDA`` decides: ``auto`` (the default) compiles if nvcc is found, ``0`` does not, ``1`` fails if nvcc is
missing or does not succeed. The kernels use no torch header and the static CUDA runtime, so that one build opens in
CPU and CUDA builds of torch, with and without a driver.
"""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

ARCHITECTURES = ("sm_80", "sm_90")
# For GPUs newer than those: the driver compiles it.
PTX = "compute_90"
FLAGS = [
    "-std=c++20", "-O3", "-I.", "--cudart=static", "-Xcompiler=-fPIC,-fvisibility=hidden",
    *(f"-gencode=arch={arch.replace('sm', 'compute')},code={arch}" for arch in ARCHITECTURES),
    f"-gencode=arch={PTX},code={PTX}",
]  # fmt: skip
LIBRARIES = ["cudart_static", "dl", "pthread", "rt"]


class Built(NamedTuple):
    """The files and libraries to link, and the build facts: ``{"cuda": ...}`` or ``{"no_cuda": reason}``."""

    wrappers: list[str]
    objects: list[str]
    libraries: list[str]
    library_dirs: list[str]
    facts: dict[str, Any]


class NotBuiltError(Exception):
    """Why there are no CUDA kernels."""


def find_nvcc() -> str:
    """Path of nvcc: $CUDACXX, $CUDA_HOME/bin/nvcc, or the first on the path.

    Raises:
        NotBuiltError: there is none.
    """
    home = os.environ.get("CUDA_HOME")
    named = os.environ.get("CUDACXX") or (os.path.join(home, "bin", "nvcc") if home else "nvcc")
    found = shutil.which(named)
    if found is None:
        raise NotBuiltError(f"there is no nvcc ({named}; set CUDA_HOME to a CUDA toolkit of version 12 or newer)")
    return found


def _run(command: list[str], cwd: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    if done.returncode:
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        errors = [line for line in said if "error" in line] or said or [f"it ended with {done.returncode}"]
        raise NotBuiltError(f"nvcc failed: {errors[0].strip()}")
    return done.stdout + done.stderr


def compile_object(nvcc: str, compiler: str, folder: Path, root: Path = Path()) -> Path:
    """The kernels under ``root`` as one object, made anew only when their sources or the command have changed.

    Raises:
        NotBuiltError: nvcc's first error.
    """
    version = _run([nvcc, "--version"])
    command = [nvcc, f"-ccbin={shutil.which(compiler) or compiler}", *FLAGS, "-c", "csrc/cuda/candidate.cu"]
    digest = hashlib.sha256(" ".join([*command, version]).encode())
    for path in sorted((root / "csrc" / "cuda").glob("*.*")):
        digest.update(path.read_bytes())
    made = folder / f"candidate-{digest.hexdigest()[:16]}.o"
    if not made.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = made.with_suffix(f".{os.getpid()}.o").absolute()
        _run([*command, "-o", str(unfinished)], root)
        unfinished.replace(made)
    return made


def nvcc_version(nvcc: str) -> str:
    """nvcc's own version, such as "13.0"."""
    release = re.search(r"release ([\d.]+)", _run([nvcc, "--version"]))
    return release[1] if release else "unknown"


def library_dirs(nvcc: str) -> list[str]:
    """The folders that this nvcc links from, by its own dry run: its toolkit may lie anywhere."""
    said = _run([nvcc, "--dryrun", "-o", "nothing", "-x", "cu", os.devnull])
    line = next((line for line in said.splitlines() if "LIBRARIES=" in line), "")
    return [folder for folder in re.findall(r'-L"?([^"\s]+)', line) if not folder.endswith("stubs")]


def build(compiler: str, folder: Path) -> Built:
    """Compiles the kernels, or gives the reason why not.

    Raises:
        SystemExit: DCRNN_FAST_CUDA is 1 and they cannot be compiled, or it is none of auto, 0 and 1.
    """
    wanted = os.environ.get("DCRNN_FAST_CUDA", "auto")
    if wanted not in ("auto", "0", "1"):
        raise SystemExit(f"DCRNN_FAST_CUDA is {wanted!r}; it may be auto, 0 or 1")
    try:
        if wanted == "0":
            raise NotBuiltError("DCRNN_FAST_CUDA=0")
        nvcc = find_nvcc()
        made = compile_object(nvcc, compiler, folder)
        folders = library_dirs(nvcc)
    except NotBuiltError as reason:
        if wanted == "1":
            raise SystemExit(f"DCRNN_FAST_CUDA=1, but the CUDA kernels cannot be built: {reason}") from None
        return Built([], [], [], [], {"no_cuda": str(reason)})
    facts = {"nvcc": nvcc_version(nvcc), "architectures": [*ARCHITECTURES, PTX]}
    wrappers = sorted(path.as_posix() for path in Path("csrc/torch").glob("cuda_*.cpp"))
    return Built(wrappers, [str(made)], LIBRARIES, folders, {"cuda": facts})
