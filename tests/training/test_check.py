"""``--check`` and the first lines of training: what was understood, doubts first; what does nothing is refused; nothing
is left behind."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dcrnn_fast import convert, prepare, train
from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.config.given import given_in
from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.yaml_file import load_config, presets, to_yaml
from dcrnn_fast.evaluation import fonts
from dcrnn_fast.training import account as account_module

SMALL = ("--hidden-units", "4", "--num-layers", "1", "--threads", "1", "--device", "cpu")
TINY = ("--config", "debug", *SMALL[2:], "--city-nodes", "5", "--city-days", "3", "--max-train-windows", "40")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: x.csv of three sensors, x.h5, mark.csv, a matrix m.csv, distances d.csv, a prepared store."""
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(0).normal(50, 5, (150, 3))
    frame = pd.DataFrame(values, index=pd.date_range("2023-01-01", periods=150, freq="15min"), columns=list("abc"))
    frame.to_csv("x.csv", index_label="time")
    frame.to_hdf("x.h5", key="df")
    frame.iloc[::3] = 0
    frame.iloc[4, 1] = -9999
    frame["b"] = frame["b"].where(frame["b"] == -9999, frame["a"])
    frame["c"] = 7.0
    frame.to_csv("mark.csv", index_label="time")
    pd.DataFrame(np.ones((3, 3), int), index=list("abc"), columns=list("abc")).to_csv("m.csv")
    Path("d.csv").write_text("from,to,cost\na,b,1\nb,c,2\nc,a,1.5\n")
    Path("p.csv").write_text("sensor_id,latitude,longitude\na,52,4\nb,52.1,4\nc,52,4.1\n")
    return tmp_path


def check(capsys: pytest.CaptureFixture[str], *flags: str) -> list[str]:
    assert train.main([*flags, "--check"]) == 0, capsys.readouterr().err
    return capsys.readouterr().out.splitlines()


