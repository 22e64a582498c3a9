"""The shipped definition and Dockerfile, built for real on a local base, and a training in the result."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcrnn_fast.records.status import read_status
from tests.checkout import ROOT, missing, require_tool
from tests.cluster.two_hosts import epochs_of, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
RUN = ROOT / "slurm" / "container" / "run.sh"
NO_MIRROR = 75


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that Apptainer sees; its own /tmp is another one."""
    folder = Path(tempfile.mkdtemp(prefix="container-", dir="/var/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def base(place: Path) -> tuple[dict[str, str], Path]:
    """The environment in which ``apptainer`` is found, and a base image with torch.

    Not being able to reach Debian's mirror is nobody's fault: even with CI=true that skips.
    """
    if sys.version_info[:2] != (3, 11) or os.geteuid() != 0:
        missing("the base image is Debian 12 with this environment's packages: it takes Python 3.11, and root")
    made = subprocess.run(
        ["bash", Path(__file__).with_name("apptainer_up.sh"), sys.executable], capture_output=True, text=True
    )
    if made.returncode == NO_MIRROR:
        print("NOT PROVEN: containers (Debian's mirror does not answer)", file=sys.__stdout__, flush=True)
        pytest.skip("NOT PROVEN: Debian's mirror does not answer")
    if made.returncode != 0:
        missing(f"Apptainer cannot be set up here: {made.stderr[-500:]}")
    root = Path(os.environ.get("DCRNN_APPTAINER", "/var/tmp/dcrnn_fast-apptainer"))
    environment = os.environ | {
        "PATH": f"{root / 'bin'}:{os.environ['PATH']}",
        "APPTAINER_SEES": f"{ROOT}:{place}",
        "APPTAINER_TMPDIR": str(place),  # or the image would be made in memory, and copied
        "DCRNN_IMAGE": str(place / "image"),
    }
    return environment, root / "base"


def build(base: tuple[dict[str, str], Path], *words: str) -> str:
    environment, folder = base
    arguments = ["--build-arg", "BOOTSTRAP=localimage", "--build-arg", f"BASE={folder}"]
    done = subprocess.run([RUN, "build", *words, *arguments], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def inside(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([RUN, *words], env=environment, capture_output=True, text=True)


def test_the_definition_builds_and_trains(base: tuple[dict[str, str], Path], place: Path) -> None:
    environment, _ = base
    said = build(base, "--sandbox")
    # %test has run: it prints both versions of torch, and doctor finds nothing broken.
    (before,) = [line.split()[-1] for line in said.splitlines() if line.startswith("torch of the base image:")]
    (after,) = [line.split()[-1] for line in said.splitlines() if line.startswith("torch in this image:")]
    assert before == after
    assert "nothing is broken" in said
    inspected = subprocess.run(
        ["apptainer", "inspect", environment["DCRNN_IMAGE"]], env=environment, capture_output=True
    )
    labels = dict(line.split(": ", 1) for line in inspected.stdout.decode().splitlines())
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    assert labels["org.opencontainers.image.revision"].removesuffix("-changed") == (head or "unknown")
    assert labels["org.opencontainers.image.version"] == "0.1.0"
    assert labels["dcrnn_fast.torch"] == after

    # The image's package runs, whatever leads to this checkout's; exit codes pass through.
    program = "import sys, dcrnn_fast; print(dcrnn_fast.__file__); sys.exit(7)"
    done = inside(environment | {"PYTHONPATH": str(ROOT)}, "python", "-c", program)
    assert done.returncode == 7
    assert done.stdout.startswith("/usr/local/lib/")

    # A signal reaches the training in the container, which saves.
    results = place / "results"
    words = [RUN, "python", "-m", "dcrnn_fast.train", "--config", "debug", "--epochs", "900", "--results", results]
    running = subprocess.Popen(
        words, env=environment | {"DCRNN_RESULTS": str(results)}, stdout=subprocess.PIPE, text=True
    )
    until(lambda: epochs_of(results) > 0 or running.poll() is not None, "an epoch in the container")
    running.send_signal(signal.SIGUSR1)
    out, _ = running.communicate(timeout=120)
    assert running.returncode == 85, out
    status = read_status(results)
    assert status is not None
    assert (status.state, status.signal) == ("stopped", "SIGUSR1")

    # A base whose torch is too old: refused, not replaced.
    old = (
        "mkdir -p /opt/old/torch-2.12.0.dist-info; cd /opt/old/torch-2.12.0.dist-info; echo pip > INSTALLER;"
        "printf 'Metadata-Version: 2.1\\nName: torch\\nVersion: 2.12.0\\n' > METADATA; export PYTHONPATH=/opt/old;"
        "PIP_NO_INDEX=1 sh /opt/dcrnn_fast/sources/slurm/container/install.sh /opt/dcrnn_fast/sources none"
    )
    image = environment["DCRNN_IMAGE"]
    done = subprocess.run(
        ["apptainer", "exec", "--writable-tmpfs", image, "sh", "-c", old],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "constraint) torch==2.12.0" in done.stdout + done.stderr
    assert build(base, "--sandbox").strip().endswith("build --force makes it anew")


@pytest.mark.prove
def test_the_image_file(base: tuple[dict[str, str], Path], place: Path) -> None:
    environment = base[0] | {"DCRNN_IMAGE": str(place / "image.sif")}
    quick = "--mksquashfs-args=-comp zstd -Xcompression-level 1"
    assert "nothing is broken" in build((environment, base[1]), quick)
    assert (place / "image.sif").is_file()
    assert inside(environment, "python", "-c", "import dcrnn_fast").returncode == 0
    assert inside(environment, "test").returncode == 0


@pytest.mark.prove
def test_the_dockerfile(base: tuple[dict[str, str], Path], place: Path) -> None:
    require_tool("buildah")
    storage = ["--root", str(place / "storage"), "--runroot", str(place / "run"), "--storage-driver", "overlay"]

    def buildah(*words: str) -> str:
        done = subprocess.run(["buildah", *storage, *words], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    made = buildah("from", "scratch").strip()
    buildah("add", made, str(base[1]), "/")
    buildah("commit", "--rm", made, "localhost/base")
    said = buildah(
        "bud", "--isolation=chroot", "--build-arg", "BASE=localhost/base", "--build-arg", "COMMIT=abc", "-t", "made",
        "-f", "slurm/container/Dockerfile", ".",
    )  # fmt: skip
    assert "nothing is broken" in said
    labels = buildah("inspect", "--type", "image", "--format", "{{.OCIv1.Config.Labels}}", "made")
    assert "org.opencontainers.image.revision:abc" in labels
