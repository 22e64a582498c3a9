"""The graph's diffusion terms as buffers: they move with the module, and are no part of its state dict.

A checkpoint holds the graph itself, from which the terms are made again; a state dict holds parameters only, so that
weights can be loaded into a model of any graph with as many terms.
"""

from typing import Any

from torch import nn

from dcrnn_fast.kernels import DiffusionTerms

_TENSOR_FIELDS = DiffusionTerms._fields[:6]


class GraphBuffers(nn.Module):
    """Holds one ``DiffusionTerms``; ``terms()`` gives it back on the module's present device and in its dtype."""

    def __init__(self, terms: DiffusionTerms) -> None:
        super().__init__()
        self.num_nodes = terms.num_nodes
        self.num_terms = terms.num_terms
        self._names = [*_TENSOR_FIELDS, *(f"recursion_{index}" for index in range(len(terms.recursion)))]
        if terms.halo is not None:
            self._names.append("halo")
        for name, tensor in zip(self._names, terms.tensors_with_recursion, strict=True):
            self.register_buffer(name, tensor, persistent=False)

    @property
    def divided(self) -> bool:
        """Whether these are a rank's part of the terms (``dcrnn_fast.kernels.halo``)."""
        return "halo" in self._names

    def terms(self) -> DiffusionTerms:
        """The terms, as the operators take them."""
        buffers: dict[str, Any] = self._buffers  # attributes of modules take longer to find
        tensors = [buffers[name] for name in self._names]
        return DiffusionTerms.from_tensors(tensors, self.num_nodes, self.num_terms)

    def extra_repr(self) -> str:
        """The module's part of ``print(model)``."""
        return f"nodes={self.num_nodes}, terms={self.num_terms}, entries={self.get_buffer('value').shape[0]}"
