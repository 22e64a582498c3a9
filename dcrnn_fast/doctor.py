"""``dcrnn-fast doctor``: all facts that a helper needs: what is installed, what runs and why, what is broken.

Exits with 1 if something is broken and must be fixed: a compiled library that is refused or cannot be opened, a package
that is too old or missing, a variable with an unknown value. Mere room for improvement is a note.
"""

import json
import math
import os
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import torch
from packaging.requirements import Requirement

import dcrnn_fast
from dcrnn_fast.command import run_command
from dcrnn_fast.config.command_line import parse
from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.errors import UserError
from dcrnn_fast.kernels.explain import facts
from dcrnn_fast.kernels.gpu.available import why_not_assembler
from dcrnn_fast.kernels.gpu.words import override, read_words
from dcrnn_fast.kernels.selfcheck import check_backend
from dcrnn_fast.system import Limits, limits, machine, memory_mib, usable_cores

ONLY_FOR_GPUS = ("triton",)
"""requirements that nothing on a CPU needs"""
GPU_BACKENDS = ("triton", "cuda")
VARIABLES = (
    "DCRNN_FAST_CPU", "DCRNN_FAST_TRITON", "DCRNN_FAST_CACHE", "DCRNN_FAST_DATA", "TRITON_INTERPRET",
    "TRITON_PTXAS_PATH", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "RANK",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class DoctorFlags:
    """What to look at, and the form of the output."""

    json: bool = False
    """one JSON object instead of text"""
    all_ranks: bool = False
    """under srun, mpirun or torchrun: compare all ranks, their network, clocks and disks"""
    dist_timeout: int = 60
    """with --all-ranks: seconds to wait for the others"""
    log: str | None = None
    """explain what torchrun, PyTorch and Slurm say in this output of a job"""

    def __post_init__(self) -> None:
        if self.dist_timeout < 1:
            raise UserError(f"dist_timeout must be at least 1, got {self.dist_timeout}")


def examine() -> dict[str, Any]:
    """All facts, with ``broken`` and ``notes``: sentences about things that must, or could, be fixed."""
    broken: list[str] = []
    try:
        kernels = facts()
    except ValueError as error:
        broken.append(str(error))
        kernels = None
    try:
        read_words(override())
    except ValueError as error:
        broken.append(str(error))
    if wrong_assembler := why_not_assembler():
        broken.append(wrong_assembler)
    required = requirements()
    packages = {one.name: _version(one.name) for one in required}
    broken += _unmet(required, packages)
    if kernels is not None and kernels["library"]["broken"]:
        broken.append(kernels["library"]["reason"])
    limit = limits()
    found: dict[str, Any] = {
        "package": {
            "version": dcrnn_fast.__version__,
            "folder": str(Path(dcrnn_fast.__file__).parent),
            "installed": _installed(),
        },
        "python": {"version": platform.python_version(), "program": sys.executable},
        "machine": machine(),
        "usable_cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "limits": limit._asdict(),
        "memory_available_mib": memory_mib("MemAvailable"),
        "packages": packages,
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "data_folders": _data_folders(),
        "kernels": kernels,
        "self_check": _self_check(kernels, broken),
    }
    for backend, verdicts in found["self_check"].items():
        if not isinstance(verdicts, str):
            wrong = [f"{one['operator']} in {one['dtype']}: {one['problem']}" for one in verdicts if one["problem"]]
            broken += [f"{backend} is passed over where it is wrong: {sentence}" for sentence in wrong]
    return {**found, "broken": broken, "notes": _notes(found, limit)}


def _self_check(kernels: dict[str, Any] | None, broken: list[str]) -> dict[str, Any]:
    """On a GPU, each operator of its backends beside PyTorch, made anew: the verdicts, or why it cannot run.

    A check that itself fails (no memory, no disk, a wrong variable) is ``broken``.
    """
    found: dict[str, Any] = {}
    if kernels is not None and kernels["gpu"]["devices"]:
        for backend in GPU_BACKENDS:
            try:
                checked = check_backend(backend, torch.device("cuda"))
                found[backend] = [one._asdict() | {"problem": one.problem} for one in checked]
            except NotImplementedError as error:
                found[backend] = str(error)
            except (RuntimeError, ValueError, OSError) as error:
                found[backend] = f"its self-check failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
                broken.append(f"{backend}: {found[backend]}")
    return found


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _installed() -> str:
    try:
        requires("dcrnn_fast")
    except PackageNotFoundError:
        return "not installed: runs from a source checkout"
    return f"installed as {version('dcrnn_fast')}"


def requirements() -> list[Requirement]:
    """The installed package's requirements on this machine, by its own metadata; none if it is not installed."""
    try:
        lines = requires("dcrnn_fast") or []
    except PackageNotFoundError:
        return []
    return [one for one in map(Requirement, lines) if one.marker is None or one.marker.evaluate({"extra": ""})]


def _unmet(required: list[Requirement], packages: dict[str, str | None]) -> list[str]:
    """A sentence for each package that is not there or of a version that will not do."""
    sentences = []
    for one in required:
        found, wanted = packages[one.name], f"{one.name}{one.specifier}"
        if found is None:
            if one.name not in ONLY_FOR_GPUS:
                sentences.append(f"{one.name} is not installed; pip install '{wanted}'")
        elif not one.specifier.contains(found, prereleases=True):
            sentences.append(f"{one.name} is {found}, {one.specifier} is needed; pip install '{wanted}'")
    return sentences


def _data_folders() -> dict[str, str]:
    """The places that are searched for data, and whether each exists."""
    default = DataConfig().data_folder
    places = {f"named data sets (--data-folder, default {default})": default}
    if "DCRNN_FAST_DATA" in os.environ:
        places["tests and benchmarks (DCRNN_FAST_DATA)"] = os.environ["DCRNN_FAST_DATA"]
    return {what: f"{Path(place).resolve()}: {_content(Path(place))}" for what, place in places.items()}


def _content(folder: Path) -> str:
    if not folder.is_dir():
        return "not there"
    return ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir())) or "empty"


