"""No command replaces a file that it reads, and none leaves a trace of an attempt."""

import contextlib
import hashlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dcrnn_fast import convert, evaluate, forecast, prepare, train
from tests.made_model import COMMANDS, CONVERT, MODEL, SMALL, TRAIN, make_model


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("made"))


@pytest.fixture
def there(made: Path, tmp_path: Path) -> Iterator[Path]:
    """In a copy of that folder."""
    folder = tmp_path / "there"
    shutil.copytree(made, folder, symlinks=True)
    with contextlib.chdir(folder):
        yield folder


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


def _renamed(name: str, other: str) -> Callable[[], object]:
    return lambda: Path(name).rename(other)


def _linked(name: str, other: str) -> Callable[[], object]:
    return lambda: Path(other).symlink_to(name)


def _write_config(results: str) -> Callable[[], object]:
    def write() -> None:
        Path(results).mkdir(exist_ok=True)
        text = Path("r/config.yaml").read_text().replace("results: r", f"results: {results}")
        Path(results, "config.yaml").write_text(f"# mine\n{text}")

    return write


CASES: dict[str, tuple[Callable[[list[str]], int], list[str], Callable[[], object]]] = {
    "forecast over its data": (forecast.main, [MODEL, "--data", "data.csv", "-o", "data.csv"], list),
    "forecast over the training data": (forecast.main, [MODEL, "-o", "./r/../data.csv"], list),
    "forecast over the training graph": (forecast.main, [MODEL, "-o", "graph.csv"], list),
    "forecast over the model": (forecast.main, ["model.csv", "-o", "model.csv"], _renamed("model.pt", "model.csv")),
    "forecast over the model's manifest": (
        forecast.main,
        ["r", "-o", "m.csv"],
        lambda: Path("m.csv").hardlink_to("r/checkpoints/manifest.json"),
    ),
    "forecast over the manifest beside": (
        forecast.main,
        [MODEL, "-o", "m.csv"],
        lambda: Path("m.csv").symlink_to("r/checkpoints/manifest.json"),
    ),
    "forecast over a list": (
        forecast.main,
        [MODEL, "--leave-out", "c.csv", "-o", "c.csv"],
        _renamed("c.txt", "c.csv"),
    ),
    "forecast through a link": (
        forecast.main,
        [MODEL, "--data", "data.csv", "-o", "link.csv"],
        _linked("data.csv", "link.csv"),
    ),
    "a forecast's picture over its data": (
        forecast.main,
        [MODEL, "--data", "x.svg", "--data-format", "csv", "-o", "new/f.csv", "--plot", "x.svg"],
        lambda: shutil.copy("data.csv", "x.svg"),
    ),
    "forecast into a folder of data": (
        forecast.main,
        [MODEL, "--data", "folder", "-o", "folder/data.csv"],
        lambda: (Path("folder").mkdir(), shutil.copy("data.csv", "folder/data.csv")),
    ),
    "evaluate beside its data": (
        evaluate.main,
        [MODEL, "--data", "horizons.csv", "-o", "."],
        lambda: shutil.copy("data.csv", "horizons.csv"),
    ),
    "evaluate beside its graph": (
        evaluate.main,
        [MODEL, "--graph", "sensors.csv", "-o", "."],
        lambda: shutil.copy("graph.csv", "sensors.csv"),
    ),
    "evaluate in a folder of data": (
        evaluate.main,
        [MODEL, "--data", "folder", "-o", "folder"],
        lambda: (Path("folder").mkdir(), shutil.copy("data.csv", "folder/horizons.csv")),
    ),
    "train beside its graph": (
        train.main,
        [*TRAIN, "--graph", "sensors.csv", "--results", "."],
        lambda: shutil.copy("graph.csv", "sensors.csv"),
    ),
    "train beside its data": (
        train.main,
        [*TRAIN, "--data", "sub/../metrics.csv", "--results", "new/.."],
        lambda: (Path("sub").mkdir(), Path("new").mkdir(), shutil.copy("data.csv", "metrics.csv")),
    ),
    "train over its configuration": (
        train.main,
        ["--config", "mine/config.yaml"],
        _write_config("mine"),
    ),
    "train into a store": (
        train.main,
        ["--data", "store", *SMALL, "--results", "new", "--checkpoint-dir", "store"],
        list,
    ),
    "check's picture over its data": (
        train.main,
        [*TRAIN, "--data", "x.svg", "--data-format", "csv", "--check", "--plot", "x.svg"],
        lambda: shutil.copy("data.csv", "x.svg"),
    ),
    "prepare over its store": (prepare.main, ["--data", "store", "--output", "store"], list),
    "prepare over a store's link": (
        prepare.main,
        ["--data", "store", "--output", "link"],
        _linked("store", "link"),
    ),
    "prepare over its graph": (
        prepare.main,
        ["--data", "data.csv", "--graph", "store/graph.npz", "--output", "store"],
        list,
    ),
    "convert over its weights": (
        convert.main,
        [*CONVERT, "-o", "port.tar"],
        list,
    ),
    "convert over its graph": (
        convert.main,
        [*CONVERT, "-o", "./graph.csv"],
        list,
    ),
    "convert over its data": (
        convert.main,
        ["port.tar", "--graph", "graph.csv", "--data", "data.csv", "-o", "data.csv"],
        list,
    ),
    "export over the manifest beside": (
        convert.main,
        ["r/checkpoints/best.pt", "--export", "-o", "port.link"],
        lambda: Path("port.link").hardlink_to("r/checkpoints/manifest.json"),
    ),
    "export over its checkpoint": (convert.main, ["model.pt", "--export", "-o", "model.pt"], list),
}


