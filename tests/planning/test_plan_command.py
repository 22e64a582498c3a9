"""``dcrnn-fast plan``: understood without a reading, refused if it cannot fit, JSON for programs."""

import json
from pathlib import Path

import numpy as np
import pytest

from dcrnn_fast import plan, prepare
from dcrnn_fast.checkpoints.save import save_checkpoint
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.opening import assemble_data, open_data
from dcrnn_fast.data.series_from_readings import make_series
from dcrnn_fast.data.times import count_from
from dcrnn_fast.errors import UserError
from dcrnn_fast.planning.choice import COMPUTED_AGAIN, Choice
from dcrnn_fast.planning.even_graph import even_graph
from dcrnn_fast.planning.source import source_of, window_counts
from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.training.progress import Progress
from dcrnn_fast.training.resume import state_of
from dcrnn_fast.training.run import make_run
from dcrnn_fast.training.start import open_run
from dcrnn_fast.training.trial import Timing
from tests.training.rank_programs import debug_config

SMALL = ["--config", "debug", "--threads", "1", "--device", "cpu", "--no-calibrate"]


@pytest.fixture(autouse=True)
def _a_process_that_has_just_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests before have left much in the memory of this one, which a plan counts."""
    monkeypatch.setattr(plan, "anonymous_bytes", lambda: 200 << 20)


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert plan.main([*SMALL, "--json", *words]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_a_store_is_planned_for_without_its_readings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "store"
    city = ["--data", "city", "--city-nodes", "12", "--city-days", "3"]
    assert prepare.main([*city, "--output", str(store)]) == 0
    for name in ("values.npy", "observed.npy"):
        (store / name).unlink()
    capsys.readouterr()
    found = printed(capsys, "--data", str(store), "--batch-size", "4")
    assert found["shapes"]["nodes"] == 12  # type: ignore[index]
    assert found["series"] == {"rows": 864, "bytes_in_memory": 0, "bytes_mapped": 5 * 864 * 12}
    assert found["epoch"]["train_windows"] > 0  # type: ignore[index]


def test_memory_is_shown_by_item(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        plan.main([*SMALL, "--nodes", "300", "--edges", "2400", "--rows", "500", "--ranks", "2", "--bandwidth", "10"])
        == 0
    )
    said = capsys.readouterr().out
    for words in ("states kept for the backward pass", "Python, PyTorch and this package", "memory of a machine with 2",
                  "a grid of 300 sensors with 2400 links stands in", "of gradients in a step", "fits in"):  # fmt: skip
        assert words in said


def test_a_plan_that_cannot_fit_says_by_how_much_and_what_would(capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SMALL, "--nodes", "900", "--batch-size", "256", "--hidden-units", "32"]
    assert plan.main([*words, "--memory-gib", "1"]) == 2
    said = capsys.readouterr()
    assert "does not fit: " in said.out
    assert said.err.startswith("dcrnn-fast plan: error: does not fit: a process needs ")
    assert " GiB more than the 1 GiB that there are; the nearest that fits, the same step: --batch-size " in said.err
    assert said.err.count("\n") == 1
    flags = said.err.split("the same step: ")[1].split(" (")[0].split()
    assert plan.main([*words, "--memory-gib", "1", *flags]) == 0
    assert plan.main([*words, "--memory-gib", "0.01"]) == 2
    assert "nothing fits: --batch-size 1 " in capsys.readouterr().err


def test_a_series_that_does_not_fit_is_to_be_prepared(capsys: pytest.CaptureFixture[str]) -> None:
    assert plan.main([*SMALL, "--nodes", "100", "--rows", "1000000000"]) == 2
    said = capsys.readouterr().err
    assert "of which the series takes 466 GiB; a prepared store is not held in memory: dcrnn-fast prepare" in said
    assert "hidden units" not in said


def test_a_plan_without_room_to_spare_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SMALL, "--nodes", "300", "--batch-size", "256", "--hidden-units", "32"]
    process = printed(capsys, *words[len(SMALL) :])["memory"]["process"]  # type: ignore[index]
    assert plan.main([*words, "--memory-gib", str(1.07 * process / 2**30)]) == 0
    said = capsys.readouterr().out
    assert "but without the 15% to spare by which a plan may be wrong" in said
    assert "with as many windows in a step, --batch-size 128 --accumulate 2 --save all does" in said


def test_a_step_is_timed(capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SMALL[:-1], "--nodes", "20", "--edges", "100", "--rows", "300", "--batch-size", "64", "--json"]
    assert plan.main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert 0 < found["step_seconds"] < found["epoch"]["seconds"]
    assert found["epoch"]["steps"] == -(-found["epoch"]["train_windows"] // 64)


def test_time_grows_with_rounds_and_steps() -> None:
    timing = Timing(0.5, 0.01, 0.002, "all", 4)
    assert timing.step_seconds(Choice(8, 1, "all"), 20) == pytest.approx(0.5 + 0.01 * 2 * 19.25)
    assert timing.step_seconds(Choice(8, 3, "all"), 20) == pytest.approx(0.5 + 0.01 * 6 * 19.25)
    assert timing.step_seconds(Choice(5, 1, "h"), 20) == pytest.approx(0.5 + 0.01 * 2 * 19.25 * COMPUTED_AGAIN)


def test_a_gpu_is_planned_for_without_one(capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SMALL, "--device", "cuda", "--nodes", "500", "--batch-size", "64", "--hidden-units", "64"]
    assert plan.main(words) == 0
    said = capsys.readouterr().out
    assert "a model of a GPU, not run on one" in said
    assert "Python" not in said
    assert plan.main([*words, "--memory-gib", "0.5"]) == 2
    assert "the nearest that fits, the same step: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data", "nothing.csv"], "nothing says how many sensors nothing.csv has without opening it: give --nodes"),
        (["--edges", "9"], "--edges needs --nodes"),
        (["--nodes", "5", "--edges", "3"], "--edges must be from 5 "),
        (["--nodes", "5", "--edges", "26"], "--edges must be from 5 "),
        (["--nodes", "0"], "--nodes must be positive, got 0"),
        (["--nodes", "5", "--graph", "links.csv"], "--nodes 5 is for plans without a graph, and --graph links.csv has"),
        (["--nodes", "1000000000"], "a graph of 1000000000 sensors with 8000000000 links takes 1.3e+03 GiB to lay out"),
        (["--nodes", "50", "--channels", "100000000"], "cannot be tried here: their readings take "),
        (["--nodes", "5", "--backend", "triton"], "dcrnn_seq2seq: no backend can run here (triton: "),
        (["--nodes", "5", "--rows", "3"], "a series of 3 rows has no window"),
        (["--graph", "nothing.csv", "--data", "nothing"], "nothing.csv"),
    ],
)
def test_bad_input_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan.main([*SMALL, *words]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("\n") == 1


@pytest.mark.parametrize(("nodes", "edges"), [(2, 2), (2, 4), (50, 50), (50, 417), (1000, 9860)])
def test_the_graph_that_stands_in_has_the_asked_size(nodes: int, edges: int) -> None:
    graph = even_graph(nodes, edges)
    assert (graph.num_nodes, graph.num_edges) == (nodes, edges)
    assert (graph.adjacency.diagonal() > 0).all()


def test_windows_are_counted_as_they_are_cut() -> None:
    config = debug_config("--city-nodes", "4", "--city-days", "2").data
    data = open_data(config, debug_config().graph)
    assert window_counts(data.series.num_steps, config) == (len(data.train), len(data.validation))


def test_a_city_has_its_own_graph() -> None:
    config = debug_config("--city-nodes", "40")
    found = source_of(config.data, config.graph)
    assert found.graph.digest() == open_data(config.data, config.graph).graph.digest()
    with pytest.raises(UserError, match="nothing says how many sensors"):
        source_of(debug_config("--data", "readings.csv").data, config.graph)
    assert np.isclose(source_of(config.data, config.graph, nodes=9).graph.num_edges, 72)


def test_a_graph_that_is_given_counts_more_than_the_data_sets_own(tmp_path: Path) -> None:
    links = tmp_path / "graph.csv"
    links.write_text("from,to,weight\n" + "".join(f"{a},{b},1\n" for a in "abc" for b in "abc"))
    config = debug_config("--graph", str(links))
    assert source_of(config.data, config.graph).graph.num_edges == 9


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine sensors, speeds alone."""
    store = tmp_path_factory.mktemp("data") / "store"
    assert prepare.main(["--data", "city", "--city-nodes", "9", "--city-days", "3", "--output", str(store)]) == 0
    return store