def _notes(found: dict[str, Any], limit: Limits) -> list[str]:
    kernels, threads, notes = found["kernels"], found["threads"], []
    if kernels is not None:
        compiled = kernels["library"]
        if compiled["reason"] is not None and not compiled["broken"]:
            notes.append(f"CPU tensors run on plain PyTorch: {compiled['reason']}")
        if kernels["gpu"]["triton"] == "not installed" and kernels["gpu"]["devices"]:
            notes.append("a GPU without triton: pip install triton")
    cores = found["usable_cores"] if limit.cores is None else min(found["usable_cores"], math.ceil(limit.cores))
    if threads > cores:
        what = f"{cores} core{'' if cores == 1 else 's'} ({_what_limits(found, limit)})"
        notes.append(f"{threads} threads share {what}: set OMP_NUM_THREADS={cores}")
    if missing := [name for name in ONLY_FOR_GPUS if name in found["packages"] and found["packages"][name] is None]:
        notes.append(f"not installed, and needed only on a GPU: {', '.join(missing)}")
    return notes


def _what_limits(found: dict[str, Any], limit: Limits) -> str:
    if limit.cores is not None and limit.cores < found["usable_cores"]:
        return f"the control group allows {limit.cores:g}"
    return f"{found['usable_cores']} of {found['machine']['cores']} may be used"


def text(found: dict[str, Any]) -> str:
    """The facts for a reader: one line each, broken things last."""
    package, python, computer, limit = found["package"], found["python"], found["machine"], found["limits"]
    kernels = found["kernels"]
    lines = [
        f"dcrnn_fast {package['version']} in {package['folder']} ({package['installed']})",
        f"Python {python['version']}: {python['program']}",
        f"{computer['system']}; {computer['cpu']}: {', '.join(computer['flags']) or 'no known instruction set'}",
        f"cores: {computer['cores']}, usable {found['usable_cores']}, limit {_or_none(limit['cores'], '{:g}')}; "
        f"threads {found['threads']}; load {', '.join(map(str, computer['load_average']))}",
        f"memory: {computer['memory_gib']} GiB, available {found['memory_available_mib'] / 1024:.1f}, "
        f"limit {_or_none(limit['memory_mib'], '{:.0f} MiB')}",
        "",
    ]
    if kernels is not None:
        lines += _kernel_lines(kernels)
    for backend, verdicts in found["self_check"].items():
        if isinstance(verdicts, str):
            lines.append(f"{backend}: cannot run: {verdicts}")
        else:
            right = sum(not one["problem"] for one in verdicts)
            lines.append(f"{backend}: self-check of {len(verdicts)} operators and dtypes: {right} agree with PyTorch")
    lines += ["", "packages: " + ", ".join(f"{name} {found_ or '–'}" for name, found_ in found["packages"].items())]
    lines.append(
        "variables: " + (", ".join(f"{name}={value}" for name, value in found["variables"].items()) or "none set")
    )
    lines += [f"data, {what}: {said}" for what, said in found["data_folders"].items()]
    lines += ["", *(f"note: {note}" for note in found["notes"])] if found["notes"] else []
    lines += (
        ["", *(f"BROKEN: {sentence}" for sentence in found["broken"])] if found["broken"] else ["", "nothing is broken"]
    )
    return "\n".join(lines)


def _kernel_lines(kernels: dict[str, Any]) -> list[str]:
    compiled, units, gpu = kernels["library"], kernels["units"], kernels["gpu"]
    build = compiled["build"]
    lines = [f"torch {kernels['torch']}"]
    if compiled["reason"] is None:
        lines.append(f"compiled kernels: {compiled['file']}")
        lines.append(
            f"  built by {build['compiler']} against torch {build['torch']}, for {build['torch_target']} and newer"
        )
        for storage, unit in units.items():
            lines.append(f"  CPU unit for {storage}: {unit['chosen']}")
            lines += [f"    not {name}: {why_not}" for name, why_not in unit["not"].items()]
    else:
        lines.append(f"compiled kernels: not used: {compiled['reason']}")
    for operator, choice in kernels["operators"].items():
        reasons = "; ".join(f"not {name}: {why_not}" for name, why_not in choice["not"].items())
        lines.append(f"{operator}: {choice['chosen']}" + (f" ({reasons})" if reasons else ""))
    lines.append(f"GPU: {'; '.join(gpu['devices']) or 'none: ' + gpu['reason']}")
    lines.append(f"  {gpu['build']}; driver: {gpu['driver']}; triton: {gpu['triton']}")
    return lines


def _or_none(value: float | None, form: str) -> str:
    return "none" if value is None else form.format(value)


def _run(argv: list[str]) -> int:
    flags = parse(
        DoctorFlags,
        argv,
        prog="dcrnn-fast doctor",
        description="Say what is installed, what runs and why, and what is broken (then exit with 1).",
    )
    if flags.log is not None:
        from dcrnn_fast.doctoring.job_output import explained

        print("\n".join(explained(Path(flags.log))) or f"{flags.log}: no message that is known here")
        return 0
    if flags.all_ranks:
        from dcrnn_fast.doctoring.all_ranks import examine_all  # needs packages that the doctor may find missing

        return examine_all(flags.dist_timeout, as_json=flags.json)
    try:
        found = examine()
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}") from error
    print(json.dumps(found, indent=1) if flags.json else text(found))
    return 1 if found["broken"] else 0


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command("doctor", _run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
