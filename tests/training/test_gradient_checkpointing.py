"""``--gradient-checkpointing`` is ``--save h``: the same gradients, bit for bit, and less kept for the backward."""

import pytest
import torch

from dcrnn_fast.data.opening import open_data
from dcrnn_fast.kernels.native import library
from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.training.resolved import resolved
from dcrnn_fast.training.run import Run, make_run
from dcrnn_fast.training.step import accumulate_gradients
from tests.training.rank_programs import debug_config

pytestmark = pytest.mark.skipif(library()[0] is None, reason=f"no compiled kernels here: {library()[2]}")


def gradients_and_bytes(dtype: torch.dtype, *flags: str) -> tuple[Run, torch.Tensor, int]:
    """The flat gradient of one batch, and the bytes that autograd kept for it beside the parameters."""
    words = ("--city-nodes", "20", "--past-steps", "12", "--future-steps", "12", "--hidden-units", "32")
    config = resolved(debug_config(*words, *flags, "--device", "cpu", "--backend", "cpu"), 1)
    run = make_run(config, open_data(config.data, config.graph), Ranks(), dtype=dtype)
    own = {weight.data_ptr() for weight in run.model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    batch = run.gather(run.data.train.starts_W[:16])
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        accumulate_gradients(run, [batch], batch.count_observed().tolist(), None)
    return run, run.gradients.buffer.clone(), sum(kept.values())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_gradients_are_equal_and_less_is_kept(dtype: torch.dtype) -> None:
    _, wanted, much = gradients_and_bytes(dtype)
    run, got, little = gradients_and_bytes(dtype, "--gradient-checkpointing")
    assert run.config.model.save == run.model.save == "h"
    assert torch.equal(got, wanted)
    assert got.abs().max() > 0
    assert little < 0.4 * much
