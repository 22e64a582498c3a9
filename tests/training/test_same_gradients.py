"""How a global batch is cut over ranks and micro-batches does not change its gradient."""

import numpy as np
import pytest
import torch

from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.training import ModelConfig, TrainingConfig
from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.training.loss import channel_weights, error_sum, original_units
from dcrnn_fast.training.run import make_run
from tests.training import rank_programs


@pytest.fixture(scope="module")
def cuts(tmp_path_factory, rank_server):
    folder = tmp_path_factory.mktemp("gradients")
    jobs = [
        rank_server.start(folder / f"job{world}", world, "rank_programs:gradients", str(folder), micro, 8)
        for world, micro in ((1, 8), (2, 4), (4, 2))
    ]
    for job in jobs:
        assert job.wait() == [0] * job.world, job.errors(0)
    return {name: dict(np.load(folder / f"{name}.npz")) for name in ("1x8", "2x4", "4x2")}


@pytest.mark.parametrize("cut", ["2x4", "4x2"])
def test_gradients_of_all_cuts_are_equal_in_float64(cuts, cut):
    one, other = cuts["1x8"], cuts[cut]
    for name in one:
        if not name.endswith("_counts"):
            # Sums of at most a few thousand terms, in another order.
            np.testing.assert_allclose(other[name], one[name], rtol=1e-11, atol=1e-13, err_msg=name)


def test_micro_batches_have_unequal_counts(cuts):
    counts = cuts["1x8"]["original_mae_0_counts"]
    assert counts.max() > 2 * counts.min()


@pytest.mark.parametrize("unit", ["original", "deviation"])
@pytest.mark.parametrize("loss", ["mae", "mse", "rmse", "huber"])
def test_gradient_is_that_of_the_written_formula_over_the_whole_batch(cuts, loss, unit):
    """In deviations: the mean over the two targets of each one's own mean, though one is observed a third as often."""
    training = TrainingConfig(
        loss=loss,
        loss_unit=unit,
        huber_delta=2.0,
        batch_size=16,
        teacher_forcing="scheduled",
        sampling_decay=5.0,
        device="cpu",
    )
    config = Config(data=rank_programs.SMALL, model=ModelConfig(hidden_units=4), training=training)
    run = make_run(config, rank_programs.uneven_data(config), Ranks(), dtype=torch.float64)
    for number, batch in enumerate(run.batches.epoch(0)):
        whole = run.data.gather(run.data.train.starts_W[batch.windows])
        coins = rank_programs.label_coins(run, number)
        scaled = run.model(whole.x_BPNC.double(), whole.labels_BFNO.double(), coins)
        if unit == "original":
            errors = original_units(scaled, run.mean_O, run.std_O) - whole.y_BFNO
        else:
            errors = (scaled - whole.labels_BFNO) * 12.5
        values = []
        for error in (errors[..., k][whole.observed_BFNO[..., k]] for k in range(errors.shape[-1])):
            if loss == "mae":
                values.append(error.abs().mean())
            elif loss == "huber":
                values.append(torch.nn.functional.huber_loss(error, torch.zeros_like(error), delta=2.0))
            else:
                values.append((error**2).mean())
        value = torch.stack(values).mean()
        value = value.sqrt() if loss == "rmse" else value
        wanted = torch.cat([g.flatten() for g in torch.autograd.grad(value, list(run.model.parameters()))])
        name = f"{unit}_{loss}_{number}"
        np.testing.assert_allclose(cuts["4x2"][f"{name}_loss"], value.item(), rtol=1e-12)
        np.testing.assert_allclose(cuts["4x2"][f"{name}_gradient"], wanted.numpy(), rtol=1e-10, atol=1e-13)


def test_each_target_weighs_the_same_however_often_it_is_observed():
    deviation, original = TrainingConfig(loss_unit="deviation"), TrainingConfig(loss_unit="original")
    assert channel_weights([30, 10], deviation) == [40 / 60, 40 / 20]
    assert channel_weights([30, 0], deviation) == [0.5, 15.0], "an absent target takes nothing from the other's share"
    assert channel_weights([20, 20], deviation) == [1.0, 1.0]
    assert channel_weights([7], deviation) is channel_weights([7, 9], original) is None


@pytest.mark.parametrize("loss", ["mae", "mse", "rmse", "huber"])
def test_nothing_observed_gives_loss_zero_and_zero_gradients(loss):
    config = Config(
        data=rank_programs.SMALL,
        model=ModelConfig(hidden_units=4),
        training=TrainingConfig(loss=loss, batch_size=4, device="cpu"),
    )
    run = make_run(config, rank_programs.open_data(config.data, config.graph), Ranks())
    batch = run.data.gather(run.data.train.starts_W[:4])
    batch.observed_BFNO.zero_()
    batch.y_BFNO.fill_(float("nan"))
    rank_programs.accumulate_gradients(run, [batch], [0], None)
    value = rank_programs.loss_value(run.gradients.error_sum, 0, config.training)
    rank_programs.finish_gradient(run, value)
    assert value.item() == 0.0
    assert run.gradients.norm().item() == 0.0
    assert torch.isfinite(run.gradients.buffer).all()


def test_missing_targets_are_never_read_not_even_nan():
    prediction = torch.tensor([[[[1.0], [2.0], [3.0]]]], requires_grad=True)
    y = torch.tensor([[[[2.0], [float("nan")], [5.0]]]])
    observed = torch.tensor([[[[True], [False], [True]]]])
    total = error_sum(prediction, y, observed, TrainingConfig())
    total.backward()
    assert total.item() == 3.0
    assert prediction.grad.flatten().tolist() == [-1.0, 0.0, -1.0]


@pytest.mark.parametrize("loss", ["mae", "mse", "rmse", "huber"])
@pytest.mark.parametrize("windows", [1, 7])
def test_the_error_sum_is_the_same_bits_with_any_threads(loss, windows):
    torch.manual_seed(0)
    prediction, y = torch.randn(2, windows, 12, 12_345, 1)
    before, totals = torch.get_num_threads(), set()
    for threads in (1, 2, 3, 5):
        torch.set_num_threads(threads)
        totals.add(error_sum(prediction, y, torch.ones_like(y, dtype=torch.bool), TrainingConfig(loss=loss)).item())
    torch.set_num_threads(before)
    assert len(totals) == 1
