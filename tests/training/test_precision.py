"""The loss scale of fp16, and which precision needs which device."""

import pytest
import torch

from dcrnn_fast.errors import UserError
from dcrnn_fast.training.precision import LossScale, require_precision


def test_loss_scale_halves_on_overflow_and_doubles_after_2000_good_steps() -> None:
    scale = LossScale.of("fp16")
    assert scale.update(finite=False)
    assert scale.scale == 32768.0
    for _ in range(1999):
        scale.update(finite=True)
    assert scale.scale == 32768.0
    twin = LossScale.of("fp16")
    twin.restore(scale.to_state())
    for each in (scale, twin):
        each.update(finite=True)
        assert each.scale == 65536.0
    scale.scale = 1.0
    assert not scale.update(finite=False), "at scale 1 an overflow is the gradient's own: a bad step"
    for precision in ("fp32", "bf16"):
        still = LossScale.of(precision)
        assert not still.update(finite=False)
        assert still.scale == 1.0


def test_fp16_on_a_cpu_is_refused() -> None:
    with pytest.raises(UserError, match=r"needs a GPU.*bf16"):
        require_precision("fp16", torch.device("cpu"))
    require_precision("bf16", torch.device("cpu"))


def test_bf16x3_is_for_cpus() -> None:
    require_precision("bf16x3", torch.device("cpu"))
    with pytest.raises(UserError, match="bf16x3 is for CPUs, the device is cuda"):
        require_precision("bf16x3", torch.device("cuda"))