@pytest.mark.parametrize("case", CASES)
def test_an_input_is_never_replaced(case: str, there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main, argv, before = CASES[case]
    before()
    held = _digests(there)
    capsys.readouterr()
    assert main(argv) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1, said.err
    assert "would replace" in said.err
    assert _digests(there) == held


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (train.main, ["--data", "folder", "--graph", "graph.csv", *SMALL, "--results", "folder"]),
        (evaluate.main, [MODEL, "--data", "folder", "-o", "new/../folder"]),
        (forecast.main, [MODEL, "--data", "folder", "-o", "folder/forecast.csv"]),
    ],
    ids=["train", "evaluate", "forecast"],
)
def test_nothing_is_added_to_a_folder_of_readings(
    main: Callable[[list[str]], int], words: list[str], there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("new", "folder", "folder/pictures"):
        Path(name).mkdir()
    lines = Path("data.csv").read_text().splitlines(keepends=True)
    Path("folder/1.csv").write_text("".join(lines[:31]))
    Path("folder/2.csv").write_text("".join([lines[0], *lines[31:]]))
    held = _digests(there)
    assert main(words) == 2
    assert "would become one of the readings' files in folder" in capsys.readouterr().err
    assert _digests(there) == held
    assert forecast.main([MODEL, "--data", "folder", "-o", "folder/pictures/forecast.csv"]) == 0
    assert forecast.main([MODEL, "--data", "store", "-o", "store/forecast.csv"]) == 0


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (forecast.main, [MODEL, "--data", "rows", "-o", "rows/month=01/part.csv"]),
        (forecast.main, [MODEL, "--data", "rows", "-o", "rows/made/on/demand/forecast.parquet"]),
        (evaluate.main, [MODEL, "--data", "rows", "-o", "rows/made"]),
        (train.main, ["--data", "rows", "--graph", "graph.csv", *SMALL, "--results", "rows/made"]),
    ],
    ids=["over a part", "below", "evaluate", "train"],
)
def test_nothing_is_added_below_a_folder_of_partitions(
    main: Callable[[list[str]], int], words: list[str], there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header, *lines = Path("data.csv").read_text().splitlines()
    Path("rows/month=01").mkdir(parents=True)
    ids = header.split(",")[1:]
    cells = [line.split(",") for line in lines]
    rows = [f"{time},{one},{value}\n" for time, *values in cells for one, value in zip(ids, values, strict=True)]
    Path("rows/month=01/part.csv").write_text("time,id,value\n" + "".join(rows))
    held = _digests(there)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "would become one of the readings' files in rows" in said or "would replace" in said
    assert _digests(there) == held


def test_a_run_takes_the_configuration_that_it_wrote(there: Path) -> None:
    assert train.main(["--config", "r/config.yaml", "--check"]) == 0
    _write_config("mine")()
    assert train.main(["--config", "mine/config.yaml", "--check"]) == 2, "a run would replace it"


@pytest.mark.parametrize("words", [[*CONVERT], ["r/checkpoints/best.pt", "--export"]], ids=["convert", "export"])
def test_the_list_of_a_folder_is_no_output(words: list[str], there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = _digests(there)
    assert convert.main([*words, "-o", "r/checkpoints/../checkpoints/manifest.json"]) == 2
    assert "manifest.json lists the checkpoints" in capsys.readouterr().err
    assert _digests(there) == held


@pytest.mark.parametrize("name", ["forecast.csv", "links.csv", "model.pt", "port.tar"])
def test_a_folder_is_no_output_file(name: str, there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main, argv, _ = COMMANDS[name]
    Path("new", name).mkdir(parents=True)
    held = _digests(there)
    assert main([*argv, f"new/{name}"]) == 2
    assert f"new/{name} is a folder: name a file\n" in capsys.readouterr().err
    assert _digests(there) == held


def test_an_export_replaces_no_checkpoint_that_no_list_names(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("r/checkpoints/manifest.json").unlink()
    held = _digests(there)
    assert convert.main(["model.pt", "--export", "-o", "r/checkpoints/latest.pt"]) == 2
    assert "would be lost" in capsys.readouterr().err
    assert _digests(there) == held


def test_a_mistake_is_one_line_also_of_a_checkpoint_without_a_list(
    there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("r/checkpoints/manifest.json").unlink()
    Path("late.csv").write_text("time,a,b,z\n2024-01-01T00:00,1,2,3\n2024-01-01T01:00,1,2,3\n")
    assert evaluate.main([MODEL, "--data", "late.csv", "-o", "new"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_run_given_by_its_folder_takes_its_reports_and_forecasts(there: Path) -> None:
    for _ in range(2):
        assert evaluate.main(["r", "-o", "r"]) == 0
        assert forecast.main(["r", "-o", "r/forecast.csv"]) == 0
        assert forecast.main(["r/checkpoints", "-o", "r/checkpoints/forecast.csv"]) == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_killed_command_left_goes_with_the_next(name: str, there: Path) -> None:
    main, argv, _ = COMMANDS[name]
    Path("out").mkdir()
    gone = subprocess.Popen(["true"])
    gone.wait()
    where = Path("out", name) if name in ("store", "report") else Path("out")
    where.mkdir(exist_ok=True)
    names = {"store": ["values.2.npy", "manifest.json"], "report": ["report.txt", "map_speed.png"]}.get(name, [name])
    for left in names:
        (where / f"{left}.tmp-{gone.pid}").touch()
    if name != "store":  # which takes no folder with other files
        (where / f"mine.txt.tmp-{gone.pid}").touch()
    (where / f".writable-{gone.pid}").touch()
    if name == "store":
        (where / "manifest.json").write_text('{"format": 0}')
    assert main([*argv, f"out/{name}"]) == 0
    left = {path.name for path in where.iterdir() if ".tmp-" in path.name or "writable" in path.name}
    assert left == ({f"mine.txt.tmp-{gone.pid}"} if name != "store" else set())
