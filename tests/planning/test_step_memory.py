"""What a step takes, by item: the numbers of the tensors that there are."""

import pytest
import torch

from dcrnn_fast.data.dataset import open_data
from dcrnn_fast.kernels.native import library
from dcrnn_fast.kernels.saving import saved_numbers, segment_length
from dcrnn_fast.planning.choice import Choice
from dcrnn_fast.planning.memory import KEPT, SCRATCH, STEP, Need, anonymous_bytes, kept_bytes
from dcrnn_fast.planning.scratch import Scratch
from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.training.memory import StepMemory
from dcrnn_fast.training.run import Run, make_run
from tests.training.rank_programs import debug_config

compiled = pytest.mark.skipif(library().module is None, reason="the kernels are not compiled")


def made(*flags: str) -> Run:
    config = debug_config("--city-nodes", "30", "--past-steps", "12", "--future-steps", "8", "--device", "cpu", *flags)
    return make_run(config, open_data(config.data, config.graph), Ranks())


@compiled
@pytest.mark.parametrize(("save", "precision"), [("all", "fp32"), ("h", "bf16"), ("segments:5", "fp32")])
def test_kept_is_what_the_kernels_save(save: str, precision: str) -> None:
    memory = StepMemory(made("--save", save, "--precision", precision))
    dtype, shapes = torch.bfloat16 if precision == "bf16" else torch.float32, memory.shapes
    numbers = saved_numbers(
        segment_length("t", save), 20, dtype, 3, shapes.nodes, shapes.hidden_units, shapes.num_layers
    )
    assert kept_bytes(shapes, memory.here, Choice(3, 1, save)) == numbers * dtype.itemsize


def test_on_a_gpu_the_segment_that_is_computed_again_counts() -> None:
    run = made("--backend", "manual")
    run.ranks = Ranks(device=torch.device("cuda"))
    memory = StepMemory(run)
    panel = memory.shapes.num_layers * memory.shapes.nodes * memory.shapes.hidden_units * 4
    wanted = {"all": 4 * 20, "h": 19 + 4, "segments:5": 4 + 4 * 5}
    assert {save: kept_bytes(memory.shapes, memory.here, Choice(1, 1, save)) // panel for save in wanted} == wanted


@compiled
@pytest.mark.parametrize("windows", [1, 40])
def test_scratch_memory_of_a_short_trial_is_that_of_the_step(windows: int) -> None:
    """The trial has as many windows as the threads take at once, and segments of two steps; the step has all of them,
    and segments of five. More windows have more sums of gradients at once."""
    run = made("--batch-size", "40", "--save", "segments:5")
    planned = Scratch(run.model, "fp32", 12)(windows, "segments:5")
    module = library().module
    assert module is not None
    module.most_arena_bytes()
    batch = run.gather(run.data.train.starts_W[:windows])
    torch.autograd.grad(run.predict(batch).sum(), list(run.model.parameters()))
    assert planned == pytest.approx(module.most_arena_bytes(), rel=0.1)


def test_the_bytes_of_a_window() -> None:
    run = made()
    batch = run.gather(run.data.train.starts_W[:3])
    tensors = (batch.x_BPNC, batch.y_BFNO, batch.observed_BFNO, batch.labels_BFNO)
    assert 3 * StepMemory(run).shapes.window_bytes == sum(tensor.nbytes for tensor in tensors)


def test_the_parameters() -> None:
    run = made()
    assert StepMemory(run).shapes.parameters == sum(parameter.numel() for parameter in run.model.parameters())


def test_the_peak_is_what_stays_and_the_largest_phase() -> None:
    need = Need({"held": 10, "none": 0}, {"small": {"a": 5}, "large": {"b": 4, "c": 3}})
    assert (need.largest, need.peak, need.items) == ("large", 17, {"held": 10, "b": 4, "c": 3})


def test_micro_batches_have_no_more_windows_than_there_are() -> None:
    memory = StepMemory(made("--max-train-windows", "6"))
    kept = [memory.need(Choice(size, 1, "all")).phases[STEP][KEPT] for size in (6, 600)]
    assert kept[0] == kept[1]
    assert memory.need(memory.now).phases[STEP][SCRATCH] > 0


def test_the_memory_of_this_process_is_known_on_linux() -> None:
    before = anonymous_bytes()
    held = torch.ones(20_000_000)
    assert anonymous_bytes() - before > 0.9 * held.nbytes
