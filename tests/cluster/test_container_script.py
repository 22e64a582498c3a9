"""slurm/container/run.sh with a runtime that only records its arguments."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.checkout import ROOT

RUN = ROOT / "slurm" / "container" / "run.sh"
RECORDER = """#!/bin/sh
printf '%s\\n' "$(basename "$0")" "$@" > "$RECORD"
case $1 in build) for last; do :; done; shift $(($# - 2)); mkdir "$1" ;; esac
exit "${CODE:-0}"
"""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder of programs: those that the script needs, and no runtime."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "sh", "dirname", "basename", "readlink", "git", "mkdir", "mv", "rm"):
        (programs / name).symlink_to(next(f"/{p}/{name}" for p in ("usr/bin", "bin") if Path(f"/{p}/{name}").exists()))
    return programs


def add(machine: Path, name: str, script: str = RECORDER) -> None:
    (machine / name).write_text(script)
    (machine / name).chmod(0o755)


def run(machine: Path, *words: str, **variables: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """What the script said, and what it gave to the runtime."""
    record = machine.parent / "record"
    record.unlink(missing_ok=True)
    image = str(machine.parent / "image.sif")
    environment = {
        "PATH": str(machine),
        "RECORD": str(record),
        "DCRNN_IMAGE": image,
        "HOME": os.environ.get("HOME", "/"),
    }
    done = subprocess.run(
        [RUN, *words], cwd=machine.parent, env=environment | variables, capture_output=True, text=True
    )
    return done, record.read_text().splitlines() if record.exists() else []


@pytest.mark.parametrize("runtime", ["apptainer", "singularity"])
def test_python_becomes_the_container(machine: Path, runtime: str) -> None:
    add(machine, runtime)
    (machine.parent / "image.sif").touch()
    data, results = machine.parent / "my data", machine.parent / "results"
    data.mkdir()
    places = {"DCRNN_DATA": str(data), "DCRNN_RESULTS": str(results)}
    done, given = run(machine, "python", "-c", "print(1, 2)", CODE="85", **places)
    assert done.returncode == 85
    here = str(machine.parent)
    binds = ["--bind", str(ROOT), "--pwd", here, "--bind", here, "--bind", str(data), "--bind", str(results)]
    image = str(machine.parent / "image.sif")
    assert given == [runtime, "exec", *binds, image, "python3", "-c", "print(1, 2)"]
    assert results.is_dir()


def test_nv_only_where_a_gpu_is(machine: Path) -> None:
    add(machine, "apptainer")
    (machine.parent / "image.sif").touch()
    add(machine, "nvidia-smi", "#!/bin/sh\nexit 9\n")  # installed, and no GPU answers
    assert "--nv" not in run(machine, "shell")[1]
    add(machine, "nvidia-smi", "#!/bin/sh\necho 'GPU 0: H200'\n")
    assert "--nv" in run(machine, "shell")[1]


def test_build_makes_the_image_once(machine: Path) -> None:
    add(machine, "apptainer")
    done, given = run(machine, "build", "--build-arg", "BASE=x.sif")
    assert done.returncode == 0, done.stderr
    assert given[:3] == ["apptainer", "build", "--build-arg"]
    assert given[3].startswith("COMMIT=")
    assert given[4:6] == ["--build-arg", "BASE=x.sif"]
    assert given[-1] == "slurm/container/dcrnn_fast.def"
    assert (machine.parent / "image.sif").exists()
    done, given = run(machine, "build")
    assert (done.returncode, given) == (0, [])
    assert "is there already" in done.stderr
    assert run(machine, "build", "--force")[1][1] == "build"
    (machine.parent / "image.sif").rmdir()
    done, _ = run(machine, "build", CODE="255")
    assert done.returncode == 255
    assert sorted(path.name for path in machine.parent.iterdir()) == ["bin", "record"]


def test_mistakes_are_one_line(machine: Path) -> None:
    def refusal(*words: str, **variables: str) -> str:
        done, given = run(machine, *words, **variables)
        assert (done.returncode, given) == (2, [])
        (line,) = done.stderr.splitlines()
        return line

    assert "neither apptainer nor singularity" in refusal("python")
    add(machine, "singularity")
    assert "there is no image" in refusal("python")
    assert "what?" in refusal()
    (machine.parent / "image.sif").touch()
    assert "DCRNN_DATA=/no/where is no folder" in refusal("shell", DCRNN_DATA="/no/where")
