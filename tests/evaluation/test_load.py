"""``load``: from a checkpoint or a folder to a model that forecasts; other files are told apart in one line."""

import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dcrnn_fast
from dcrnn_fast.checkpoints.manifest import MANIFEST
from dcrnn_fast.checkpoints.read import load_checkpoint
from dcrnn_fast.checkpoints.save import save_checkpoint
from dcrnn_fast.errors import UserError
from tests.evaluation.small_city import SmallCity, make_small_city


@pytest.fixture
def city(tmp_path: Path) -> SmallCity:
    return make_small_city(tmp_path / "checkpoints")


def weights_of(model: torch.nn.Module) -> list[bytes]:
    return [parameter.detach().numpy().tobytes() for parameter in model.parameters()]


def test_everything_is_in_the_checkpoint(city: SmallCity) -> None:
    forecaster = dcrnn_fast.load(city.checkpoint)
    assert forecaster.ids == city.data.series.ids
    assert forecaster.window_format == city.data.window_format
    assert forecaster.scaler == city.data.scaler
    assert forecaster.config == city.config
    assert not forecaster.model.training
    assert weights_of(forecaster.model) == weights_of(city.model)


def test_it_says_where_bf16x3_is_exact(city: SmallCity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCRNN_FAST_CPU", "generic")
    assert dcrnn_fast.load(city.checkpoint, precision="fp32").notes == ()
    (note,) = dcrnn_fast.load(city.checkpoint, precision="bf16x3").notes
    assert note.startswith("precision bf16x3: products are exact float32 ones here, not split: ")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_wrappers_names_are_stripped(tmp_path: Path, prefix: str) -> None:
    city = make_small_city(tmp_path, prefix=prefix)
    assert weights_of(dcrnn_fast.load(city.checkpoint).model) == weights_of(city.model)


def damage(path: Path) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)


def test_a_folder_means_its_best_checkpoint_and_one_line_says_so(city: SmallCity) -> None:
    folder = city.checkpoint.parent
    state = load_checkpoint(city.checkpoint)
    for name, step in (("epoch_0001.pt", 10), ("best.pt", 20), ("latest.pt", 30)):
        save_checkpoint(
            folder, state | {"training": {"step": step, "epoch": step // 10, "position": 0, "history": []}}, name
        )
    for place in (folder, folder.parent):
        forecaster = dcrnn_fast.load(place)
        assert forecaster.about["step"] == 20
        assert forecaster.about["checkpoint"] == str(folder / "best.pt")
        assert forecaster.notes[0].startswith(f"using {folder / 'best.pt'}: the epoch with the least validation error")
    assert dcrnn_fast.load(folder / "best.pt").notes == forecaster.notes[1:]
    damage(folder / "best.pt")
    forecaster = dcrnn_fast.load(folder)
    assert forecaster.about["step"] == 30
    assert "best.pt is damaged" in forecaster.notes[0]
    assert forecaster.notes[1] == f"using {folder / 'latest.pt'} instead"
    (folder / "best.pt").unlink()
    assert dcrnn_fast.load(folder).notes[0] == (
        f"using {folder / 'latest.pt'}: the furthest in training, as there is no best.pt"
    )
    damage(folder / "latest.pt")
    forecaster = dcrnn_fast.load(folder)
    assert forecaster.about["step"] == 10
    assert "latest.pt is damaged" in forecaster.notes[0]


def test_a_damaged_checkpoint_falls_back_to_the_other_good_one_and_says_so(city: SmallCity) -> None:
    folder = city.checkpoint.parent
    save_checkpoint(folder, load_checkpoint(city.checkpoint), "best.pt")
    damaged = bytearray((folder / "best.pt").read_bytes())
    damaged[1000] ^= 4
    (folder / "best.pt").write_bytes(damaged)
    forecaster = dcrnn_fast.load(folder / "best.pt")
    assert forecaster.about["checkpoint"] == str(city.checkpoint)
    assert any("best.pt is damaged" in note for note in forecaster.notes), forecaster.notes


def test_the_callers_random_numbers_stay_as_they_are(city: SmallCity) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    dcrnn_fast.load(city.checkpoint)
    assert torch.equal(before, torch.get_rng_state())


def test_backend_and_precision_can_be_chosen(city: SmallCity) -> None:
    forecaster = dcrnn_fast.load(city.checkpoint, backend="specification", precision="bf16")
    assert (forecaster.model.backend, forecaster.precision) == ("specification", "bf16")
    assert forecaster.about["backend"] == "specification"


def test_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint"):
        dcrnn_fast.load(tmp_path)
    with pytest.raises(UserError, match="cannot be read"):
        dcrnn_fast.load(tmp_path / "absent.pt")


def test_other_files_are_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (str(tmp_path / "ran"),))

    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Evil()))
    torch.save({"weights": torch.ones(2)}, tmp_path / "state_dict.pt")
    for name, message in (("text.pt", "checkpoint"), ("evil.pt", "checkpoint"), ("state_dict.pt", "it lacks format")):
        alone = tmp_path / name.removesuffix(".pt")
        alone.mkdir()
        (tmp_path / name).rename(alone / name)
        with pytest.raises(UserError, match=message) as refused:
            dcrnn_fast.load(alone / name)
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_shape_are_refused_in_one_line(city: SmallCity) -> None:
    state = load_checkpoint(city.checkpoint)
    state["config"]["model"]["hidden_units"] = 16
    path = save_checkpoint(city.checkpoint.parent, state, "wrong.pt")
    with pytest.raises(UserError, match="do not fit its own configuration") as refused:
        dcrnn_fast.load(path)
    assert "\n" not in str(refused.value)
    del state["model"]["projection.bias"]
    state["config"]["model"]["hidden_units"] = 8
    with pytest.raises(UserError, match=r"projection\.bias"):
        dcrnn_fast.load(save_checkpoint(city.checkpoint.parent, state, "wrong.pt"))


