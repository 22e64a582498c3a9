"""``dcrnn-fast doctor``: facts, what is broken, exit code; and the limits of control groups."""

import json
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

from dcrnn_fast import __version__, doctor
from dcrnn_fast.kernels.native import MODULE
from dcrnn_fast.kernels.selfcheck.kept import Verdict
from dcrnn_fast.system import Limits, machine
from tests.checkout import ROOT
from tests.kernels.compiled import require_library


def test_says_what_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    require_library()
    monkeypatch.setenv("DCRNN_FAST_CPU", "generic")
    assert doctor.main([]) == 0
    said = capsys.readouterr().out
    assert f"dcrnn_fast {__version__} in {ROOT / 'dcrnn_fast'}" in said
    assert "CPU unit for float32: generic\n" in said
    assert "\nGPU: " in said
    assert "variables: DCRNN_FAST_CPU=generic" in said
    assert said.endswith("nothing is broken\n")


def test_json_has_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    require_library()
    assert doctor.main(["--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["package"]["version"] == __version__
    assert found["machine"]["cores"] == machine()["cores"]
    assert found["kernels"]["library"]["build"]["package"] == __version__
    assert found["broken"] == []
    assert found["packages"]["torch"]


def test_a_gpu_is_checked_and_a_wrong_kernel_is_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Verdict("triton", "dcrnn_seq2seq", "float32", {})
    wrong = Verdict("triton", "x", "bfloat16", {"tile": "off by 3"})

    def verdicts(backend: str, device: torch.device) -> Iterator[Verdict]:
        if backend == "cuda":
            raise NotImplementedError("it was not built")
        return iter([right, wrong])

    known = doctor.facts()
    known["gpu"] |= {"devices": ["A100, sm_80, 80 GiB"], "reason": None}
    monkeypatch.setattr(doctor, "facts", lambda: known)
    monkeypatch.setattr(doctor, "check_backend", verdicts)
    assert doctor.main([]) == 1
    said = capsys.readouterr().out
    assert "triton: self-check of 2 operators and dtypes: 1 agree with PyTorch\n" in said
    assert "cuda: cannot run: it was not built\n" in said
    assert "BROKEN: triton is passed over where it is wrong: x in bfloat16: off by 3" in said


@pytest.mark.parametrize(("installed", "noted"), [("not installed", True), ("installed under another name", False)])
def test_a_triton_of_another_name_is_not_missing(installed: str, noted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    known = doctor.facts()
    known["gpu"] |= {"devices": ["A100, sm_80, 80 GiB"], "reason": None, "triton": installed}
    monkeypatch.setattr(doctor, "facts", lambda: known)
    monkeypatch.setattr(doctor, "check_backend", lambda backend, device: iter(()))
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "triton" else "99.0")
    assert ("a GPU without triton: pip install triton" in doctor.examine()["notes"]) == noted


def test_an_unknown_unit_is_broken(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    require_library()
    monkeypatch.setenv("DCRNN_FAST_CPU", "sse9")
    assert doctor.main([]) == 1
    assert "BROKEN: DCRNN_FAST_CPU is 'sse9', wanted one of generic" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DCRNN_FAST_TRITON", "tile,foo", "DCRNN_FAST_TRITON: unknown word 'foo'; known: tile, "),
        ("TRITON_PTXAS_PATH", "/bin/true", "TRITON_PTXAS_PATH=/bin/true is no assembler that runs (ptxas --version"),
        ("TRITON_PTXAS_PATH", "/nowhere/ptxas", "TRITON_PTXAS_PATH=/nowhere/ptxas is no assembler that runs"),
    ],
)
def test_a_variable_that_names_nothing_is_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    assert doctor.main([]) == 1
    out = capsys.readouterr().out
    assert f"BROKEN: {said}" in out
    assert f"{name}={value}" in next(line for line in out.splitlines() if line.startswith("variables: "))


def test_an_assembler_that_runs_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mine = tmp_path / "ptxas"
    mine.write_text("#!/bin/sh\necho Cuda compilation tools, release 13.9, V13.9.1\n")
    mine.chmod(0o755)
    monkeypatch.setenv("TRITON_PTXAS_PATH", str(mine))
    assert doctor.main([]) == 0
    assert f"ptxas 13.9 in {mine}" in capsys.readouterr().out


def test_a_self_check_that_fails_itself_is_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(backend: str, device: torch.device) -> list[Verdict]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to\nallocate 2 GiB")

    monkeypatch.setattr(doctor, "check_backend", no_memory)
    known = doctor.facts()
    known["gpu"] |= {"devices": ["A100, sm_80, 80 GiB"], "reason": None}
    monkeypatch.setattr(doctor, "facts", lambda: known)
    assert doctor.main([]) == 1
    said = capsys.readouterr().out
    assert (
        "BROKEN: triton: its self-check failed: OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB" in said
    )


def test_an_old_package_is_broken(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [Requirement("scipy>=99.1"), Requirement("no-such-package"), Requirement("numpy>=1")]
    monkeypatch.setattr(doctor, "requirements", lambda: wanted)
    assert doctor.main([]) == 1
    said = capsys.readouterr().out
    assert "BROKEN: scipy is " in said
    assert ", >=99.1 is needed; pip install 'scipy>=99.1'" in said
    assert "BROKEN: no-such-package is not installed" in said
    assert "BROKEN: numpy" not in said


def test_the_packages_are_those_of_the_installed_metadata() -> None:
    named = {one.name for one in doctor.requirements()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert named == {Requirement(line).name for line in project["dependencies"]}
    assert set(doctor.examine()["packages"]) == named


def told_by_a_process(folder: Path) -> tuple[int, str]:
    """What doctor says in a process that finds ``folder`` before everything else."""
    code = f"import sys; sys.path[:0] = [{str(folder)!r}, {str(ROOT)!r}]; from dcrnn_fast import doctor; "
    code += "sys.exit(doctor.main([]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_a_library_of_another_version_is_broken(tmp_path: Path) -> None:
    (tmp_path / f"{MODULE}{sysconfig.get_config_var('EXT_SUFFIX')}").write_bytes(b"no shared object")
    (tmp_path / f"{MODULE}.json").write_text(json.dumps({"package": "0.0.9", "torch_target": "2.13"}))
    code, said = told_by_a_process(tmp_path)
    assert code == 1
    assert f"BROKEN: the compiled kernels are of dcrnn_fast 0.0.9, this is {__version__}; build it with" in said
    assert "\ndcrnn_seq2seq: manual (not cpu: the compiled kernels are of dcrnn_fast 0.0.9" in said


def test_an_install_without_a_compiler_is_not_broken(tmp_path: Path) -> None:
    for name in ("dcrnn_fast", "kernels"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    facts = {"package": __version__, "torch_target": "2.13", "reason": "there is no C++ compiler"}
    (tmp_path / f"{MODULE}.json").write_text(json.dumps(facts))
    # Isolated: a development install would lend its own library.
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}]; sys.modules[{MODULE!r}] = None; "
    code += "import importlib.util as u; found = u.find_spec; "
    code += f"u.find_spec = lambda name, *a: None if name == {MODULE!r} else found(name, *a); "
    code += "from dcrnn_fast import doctor; sys.exit(doctor.main([]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        "note: CPU tensors run on plain PyTorch: the kernels are not compiled: there is no C++ compiler" in done.stdout
    )


def test_more_threads_than_the_control_group_allows_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "limits", lambda: Limits(0.5, None, None))
    monkeypatch.setattr(doctor.torch, "get_num_threads", lambda: 2)
    (note,) = [note for note in doctor.examine()["notes"] if "threads" in note]
    assert note == "2 threads share 1 core (the control group allows 0.5): set OMP_NUM_THREADS=1"
