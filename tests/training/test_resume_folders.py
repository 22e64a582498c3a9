"""``--resume auto`` beside checkpoints that cannot be used, and beside a manifest that is another program's."""

import shutil
from pathlib import Path

import pytest

from dcrnn_fast.checkpoints.manifest import MANIFEST
from dcrnn_fast.checkpoints.read import load_checkpoint
from dcrnn_fast.errors import UserError
from dcrnn_fast.training.check import check
from dcrnn_fast.training.fit import fit
from tests.checkpoints.test_checkpoint import flip_bit
from tests.training.rank_programs import debug_config

FEW = ("--epochs", "1", "--max-train-windows", "8", "--max-validation-windows", "8", "--city-nodes", "4")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("trained") / "results"
    fit(debug_config(*FEW, "--results", str(results)))
    return results


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "results")) / "checkpoints"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("manifest", [False, True])
def test_damaged_checkpoints_are_set_aside_and_the_run_starts(
    folder: Path, manifest: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if not manifest:
        (folder / MANIFEST).unlink()
    for path in folder.glob("*.pt"):
        flip_bit(path)
    before = contents(folder)
    config = debug_config(*FEW, "--results", str(folder.parent), "--resume", "auto")
    check(config)
    assert contents(folder) == before, "--check changes nothing"
    capsys.readouterr()
    assert fit(config).reason == "finished"
    said = capsys.readouterr().out
    assert f"resume auto: no whole checkpoint in {folder}, starting anew" in said
    assert f"moved to {folder / 'earlier-1'}: no checkpoint of {folder / 'earlier-1'} can be used; skipped: " in said
    assert contents(folder / "earlier-1") == before
    assert load_checkpoint(folder / "latest.pt")["training"]["epoch"] == 1
    with pytest.raises(UserError, match="is damaged"):
        fit(debug_config(*FEW, "--results", str(folder.parent), "--resume", str(folder / "earlier-1" / "latest.pt")))


@pytest.mark.parametrize("resume", [(), ("--resume", "auto")])
def test_another_programs_manifest_is_refused_before_training(folder: Path, resume: tuple[str, ...]) -> None:
    (folder / MANIFEST).write_text('{"name": "My app", "icons": [{"src": "a.png"}]}')
    before = contents(folder), contents(folder.parent)
    for start in (fit, check):
        with pytest.raises(
            UserError, match=r"manifest\.json is no manifest of checkpoints .* move it or remove it, or"
        ):
            start(debug_config(*FEW, "--results", str(folder.parent), *resume))
    assert (contents(folder), contents(folder.parent)) == before
    assert not (folder / "earlier-1").exists()


def test_the_manifest_of_another_run_stops_a_run_that_would_go_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dcrnn_fast.checkpoints.read._LATE", (0.01,))
    fit(debug_config(*FEW, "--seed", "3", "--results", str(tmp_path / "other")))
    shutil.copy(tmp_path / "other" / "checkpoints" / MANIFEST, folder)
    before = contents(folder)
    with pytest.raises(UserError, match=r"manifest\.json is of another run: .* remove manifest\.json and it is used"):
        fit(debug_config(*FEW, "--results", str(folder.parent), "--resume", "auto"))
    assert contents(folder) == before
