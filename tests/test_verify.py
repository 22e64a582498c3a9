"""``dcrnn-fast verify``: every golden file passes, and a wrong number in one does not."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from dcrnn_fast.verify import BOUNDS, COLUMNS, main, verify
from tests.kernels.compiled import require_library

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("backend", ["specification", "manual", "cpu", "auto"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "bf16"])
def test_every_golden_file_passes(backend: str, dtype: str) -> None:
    if backend == "cpu":
        require_library()
    cases = verify(GOLDEN, backend=backend, dtype=dtype)  # type: ignore[arg-type]
    assert len(cases) == 9
    for case in cases:
        assert not case.misses(BOUNDS[dtype]), f"{case.name}: {case.errors}"  # type: ignore[index]


def changed_copy(folder: Path, **changes: object) -> Path:
    folder.mkdir()
    with np.load(GOLDEN / "dual_k2_l2_curriculum.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    for name, change in changes.items():
        stored = next(key for key in arrays if key.replace("/", "_").startswith(name))
        arrays[stored] = change(arrays[stored]) if callable(change) else change
    np.savez(folder / "case.npz", **arrays)
    return folder


@pytest.mark.parametrize(
    ("column", "changes"),
    [
        ("supports", {"support_0": lambda a: a.T.copy()}),
        ("training", {"prediction_scaled": lambda a: a * (1 + 1e-4)}),
        ("evaluation", {"prediction_eval_scaled": lambda a: a + 1e-3}),
        ("loss", {"loss": lambda a: a * 1.001}),
        ("gradients", {"grad_encoder_model.dcgru_layers.0": lambda a: a * 1.01}),
        ("training", {"teacher_forcing_draws": lambda a: 1 - a}),
    ],
)
def test_a_wrong_number_is_a_miss_and_exits_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], column: str, changes: dict[str, object]
) -> None:
    folder = changed_copy(tmp_path / "golden", **changes)
    (case,) = verify(folder)
    assert column in case.misses(BOUNDS["float32"])
    assert main(["--golden", str(folder)]) == 1
    assert "1 of 1 files over a bound: case.npz" in capsys.readouterr().out


def test_prints_a_table_and_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--golden", str(GOLDEN)]) == 0
    said = capsys.readouterr().out
    assert all(column in said for column in COLUMNS)
    assert "laplacian_k2_l1.npz" in said
    assert not any(line.endswith(" ") for line in said.splitlines())


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"not an archive", "case.npz is no golden file"),
        (None, "no golden vectors"),
        ({"config": np.array(json.dumps({"filter_type": "laplacian"}))}, "case.npz is no golden file: it has no"),
    ],
)
def test_bad_folders_get_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], contents: object, message: str
) -> None:
    if isinstance(contents, bytes):
        (tmp_path / "case.npz").write_bytes(contents)
    elif isinstance(contents, dict):
        np.savez(tmp_path / "case.npz", **contents)
    assert main(["--golden", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_backend_that_cannot_run_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--golden", str(GOLDEN), "--backend", "triton"]) == 2
    said = capsys.readouterr().err
    assert "triton: x is on the CPU" in said
    assert "(TRITON_INTERPRET=1 interprets the kernels there)" in said


def test_a_variable_that_names_nothing_is_no_fault_of_the_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    require_library()
    monkeypatch.setenv("DCRNN_FAST_CPU", "sse9")
    assert main(["--golden", str(GOLDEN), "--backend", "cpu"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dcrnn-fast verify: error: DCRNN_FAST_CPU is 'sse9', wanted one of generic")


def test_a_missing_gpu_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["--golden", str(GOLDEN), "--device", "cuda"]) == 2
    assert "device cuda: there is no GPU here" in capsys.readouterr().err


PARTS = {
    "gone": None,
    "text": np.array("x"),
    "-1": np.array(-1),
    "empty": np.zeros(0),
    "(2, 2)": np.zeros((2, 2)),
    "complex": np.zeros(3, complex),
    "NaN": np.array(np.nan),
}


@pytest.mark.parametrize("change", PARTS)
def test_a_part_of_another_type_or_size_is_one_line(
    change: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = dict(np.load(GOLDEN / "dual_k1_l2.npz"))
    for name in whole:
        parts = whole | {name: PARTS[change]}
        np.savez(tmp_path / "case.npz", **{key: part for key, part in parts.items() if part is not None})
        code = main(["--golden", str(tmp_path)])
        said = capsys.readouterr().err
        assert code in (0, 1) if said == "" else (code, said.count("\n")) == (2, 1), (name, said)


def test_a_pipe_is_not_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "case.npz")
    assert main(["--golden", str(tmp_path)]) == 2
    assert "case.npz is no golden file: is a pipe" in capsys.readouterr().err
