"""The comparison: same work for everybody, nothing reported for a wrong result, a record that says what was done."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.text import Text

from bench import chart, compare, turns
from bench.budget import (
    OTHERS,
    PLAIN,
    SPLIT_LIMIT,
    TF32X3_LIMIT,
    TRUTH,
    Errors,
    budget,
    errors,
    plain_for,
    require_equal,
)
from bench.contestants import Contestant, Step
from bench.gemm import roofline
from bench.reference import dual_random_walk
from bench.workload import (
    LARGE_NODES,
    METR_LA_EDGES,
    METR_LA_NODES,
    PEMS_BAY_EDGES,
    QUICK,
    large,
    metr_la,
    pems_bay,
    synthetic_adjacency,
)
from dcrnn_fast.evaluation.style import look
from dcrnn_fast.kernels import dcrnn_seq2seq
from dcrnn_fast.kernels.gpu.words import overruled
from tests.checkout import ROOT
from tests.golden.supports import build_reference_supports
from tests.kernels.compiled import require_library

TINY = QUICK["metr-la"]
REFERENCE = Contestant("reference")


def results(contestant: Contestant, workload: str) -> dict[str, torch.Tensor]:
    step = Step(contestant, QUICK[workload])
    step.run()
    return step.results()


@pytest.mark.parametrize("name", ["plain", "plain:bf16", "specification", "manual", "manual:bf16", "cpu", "cpu:bf16"])
@pytest.mark.parametrize("workload", QUICK)
def test_contestants_are_within_the_budget(workload: str, name: str) -> None:
    if name.startswith("cpu"):
        require_library()
    contestant = Contestant.parse(name)
    truth = results(TRUTH, workload)
    assert ("grad/decoder_model.projection_layer.bias" in truth) == QUICK[workload].training
    plain = plain_for(contestant)
    assert plain is not None
    allowed = budget(contestant, errors(results(plain, workload), truth))
    found = errors(results(contestant, workload), truth)
    require_equal(contestant, found, allowed)
    if contestant.dtype == "bf16":
        assert found.prediction > 2e-5, "bf16 that is as exact as float32 did not run in bf16"


def test_the_clean_model_is_the_specification() -> None:
    step = Step(Contestant("plain"), TINY)
    truth = results(TRUTH, "metr-la")
    step.model.double()
    step.x, step.y = step.x.double(), step.y.double()
    step.run()
    # float32 terms, float64 arithmetic
    assert errors(step.results(), truth).gradient < 1e-6


def test_one_wrong_gradient_is_noticed() -> None:
    truth, right = results(TRUTH, "metr-la"), results(REFERENCE, "metr-la")
    allowed = budget(Contestant("manual"), errors(right, truth))
    require_equal(Contestant("manual"), errors(right, truth), allowed)
    name = "grad/encoder_model.dcgru_layers.0.gconv_biases_16"
    for factor, said in ((1.0001, r"error of the gradient 1\.0e-04, budget \d"), (float("nan"), "gradient inf")):
        wrong = {**right, name: right[name] * factor}
        with pytest.raises(SystemExit, match=f"manual is wrong, so no speed is reported: .*{said}"):
            require_equal(Contestant("manual"), errors(wrong, truth), allowed)
    with pytest.raises(ValueError, match="not the same tensors"):
        errors({key: value for key, value in right.items() if key != name}, truth)


def test_budgets() -> None:
    plain = Errors(1e-7, 1e-6)
    rounding = torch.finfo(torch.float32).eps
    assert budget(Contestant("cpu"), plain) == Errors(2e-7 + rounding, 2e-6 + rounding)
    assert budget(Contestant("compile"), plain) == OTHERS["float32"]
    assert plain_for(Contestant("cpu", "bf16x3")) is None
    assert budget(Contestant("cpu", "bf16x3"), None) == Errors(SPLIT_LIMIT, SPLIT_LIMIT)
    assert budget(Contestant("triton"), plain) == Errors(TF32X3_LIMIT, TF32X3_LIMIT)
    with overruled("strict"):
        assert budget(Contestant("triton"), plain) == budget(Contestant("cpu"), plain)
    assert budget(Contestant("cuda", "bf16"), plain).prediction < 1e-2
    assert set(PLAIN.values()) == {REFERENCE, Contestant("plain", "bf16")}


def test_a_contestant_is_written_in_parts() -> None:
    every = Contestant.parse("cpu:save=segments-4:threads=2:bf16:unit=avx2")
    assert every == Contestant("cpu", "bf16", 2, "avx2", (("save", "segments:4"),))
    assert Contestant.parse(every.name) == every
    assert every.operator_arguments == {"save": "segments:4"}
    assert Contestant.parse("cpu:bf16x3").operator_arguments == {"precision": "bf16x3"}
    assert Contestant.parse("cpu").name == "cpu"


@pytest.mark.parametrize(("text", "said"), [("fast", "'fast'; known: reference"), ("cpu:fp8", "'fp8'")])
def test_an_unknown_contestant_is_refused(text: str, said: str) -> None:
    with pytest.raises(SystemExit, match=f"bench.compare: contestant '{text}': unknown .*{said}"):
        compare.main(["--quick", "--contestants", text])


def test_who_cannot_take_part_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    require_library()
    monkeypatch.setattr("bench.contestants.usable_cores", lambda: 2)
    reasons = {
        "cpu:threads=3": "3 threads on 2 cores",
        "cpu:unit=sse9": "unknown unit 'sse9'; known: generic, avx2",
        "compile:save=h": "compile is no operator",
    }
    if "save" not in dcrnn_seq2seq.__kwdefaults__:
        reasons["compile:save=h"] = "no argument save in this version"
    for name, said in reasons.items():
        assert said in (Contestant.parse(name).why_not(TINY) or "")
    assert "dense diffusion terms of 11160 nodes are 1.9 GiB" in (Contestant("compile").why_not(large()) or "")
    assert Contestant("cpu").why_not(large()) is None
    with pytest.raises(SystemExit, match="cpu:threads=3 cannot take part: 3 threads on 2 cores"):
        compare.Comparison(TINY, [Contestant("cpu", threads=3)], insist=True)
    assert compare.Comparison(TINY, [Contestant("cpu", threads=3)], insist=False).left_out == {
        "cpu:threads=3": "3 threads on 2 cores"
    }


def test_what_does_not_fit_in_memory_together_runs_in_heats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "available_mib", lambda: 1300.0)
    a, b, c = (Contestant("cpu", threads=threads) for threads in (1, 2, 3))
    peaks = {REFERENCE: 500.0, a: 300.0, b: 150.0, c: 400.0}
    assert turns.heats([REFERENCE, a, b, c], peaks) == [[REFERENCE, a, b], [REFERENCE, c]]
    with pytest.raises(SystemExit, match=r"cpu:threads=3 and the reference together need about 2\.5 GiB, 1\.3 are"):
        turns.heats([REFERENCE, a, b, c], {**peaks, c: 1500.0})


def test_a_killed_contestant_is_named() -> None:
    with turns.contestant_worker(Contestant("manual"), TINY, timed=False) as worker:
        worker.turn()
        worker.process.kill()
        worker.process.wait()
        with pytest.raises(SystemExit, match="manual was killed, for memory perhaps"):
            worker.turn()
        assert worker.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            worker.process.stdin.close()


def test_the_roofline_is_the_fastest_product_of_the_dtype() -> None:
    rates = {"mm_float32": 90.0, "onednn_float32": 210.0, "bf16": 420.0}
    assert roofline("float32", rates) == 210
    assert roofline("bf16", rates) == 420
    assert roofline("bf16x3", rates) == 84


def test_work_is_counted_as_published() -> None:
    # 354 GFLOP of matrix products a METR-LA step; layer 0 is (2 or 1)+64 wide, layer 1 is 128.
    assert metr_la().gflop == pytest.approx(354, rel=0.01)
    assert metr_la(batch_size=1, training=False).gflop == pytest.approx(354 / 64 / 3, rel=0.01)


def test_synthetic_graph_has_the_size_of_metr_la() -> None:
    adjacency = synthetic_adjacency(METR_LA_NODES, METR_LA_EDGES, seed=0)
    assert np.count_nonzero(adjacency) == METR_LA_EDGES
    assert (np.diag(adjacency) == 1).all()
    assert not np.array_equal(adjacency, adjacency.T)
    assert np.array_equal(adjacency, synthetic_adjacency(METR_LA_NODES, METR_LA_EDGES, seed=0))


def test_real_graphs_are_found(real_data: Path) -> None:
    for workload, edges in ((metr_la(real_data, batch_size=2), METR_LA_EDGES), (pems_bay(real_data), PEMS_BAY_EDGES)):
        assert "synthetic" not in workload.name
        assert workload.adjacency().nnz == edges
        assert workload.describe()["graph"] in ("adj_mx.pkl", "adj_mx_bay.pkl")


def test_the_large_graph_has_110_thousand_edges() -> None:
    workload = large()
    assert (workload.nodes, workload.batch_size, workload.past_steps, workload.future_steps) == (LARGE_NODES, 2, 2, 2)
    assert workload.adjacency().nnz == pytest.approx(110_000, rel=0.02)


def test_supports_of_a_large_graph_are_those_of_a_small_one() -> None:
    adjacency = QUICK["large"].adjacency()
    dense = build_reference_supports(adjacency.toarray(), "dual_random_walk")
    for ours, wanted in zip(dual_random_walk(adjacency), dense, strict=True):
        np.testing.assert_allclose(ours.toarray(), wanted, rtol=1e-14)


def test_the_chart_is_drawn_from_the_committed_records(tmp_path: Path) -> None:
    records = sorted(compare.RECORDS.glob("*.json"))
    assert records
    assert compare.main(["--chart", str(tmp_path / "chart.svg")]) == 0
    drawn = (tmp_path / "chart.svg").read_text()
    loaded = [json.loads(record.read_text()) for record in records]
    assert drawn.count("<!-- reference -->") == len(records)
    for record in loaded:
        assert f"<!-- {chart.title(record['workload'])} -->" in drawn
    assert (compare.RECORDS / "chart.svg").read_text().count("<!-- reference -->") == len(records)


def test_nothing_of_the_chart_is_cut_off() -> None:
    records = [json.loads(record.read_text()) for record in compare.RECORDS.glob("*.json")]
    for number, record in enumerate(records):
        record["machine"]["cpu"] = f"Some Processor 1234-{number}"
        record["machine"]["flags"] = ["avx512_vnni"]
    with look():
        figure = chart.chart(records)
        figure.canvas.draw()
        panels = [axes.get_title(loc="left").split(", ")[0] for axes in figure.axes]
        assert panels == [
            "METR-LA: training step", "METR-LA: forecast", "METR-LA's size: training step", "PEMS-BAY: training step",
            "city: training step",
        ]  # fmt: skip
        assert figure.texts[1].get_text().count("\n") == len(records) - 1
        beyond_the_axis = {label for axes in figure.axes for label in axes.get_xticklabels()}
        for text in set(figure.findobj(Text)) - beyond_the_axis:
            box = text.get_window_extent()
            inside = figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1
            assert (inside and figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1) or not text.get_text(), text


def test_readme_shows_the_committed_record() -> None:
    record = json.loads((compare.RECORDS / "metr-la.json").read_text())
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Speed\n")[1].split("\n## ")[0]
    for row in record["rows"]:
        cells = f"| {row['seconds_best']:.2f} | {row['ratio_to_reference']:.1f} |"
        assert f"`{row['contestant']}`" in section
        assert cells in section, f"{row['contestant']}: {cells}"


@pytest.mark.slow
def test_a_quick_comparison_leaves_a_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--quick", "--contestants", "manual", "plain:bf16", "--json", str(tmp_path / "record.json")]
    assert compare.main(flags) == 0
    said = capsys.readouterr().out
    record = json.loads((tmp_path / "record.json").read_text())
    assert {"machine", "versions", "commit", "workload", "rows", "gemm_gflops", "left_out"} <= record.keys()
    assert record["workload"]["name"] == "tiny"
    assert [row["contestant"] for row in record["rows"]] == ["reference", "manual", "plain:bf16"]
    wanted = {
        "contestant", "backend", "dtype", "threads", "seconds_best", "seconds_median", "ratio_to_reference", "gflops",
        "roofline_fraction", "peak_mib",
    }  # fmt: skip
    for row in record["rows"]:
        assert wanted <= row.keys()
        assert 0 < row["seconds_best"] <= row["seconds_median"]
        assert row["gflops"] == pytest.approx(record["workload"]["gflop"] / row["seconds_best"])
        fastest = max(record["gemm_gflops"]["1"][kind] for kind in row["gemm_fractions"])
        assert row["gflops"] / fastest <= row["roofline_fraction"] * 1.0001
        assert row["peak_mib"] > 0
        assert row["error_prediction"] <= row["budget_prediction"]
        assert row["contestant"] in said
    assert record["rows"][0]["ratio_to_reference"] == 1
