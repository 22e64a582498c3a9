"""The scratch memory of the compiled kernels: asked from the library, which counts what it takes. And the operators of
plain PyTorch.

Scratch memory depends on a tile's rows, the threads and the way of saving, not on the number of steps or windows: so
one step of as many windows as the threads take at once says it for a batch of any size.
"""

from functools import cache

import torch

from dcrnn_fast.kernels import dcrnn_seq2seq
from dcrnn_fast.kernels.diffusion_conv.plain import prefers_dense
from dcrnn_fast.kernels.halo import without_partners
from dcrnn_fast.kernels.halo.exchange import halo_of
from dcrnn_fast.kernels.native import library
from dcrnn_fast.kernels.saving import segment_length
from dcrnn_fast.model.dcrnn import DCRNN
from dcrnn_fast.model.precision import autocast
from dcrnn_fast.planning.choice import windows_a_round

_FEW_ROWS = 1000
"""of so many rows, of windows and nodes, inputs of several steps are diffused at once"""
_STEPS = 32
"""but never of more than so many"""


class Scratch:
    """(windows, save) -> bytes, for ``model`` with this process's number of threads; save "": a forecast."""

    def __init__(self, model: DCRNN, precision: str, past_steps: int) -> None:
        self._model, self._precision, self._past_steps = model, precision, past_steps
        self._measured = cache(self._measure)
        terms = model.diffusion.terms()
        self._terms = terms if terms.halo is None else without_partners(terms)

    def __call__(self, windows: int, save: str) -> int:
        windows = min(windows, windows_a_round(self._model.diffusion.num_nodes, torch.get_num_threads()))
        if save in ("", "all", "h"):
            return self._of_a_step(windows, save)
        # Each step of a segment that is computed again takes as much as the one before.
        one, two = (self._of_a_step(windows, name) for name in ("h", "segments:2"))
        return one + (segment_length("save", save) - 1) * (two - one)

    def _of_a_step(self, windows: int, save: str) -> int:
        model = self._model
        few = windows * model.diffusion.num_nodes <= _FEW_ROWS
        past, future = (min(steps, _STEPS if few else 1) for steps in (self._past_steps, model.future_steps))
        return self._measured(windows, save, past, future)

    def _measure(self, windows: int, save: str, past: int, future: int) -> int:
        module, model = library().module, self._model
        assert module is not None
        N, weight = model.diffusion.num_nodes, model.projection.weight
        x_BPNC = torch.zeros(windows, past, N, model.input_channels, dtype=weight.dtype)
        known_BFNK = torch.zeros(windows, future, N, model.known_channels, dtype=weight.dtype)
        module.most_arena_bytes()
        with autocast(self._precision, weight.device), torch.set_grad_enabled(save != ""):
            forecast_BFNO = dcrnn_seq2seq(
                x_BPNC,
                self._terms,
                [cell.weights() for cell in model.encoder],  # type: ignore[operator]
                [cell.weights() for cell in model.decoder],  # type: ignore[operator]
                weight,
                model.projection.bias,
                future_steps=future,
                known_BFNK=known_BFNK if model.known_channels else None,
                backend="cpu",
                save=save or "all",
                precision=model.precision,
            )
        if save:
            torch.autograd.grad(forecast_BFNO.float().sum(), list(model.parameters()))
        return int(module.most_arena_bytes())


def stacks_bytes(model: DCRNN, width: int) -> int:
    """Bytes of the operators and their transposes as plain PyTorch multiplies by them, if that is as dense matrices."""
    terms, dtype = model.diffusion.terms(), torch.bfloat16 if width == 2 else torch.float32
    columns = terms.num_nodes
    if terms.halo is not None:
        columns += max(sum(halo_of(terms.halo).route(transposed=way).received) for way in (False, True))
    return 2 * (terms.num_terms - 1) * terms.num_nodes * columns * width if prefers_dense(terms, dtype) else 0