def test_a_checkpoint_that_was_moved_is_checked_by_itself(city: SmallCity) -> None:
    (city.checkpoint.parent / MANIFEST).unlink()
    assert "no entry in manifest.json" in dcrnn_fast.load(city.checkpoint).notes[0]


def test_unknown_device(city: SmallCity) -> None:
    with pytest.raises(UserError, match="device must be"):
        dcrnn_fast.load(city.checkpoint, device="gpu0")
    with pytest.raises(UserError, match=r"device cuda:99: .* this machine has \d+"):
        dcrnn_fast.load(city.checkpoint, device="cuda:99")


def test_evaluate_from_python(city: SmallCity) -> None:
    forecaster = dcrnn_fast.load(city.checkpoint)
    report = forecaster.evaluate(starts_W=city.data.test.starts_W[:20])
    assert report.num_windows == 20
    batch = city.data.gather(city.data.test.starts_W[:20])
    with torch.no_grad():
        error = (city.data.scaler.inverse(city.model(batch.x_BPNC)) - batch.y_BFNO).abs()[batch.observed_BFNO]
    np.testing.assert_allclose(report.methods["DCRNN"].overall().mae, error.double().mean(), rtol=1e-5)


def test_a_forecast_of_nan_says_so(city: SmallCity) -> None:
    state = load_checkpoint(city.checkpoint)
    state["model"]["projection.weight"] *= 1e38  # finite, but no forecast is
    forecaster = dcrnn_fast.load(save_checkpoint(city.checkpoint.parent, state, "huge.pt"))
    (said,) = (note for note in forecaster.forecast(city.data.series).notes if "NaN" in note)
    assert said.startswith("look: ")
    assert "forecasts are NaN or infinite although all weights are finite" in said
    report = forecaster.evaluate(starts_W=city.data.test.starts_W[:5])
    assert "forecasts NaN or infinity in these windows" in report.notes[0]
    assert b"Infinity" not in report.files()["report.json"]
    usual = dcrnn_fast.load(city.checkpoint)
    assert not any("NaN" in note for note in usual.forecast(city.data.series).notes)
    assert not any("NaN" in note for note in usual.evaluate(starts_W=city.data.test.starts_W[:5]).notes)


def test_weights_that_are_not_finite_are_refused(city: SmallCity) -> None:
    for value in (float("nan"), float("inf"), -float("inf")):
        state = load_checkpoint(city.checkpoint)
        state["model"]["decoder.1.gate_bias"][3] = value
        (city.checkpoint.parent / "other").mkdir(exist_ok=True)
        path = save_checkpoint(city.checkpoint.parent / "other", state, "model.pt")
        with pytest.raises(
            UserError, match=r"wrong weight decoder\.1\.gate_bias: it holds NaN or infinity, as after a"
        ):
            dcrnn_fast.load(path)


def test_random_numbers_of_another_thread_stay_as_they_are(city: SmallCity) -> None:
    """Nothing is drawn, not even to be put back."""

    def draws() -> list[float]:
        torch.manual_seed(1)
        return [torch.rand(1).item() for _ in range(10_000)]

    alone = draws()
    loading = threading.Thread(target=lambda: [dcrnn_fast.load(city.checkpoint) for _ in range(20)])
    loading.start()
    beside = draws()
    loading.join()
    assert beside == alone


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"future_steps": 1.5}, "future_steps must be a whole number, got 1.5"),
        ({"future_steps": "3"}, "future_steps must be a whole number, got '3'"),
        ({"future_steps": True}, "future_steps must be a whole number, got True"),
        ({"at_least": "0"}, "at_least must be a number, got '0'"),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused_in_one_line(city: SmallCity, given: Any, message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}$"):
        dcrnn_fast.load(city.checkpoint, **given)


def test_a_number_of_numpy_is_a_whole_number(city: SmallCity) -> None:
    forecaster = dcrnn_fast.load(city.checkpoint, future_steps=np.int64(3))  # type: ignore[arg-type]
    assert type(forecaster.window_format.future_steps) is int
