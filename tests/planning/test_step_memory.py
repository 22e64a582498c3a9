"""What a step takes, by item: the numbers of the tensors that there are."""

import numpy as np
import pytest
import torch

from dcrnn_fast.data.ahead import Gatherer
from dcrnn_fast.data.opening import open_data
from dcrnn_fast.kernels.diffusion_conv.plain import stacked_operator
from dcrnn_fast.kernels.halo import Absent, partition_terms
from dcrnn_fast.kernels.native import library
from dcrnn_fast.kernels.saving import saved_numbers, segment_length
from dcrnn_fast.model.graph_buffers import GraphBuffers
from dcrnn_fast.planning.choice import Choice
from dcrnn_fast.planning.memory import KEPT, SCRATCH, STEP, Need, anonymous_bytes, kept_bytes
from dcrnn_fast.planning.scratch import Scratch, stacks_bytes
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


def arena_of_a_step(run: Run, windows: int) -> int:
    module = library().module
    assert module is not None
    module.most_arena_bytes()
    batch = run.gather(run.data.train.starts_W[:windows])
    torch.autograd.grad(run.predict(batch).sum(), list(run.model.parameters()))
    return int(module.most_arena_bytes())


@compiled
@pytest.mark.parametrize("windows", [1, 40])
def test_scratch_memory_of_a_short_trial_is_that_of_the_step(windows: int) -> None:
    """The trial has as many windows as the threads take at once, and segments of two steps; the step has all of them,
    and segments of five. More windows have more sums of gradients at once."""
    run = made("--batch-size", "40", "--save", "segments:5", "--known-ahead", "calendar", "--day-of-week")
    planned = Scratch(run.model, "fp32", 12)(windows, "segments:5")
    assert planned == pytest.approx(arena_of_a_step(run, windows), rel=0.1)


@compiled
@pytest.mark.parametrize("save", ["all", "h"])
def test_scratch_memory_of_long_windows_is_that_of_shorter_ones(save: str) -> None:
    run = made("--past-steps", "150", "--future-steps", "50", "--day-of-week", "--save", save)
    planned = Scratch(run.model, "fp32", 150)(2, save)
    assert planned == pytest.approx(arena_of_a_step(run, 2), rel=0.01)


@compiled
def test_scratch_memory_of_a_shared_graph_has_the_partners_rows() -> None:
    run = made("--city-nodes", "60")
    alone = Scratch(run.model, "fp32", 12)(4, "all")
    scattered = np.arange(60) % 2  # every node reads rows of the other part
    run.model.diffusion = GraphBuffers(partition_terms(run.model.diffusion.terms(), scattered, Absent(0, 2)))
    planned = Scratch(run.model, "fp32", 12)(4, "all")
    run.own_data = run.data.of_nodes(np.flatnonzero(scattered == 0))
    run.host_windows = Gatherer(run.own_data, 0)
    assert planned == pytest.approx(arena_of_a_step(run, 4), rel=0.1)
    assert planned > 0.6 * alone


@pytest.mark.parametrize("width", [2, 4])
def test_dense_operators_of_plain_pytorch_count(width: int) -> None:
    run = made("--backend", "manual")
    terms, dtype = run.model.diffusion.terms(), {2: torch.bfloat16, 4: torch.float32}[width]
    whole = [stacked_operator(terms, dtype, transposed=way) for way in (False, True)]
    assert stacks_bytes(run.model, width) == sum(stack.matrix.nbytes for stack in whole)  # type: ignore[union-attr]
    own = run.model.diffusion = GraphBuffers(partition_terms(terms, np.arange(30) % 2, Absent(0, 2)))
    parts = [stacked_operator(own.terms(), dtype, transposed=way) for way in (False, True)]
    matrices = [matrix for part in parts for matrix in (part.own.matrix, part.received.matrix)]  # type: ignore[union-attr]
    assert stacks_bytes(run.model, width) == sum(matrix.nbytes for matrix in matrices)


@pytest.mark.parametrize("flags", [(), ("--known-ahead", "calendar", "--day-of-week")], ids=["", "known ahead"])
def test_the_bytes_of_a_window(flags: tuple[str, ...]) -> None:
    run = made(*flags)
    batch = run.gather(run.data.train.starts_W[:3])
    tensors = [batch.x_BPNC, batch.y_BFNO, batch.observed_BFNO, batch.labels_BFNO]
    tensors += [] if batch.known_BFNK is None else [batch.known_BFNK]
    assert 3 * StepMemory(run).shapes.window_bytes == sum(tensor.nbytes for tensor in tensors)


def test_the_parameters() -> None:
    run = made("--known-ahead", "calendar")
    assert StepMemory(run).shapes.known_channels == 1
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
