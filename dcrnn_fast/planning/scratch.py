"""The scratch memory of the compiled kernels: asked from the library, which counts what it takes.

Scratch memory depends on a tile's rows, the threads and the way of saving, not on the number of steps or windows: so
one step of as many windows as the threads take at once says it for a batch of any size.
"""

from functools import cache

import scipy.sparse
import torch

from dcrnn_fast.kernels import DiffusionTerms, dcrnn_seq2seq
from dcrnn_fast.kernels.native import library
from dcrnn_fast.kernels.saving import segment_length
from dcrnn_fast.model.dcrnn import DCRNN
from dcrnn_fast.model.precision import autocast
from dcrnn_fast.planning.choice import windows_a_round

_FEW_ROWS = 1000
"""so many rows, of windows and nodes, take all steps: inputs of several steps are diffused at once"""


class Scratch:
    """(windows, save) -> bytes, for ``model`` with this process's number of threads; save "": a forecast."""

    def __init__(self, model: DCRNN, precision: str, past_steps: int) -> None:
        self._model, self._precision, self._past_steps = model, precision, past_steps
        self._measured = cache(self._measure)
        self._terms = model.graph.terms()
        if getattr(self._terms, "halo", None) is not None:
            # Operators on a part of a graph wait for the other parts; scratch memory does not depend on the entries.
            identity = scipy.sparse.eye_array(model.graph.num_nodes, format="csr")
            self._terms = DiffusionTerms.from_operators([identity] * model.graph.num_terms)

    def __call__(self, windows: int, save: str) -> int:
        windows = min(windows, windows_a_round(self._model.graph.num_nodes, torch.get_num_threads()))
        if save in ("", "all", "h"):
            return self._measured(windows, save)
        # Each step of a segment that is computed again takes as much as the one before.
        one, two = (self._measured(windows, name) for name in ("h", "segments:2"))
        return one + (segment_length("save", save) - 1) * (two - one)

    def _measure(self, windows: int, save: str) -> int:
        module, model = library().module, self._model
        assert module is not None
        N, weight = model.graph.num_nodes, model.projection.weight
        few = windows * N <= _FEW_ROWS
        steps = self._past_steps if few else 1
        x_BPNC = torch.zeros(windows, steps, N, model.input_channels, dtype=weight.dtype)
        module.most_arena_bytes()
        with autocast(self._precision, weight.device), torch.set_grad_enabled(save != ""):
            forecast_BFNO = dcrnn_seq2seq(
                x_BPNC,
                self._terms,
                [cell.weights() for cell in model.encoder],  # type: ignore[operator]
                [cell.weights() for cell in model.decoder],  # type: ignore[operator]
                weight,
                model.projection.bias,
                future_steps=model.future_steps if few else 1,
                backend="cpu",
                save=save or "all",
                precision=model.precision,
            )
        if save:
            torch.autograd.grad(forecast_BFNO.float().sum(), list(model.parameters()))
        return int(module.most_arena_bytes())