def save_untrained(folder: Path, data: ForecastData, *flags: str) -> Path:
    run = make_run(debug_config(*flags), data, Ranks())
    return save_checkpoint(folder, state_of(run, Progress()), "best.pt")


@pytest.fixture(scope="module")
def model(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the store with a scale for each sensor."""
    config = debug_config("--data", str(store), "--scaler", "sensor")
    return save_untrained(tmp_path_factory.mktemp("model"), open_data(config.data, config.graph), "--scaler", "sensor")


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["--hidden-units", "5", "--hops", "1"],
        ["--day-of-week"],
        ["--scaler", "observed"],
        ["--targets", "flow"],
        ["--time-of-day", "--known-ahead", "calendar"],
        ["--leave-out", "road000_out_03"],
        ["--data", "city", "--city-nodes", "12"],
    ],
)
def test_a_model_to_start_from_is_refused_as_in_training(
    words: list[str], model: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--data", str(store), "--start-from", str(model), *words]
    try:
        open_run(debug_config(*flags, "--device", "cpu"), Ranks())
        refused = None
    except UserError as error:
        refused = str(error)
    code = plan.main([*SMALL, *flags])
    said = capsys.readouterr().err
    assert (code, said) == ((0, "") if refused is None else (2, f"dcrnn-fast plan: error: {refused}\n"))


def test_channels_that_nothing_else_says_are_those_of_the_model_to_start_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values_TNC = np.random.default_rng(3).normal(50, 5, (400, 9, 2)).astype(np.float32)
    series = make_series(
        values_TNC, times_T=count_from(np.datetime64("2024-01-01", "s"), np.timedelta64(300, "s"), 400),
        ids=even_graph(9, 30).ids, missing="nan", where="made", channels=("speed", "flow"), units=("", ""),
    )  # fmt: skip
    data = assemble_data(series, even_graph(9, 30), debug_config().data)
    best = save_untrained(tmp_path, data)
    words = ["--nodes", "20", "--edges", "90", "--data", "later.csv", "--start-from", str(tmp_path)]
    found = printed(capsys, *words)
    assert found["shapes"]["input_channels"] == data.window_format.input_channels  # type: ignore[index]
    assert f"start: {best} fits; channels' names and sensors are compared when the series is opened" in found["notes"]  # type: ignore[operator]
    for flags in (["--channels", "1"], ["--variables", "speed"], ["--variables", "a", "b", "c"]):
        assert plan.main([*SMALL, *words, *flags]) == 2
        assert "reads 2 channels ('speed', 'flow'), " in capsys.readouterr().err
    assert plan.main([*SMALL, *words, "--targets", "flow"]) == 2
    assert "forecasts speed, this run flow: give --targets speed" in capsys.readouterr().err
