"""The exponential moving average of the weights (EMA), and the model with the average in place of its weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """``decay`` x average + (1 - ``decay``) x weights, of every parameter, from the weights that the model begins with.

    In the parameters' own dtype and on their device: float32 also where the model computes in bfloat16. All ranks have
    the same weights, so they have the same average without telling each other.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._parameters = dict(model.named_parameters())
        self._averages = {name: weight.detach().clone() for name, weight in self._parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """After each step that moved the weights; no wait for the device."""
        for name, average in self._averages.items():
            average.lerp_(self._parameters[name], 1.0 - self._decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """In the body the model has the average for its weights, at the addresses that a CUDA graph reads."""
        weights = {name: weight.detach().clone() for name, weight in self._parameters.items()}
        self._write(self._averages)
        try:
            yield
        finally:
            self._write(weights)

    def to_state(self) -> dict[str, Tensor]:
        return self._averages

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Puts ``to_state`` back."""
        for name, average in self._averages.items():
            average.copy_(state[name])

    @torch.no_grad()
    def _write(self, values: Mapping[str, Tensor]) -> None:
        for name, weight in self._parameters.items():
            weight.copy_(values[name])
