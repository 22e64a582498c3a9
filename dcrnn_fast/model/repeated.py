"""Forecasts of one model again and again: what every call of its operator finds out anew is found out once.

Shape legend: B batch, P past steps, F future steps, N nodes, C input channels, O output channels, K known channels.
"""

from operator import is_
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dcrnn_fast.kernels.dcrnn_seq2seq.cpu import repeated_arguments
from dcrnn_fast.model.build import chosen_backend
from dcrnn_fast.model.dcrnn import DCRNN


class _Checked(NamedTuple):
    """What a call depended on that passed all checks, and the operator's arguments that follow from it."""

    settings: tuple[Any, ...]
    tensors: list[Tensor]
    arguments: tuple[Any, ...]


class RepeatedForecasts:
    """Forecasts of one window by the compiled CPU kernels in float32, if the model is as it was when a call of it
    passed all checks.

    Checks, the choice of a backend and the lists of tensors take a third of a millisecond where the kernels take
    twenty. The kernels check sizes and dtypes again themselves.
    """

    def __init__(self, model: DCRNN) -> None:
        self._model = model
        self._checked: _Checked | None = None

    def forecast(self, x_BPNC: Tensor, known_BFNK: Tensor | None) -> Tensor | None:
        """The scaled forecast (B, F, N, O), float32; None: call the model, then ``was_checked``.

        Args:
            x_BPNC, known_BFNK: as the model takes them, float32, on the CPU; B is 1.
        """
        checked = self._checked
        if checked is None or checked.settings != _settings(self._model):
            return None
        tensors = _tensors(self._model)
        if len(tensors) != len(checked.tensors) or not all(map(is_, tensors, checked.tensors)):
            return None
        try:
            with torch.inference_mode():
                forecast_BFNO: Tensor = torch.ops.dcrnn_fast.seq2seq_cpu(x_BPNC, *checked.arguments, known_BFNK)[0]
        except (RuntimeError, ValueError):  # a tensor was changed in place, or the environment: the model says how
            self._checked = None
            return None
        return forecast_BFNO

    def was_checked(self) -> None:
        """To be called after a forecast by the model itself."""
        model, self._checked = self._model, None
        settings, weight = _settings(model), model.projection.weight
        plain = weight.dtype == torch.float32 and weight.device.type == "cpu" and not model.diffusion.divided
        if settings is None or not plain or chosen_backend(model) != "cpu":
            return
        with torch.inference_mode():
            arguments = repeated_arguments(
                model.diffusion.terms(),
                [cell.weights() for cell in model.encoder],  # type: ignore[operator]
                [cell.weights() for cell in model.decoder],  # type: ignore[operator]
                model.projection.weight,
                model.projection.bias,
                future_steps=model.future_steps,
                bf16x3=model.precision == "bf16x3",
            )
        self._checked = _Checked(settings, _tensors(model), arguments)


def _settings(model: DCRNN) -> tuple[Any, ...] | None:
    """What a call depends on beside tensors; None: on more than the model's own forward."""
    hooked = model._forward_hooks or model._forward_pre_hooks or model._compiled_call_impl is not None
    if hooked or torch.is_autocast_enabled("cpu"):
        return None
    return model.backend, model.save, model.precision, model.future_steps


def _tensors(model: DCRNN) -> list[Tensor]:
    """Buffers and parameters as they are now; attributes of modules take longer to find."""
    modules: Any = model._modules
    found = [*modules["diffusion"]._buffers.values()]
    for name in ("encoder", "decoder"):
        for cell in modules[name]._modules.values():
            found += cell._parameters.values()
    found += modules["projection"]._parameters.values()
    return found
