"""A disk that is full, of bytes or of files: the old outputs stay as they were, and one line says so."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dcrnn_fast import forecast, train
from tests.made_model import COMMANDS, MODEL, TRAIN, make_model


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """In a folder with inputs."""
    folder = make_model(tmp_path_factory.mktemp("made"))
    with contextlib.chdir(folder):
        yield folder


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """4 MiB for 64 files; skips where mounting is not permitted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=64", "tmpfs", str(folder)]
    mounted = subprocess.run(words, capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"mounting a small tmpfs is not permitted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill_bytes(disk: Path) -> None:
    with (disk / "ballast").open("wb") as ballast, pytest.raises(OSError, match="No space left"):
        ballast.write(bytes(1 << 23))


def fill_files(disk: Path) -> None:
    with contextlib.suppress(OSError):
        for number in range(1000):
            (disk / f"ballast{number}").touch()
    assert number < 64


def held(disk: Path) -> dict[Path, bytes]:
    """All but the ballast."""
    return {path: path.read_bytes() for path in disk.rglob("[!b]*") if path.is_file()}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("fill", [fill_bytes, fill_files], ids=["bytes", "files"])
def test_the_old_output_is_whole(
    fill: Callable[[Path], None], name: str, there: Path, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main, argv, other = COMMANDS[name]
    assert main([*argv, str(disk / name)]) == 0
    fill(disk)
    before = held(disk)
    capsys.readouterr()
    for output in (disk / name, disk / "new" / name):
        assert main([*argv, str(output), *other]) == 2
        errors = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
        assert len(errors) == 1
        assert "No space left on device" in errors[0]
        assert held(disk) == before
        assert not (disk / "new").exists()


@pytest.mark.parametrize("spare", range(4))
def test_a_run_that_cannot_move_an_earlier_one_aside(
    spare: int, there: Path, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*TRAIN, "--results", str(disk / "run")]
    assert train.main(words) == 0
    before = held(disk)
    fill_files(disk)
    for number in range(spare):
        (disk / f"ballast{number}").unlink()
    capsys.readouterr()
    assert train.main([*words, "--seed", "1"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    assert "No space left on device" in said
    kept = {path.name: content for path, content in held(disk).items()}
    for path, content in before.items():
        if path.name != "status.json":  # a log that cannot be moved is gone on with
            assert kept[path.name].startswith(content), path


def test_a_picture_without_room_costs_no_forecast(there: Path, disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill_bytes(disk)
    with (disk / "ballast").open("r+b") as ballast:
        ballast.truncate((disk / "ballast").stat().st_size - 12_288)
    assert forecast.main([MODEL, "-o", str(disk / "f.csv"), "--plot", str(disk / "p" / "f.png")]) == 2
    said = capsys.readouterr()
    assert said.out.endswith(f": {disk}/f.csv\n")
    assert f"error: cannot write {disk}/p/f.png: No space left on device; {disk}/f.csv is complete\n" in said.err
    assert (disk / "f.csv").read_text().count("\n") == 7
    assert {path.name for path in disk.iterdir()} == {"ballast", "f.csv"}