def everything(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_doubts_come_first_and_together_and_all_is_accounted_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = everything(folder)
    lines = check(capsys, "--data", "mark.csv", "--graph", "m.csv", *SMALL)
    doubts = [line.startswith("look: ") for line in lines]
    assert sum(doubts) == 4, lines
    assert all(doubts[:4])
    assert "are zeros and count as missing" in lines[0]
    assert "-9999" in lines[1]
    assert "c (7)" in lines[2]
    beginnings = [
        *(
            "times: 2023-01-01 00:00 to 2023-01-02 13:15, no zone given, every 15min, without interruption",
            "readings: ",
        ),
        *("channel value ", "data: 150 steps, 3 sensors, 9 edges", "graph: ", "windows: ", "  train targets: 2023-"),
        *("  validation targets: ", "  test targets: ", "model: ", "backend: ", "training: "),
    ]
    found = [next(i for i, line in enumerate(lines) if line.startswith(beginning)) for beginning in beginnings]
    assert found == sorted(found)
    assert "fit 1 of 3 sensors ('a') badly" in lines[3]  # -9999 makes the deviation
    assert lines[-1] == "nothing was trained; 4 lines to look at first, above"
    assert everything(folder) == before


def test_a_rule_that_was_said_is_no_doubt(capsys: pytest.CaptureFixture[str]) -> None:
    lines = check(capsys, "--data", "mark.csv", "--graph", "m.csv", "--missing", "zero", *SMALL)
    assert not any("zeros and count" in line for line in lines)
    lines = check(capsys, "--data", "x.csv", "--graph", "m.csv", *SMALL)
    assert not any(line.startswith("look: ") for line in lines)
    assert lines[-1] == "configuration and data are fine; nothing was trained"


@pytest.mark.parametrize("extra", [0, 5])
def test_training_says_the_most_important_in_its_first_ten_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, extra: int
) -> None:
    more = [f"look: doubt {number}" for number in range(extra)]
    monkeypatch.setattr(account_module, "look_lines", lambda graph: more)
    monkeypatch.setattr(train, "_report", lambda *_: 0)
    assert train.main(["--data", "mark.csv", "--graph", "m.csv", *SMALL, "--epochs", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "are zeros and count as missing" in lines[0]
    head = lines[: lines.index("graph:")]
    assert len(head) <= 10
    looks = [line for line in head if line.startswith("look: ")]
    assert len(looks) == 3
    assert looks[-1] == f"look: ... and {2 + extra} more: --check shows them"
    for word in ("3 sensors, 9 edges", "windows: 89 train", "(--missing zero: ", "backend: ", "device cpu"):
        assert sum(word in line for line in head) == 1


IDLE = [
    (("--land-mask", "/nonexistent.npy"), ["--land-mask needs a grid"]),
    (("--land-mask=/nonexistent.npy",), ["--land-mask needs a grid"]),
    (("--nearest", "2", "--radius-km", "3"), ["--nearest needs", "--radius-km needs a graph from sensor positions"]),
    (("--sigma", "5", "--threshold", "0.9"), ["--sigma needs a graph from distances", "--threshold needs"]),
    (("--threshold", "0.1"), ["--threshold needs", "m.csv holds a matrix of weights"]),
    (("--allow-lost-links",), ["--allow-lost-links needs"]),
    (("--grid-neighbours", "4"), ["--grid-neighbours needs a grid"]),
    (("--graph", "d.csv", "--nearest", "2"), ["--nearest needs", "d.csv holds a list of distances"]),
    (("--graph", "p.csv", "--nearest", "1", "--land-mask", "no.npy"), ["--land-mask needs", "sensor positions"]),
    (("--hdf5-key", "df"), ["--hdf5-key needs an HDF5 file, and --data is csv"]),
    (("--city-nodes", "50"), ["--city-nodes needs the built-in city"]),
    (("--city_seed", "3"), ["--city-seed needs"]),
    (("--data-folder", "elsewhere"), ["--data-folder needs a data set by its name"]),
    (("--schedule", "constant", "--milestones", "5"), ["--milestones needs --schedule published"]),
    (("--schedule", "cosine", "--schedule-factor", "0.5"), ["--schedule-factor needs"]),
    (("--schedule", "constant", "--min-learning-rate", "1e-5"), ["--min-learning-rate needs"]),
    (("--plateau-patience", "3"), ["--plateau-patience needs --schedule plateau"]),
    (("--huber-delta", "2"), ["--huber-delta needs --loss huber"]),
    (("--teacher-forcing", "off", "--sampling-decay", "9"), ["--sampling-decay needs --teacher-forcing scheduled"]),
    (("--cuda-graphs",), ["--cuda-graphs needs a GPU"]),
    (("--hops", "1", "--recursion", "powers"), ["--recursion needs --hops of at least 2"]),
    (("--supports", "laplacian", "--orientation", "paper"), ["--orientation needs random walks"]),
    (("--data", "city", "--start", "2020-01-01"), ["--start needs data without times, and the built-in city"]),
    (("--data", "store", "--freq", "5min"), ["--freq needs data without times, and a prepared store has its own"]),
    (("--data", "store", "--missing-value", "7"), ["--missing-value needs"]),
    (("--keep-last", "2", "--save-every-epochs", "0"), ["--keep-last needs --save-every-epochs"]),
    (("--monitor-every", "5"), ["--monitor-every needs --monitor-gpu or --monitor-cpu"]),
    (("--wandb-project", "x", "--wandb-name", "y"), ["--wandb-project needs --wandb", "--wandb-name needs --wandb"]),
]


@pytest.mark.parametrize("command", [("--check",), ()])
@pytest.mark.parametrize(("flags", "says"), IDLE, ids=[" ".join(flags) for flags, _ in IDLE])
def test_a_flag_that_does_nothing_is_refused_with_what_it_needs(
    folder: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...], flags: tuple[str, ...], says: list[str]
) -> None:
    if "store" in flags:
        assert prepare.main(["--data", "x.csv", "--graph", "m.csv", "--output", "store"]) == 0
    before = everything(folder)
    graph = () if "city" in flags else ("--graph", "m.csv")
    assert train.main(["--data", "x.csv", *graph, *SMALL, *command, *flags]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(word in error for word in ("without effect: ", *says))
    assert everything(folder) == before


@pytest.mark.parametrize(
    "flags",
    [
        ("--graph", "d.csv", "--sigma", "5", "--threshold", "0.2"),
        ("--graph", "p.csv", "--nearest", "1", "--sigma", "50"),
        ("--data", "x.h5", "--hdf5-key", "df", "--match", "position"),
        ("--schedule", "plateau", "--plateau-patience", "3", "--schedule-factor", "0.5"),
        ("--loss", "huber", "--huber-delta", "2", "--no-cuda-graphs", "--no-allow-lost-links"),
        ("--sensor-positions", "p.csv", "--graph-format", "matrix", "--orientation", "paper"),
        ("--config", "debug"),
        ("--keep-last", "2", "--monitor-cpu", "--monitor-every", "5"),
        ("--config", "city", "--schedule", "constant", "--teacher-forcing", "on"),
    ],
)
def test_a_flag_with_an_effect_is_taken(capsys: pytest.CaptureFixture[str], flags: tuple[str, ...]) -> None:
    check(capsys, "--data", "x.csv", "--graph", "m.csv", *SMALL, *flags)


def test_a_saved_configuration_trains_again_and_a_files_idle_value_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "_report", lambda *_: 0)
    assert train.main([*TINY, "--schedule", "constant", "--epochs", "1"]) == 0
    check(capsys, "--config", "results/config.yaml", "--resume", "auto")
    check(capsys, "--config", "results/config.yaml", "--city-nodes", "6")
    saved = load_config("results/config.yaml")
    idle = replace(saved, graph=replace(saved.graph, nearest=3))
    Path("idle.yaml").write_text(to_yaml(idle))
    assert train.main(["--config", "idle.yaml"]) == 2
    assert "--nearest needs a graph from sensor positions" in capsys.readouterr().err


def test_presets_are_no_settings_of_the_user() -> None:
    for name in presets():
        config = load_config(name)
        assert given_in(config.data, []) == given_in(config.training, []) - {"threads", "epochs"} == frozenset()
    assert given_in(DataConfig(city_nodes=9), []) == {"city_nodes"}
    assert given_in(Config().data, ["--city-nodes", "50", "--no-fill-rows", "--data-format=auto"]) == {"city_nodes"}


@pytest.mark.parametrize(
    ("main", "flags", "says"),
    [
        (train.main, ("--check", "--data", "none.csv"), "neither a file"),
        (train.main, ("--data", "x.csv"), "give one with --graph"),
        (train.main, ("--data", "x.csv", "--graph", "none.csv"), "cannot read none.csv"),
        (train.main, ("--data", "x.csv", "--graph", "m.csv", "--past-steps", "200"), "too few steps"),
        (train.main, ("--data", "x.csv", "--graph", "m.csv", "--train-fraction", "0.8"), "no validation window"),
        (train.main, ("--data", "x.csv", "--graph", "m.csv", "--resume", "none.pt"), "none.pt"),
        (train.main, ("--config", "debug", "--backend", "manual", "--save", "h"), "save='h'"),
        (train.main, ("--config", "debug", "--results", "a/b/c", "--hops", "0", "--supports", "laplacian"), "--hops"),
        (train.main, ("--config", "debug", "--plot", "x.png"), "give --check too"),
        (train.main, ("--config", "debug", "--check", "--plot", "x.gif"), "written as .png, .pdf or .svg"),
        (train.main, ("--config", "debug", "--check", "--plot", "x.csv/new/x.png"), "cannot be written"),
        (prepare.main, ("--data", "none.csv", "--output", "a/store"), "neither a file"),
        (prepare.main, ("--data", "x.csv", "--graph", "none.csv", "--output", "a/store"), "cannot read"),
        (prepare.main, ("--data", "x.csv", "--past-steps", "6", "--output", "a/store"), "--past-steps needs a model"),
        (prepare.main, ("--data", "x.csv", "--nearest", "2", "--output", "a/store"), "--nearest needs"),
        (prepare.main, ("--download", "pems04", "--data-folder", "a/data"), "is missing"),
        (prepare.main, ("--verify", "none", "--hdf5-key", "df"), "--hdf5-key needs --output"),
        (convert.main, ("x.csv", "--output", "a/b/model.pt"), "x.csv"),
        (convert.main, ("x.csv", "--export", "--output", "a/model.tar"), "x.csv"),
        (convert.main, ("x.csv", "--export", "--mean", "4"), "--mean needs a conversion without --export"),
    ],
)
def test_a_command_that_is_refused_leaves_nothing_behind(
    folder: Path, capsys: pytest.CaptureFixture[str], main, flags: tuple[str, ...], says: str
) -> None:
    before = everything(folder)
    assert main([*flags]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.startswith("dcrnn-fast ")
    assert everything(folder) == before


def test_the_page_is_drawn_into_a_new_folder_and_nothing_else(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = everything(folder)
    lines = check(capsys, "--data", "mark.csv", "--graph", "m.csv", *SMALL, "--plot", "new/page.png")
    assert lines[-1] == "drawn: new/page.png"
    assert set(everything(folder)) - set(before) == {folder / "new", folder / "new" / "page.png"}
    assert Path("new/page.png").read_bytes().startswith(b"\x89PNG")


def test_prepare_says_what_it_understood(capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare.main(["--data", "mark.csv", "--graph", "m.csv", "--output", "store"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "are zeros and count as missing" in lines[0]
    assert "-9999" in lines[1]
    assert any(re.match(r"channel value \(unit not given\): -9999 to ", line) for line in lines)


def test_a_property_of_the_sensors_is_not_what_is_forecast(capsys: pytest.CaptureFixture[str]) -> None:
    long = pd.read_csv("x.csv").melt("time", var_name="region", value_name="cases")
    long.insert(2, "population", long["region"].map({"a": 700, "b": 80, "c": 9000}))
    long.to_csv("long.csv", index=False)
    source = ("--data", "long.csv", "--graph", "m.csv", *SMALL)
    assert train.main([*source, "--check"]) == 2
    assert "'population', would be forecast, but never changes at any sensor: --targets" in capsys.readouterr().err
    assert "look: population never changes at any sensor" in "\n".join(check(capsys, *source, "--targets", "cases"))
    check(capsys, *source, "--variables", "cases")


def test_the_page_says_which_names_it_cannot_write(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fonts, "_others", list)
    frame = pd.read_csv("x.csv", index_col=0).rename(columns={"a": "\u5317\u4eac"})
    frame.to_csv("names.csv")
    np.save("m.npy", np.ones((3, 3)))
    lines = check(capsys, "--data", "names.csv", "--graph", "m.npy", *SMALL, "--plot", "page.png")
    assert sum("no font of this machine has 2 character(s)" in line for line in lines) == 1
