"""Weights of other DCRNNs, in and out: the public PyTorch port, LibCity, LargeST, the authors' TensorFlow code.

The port's names are checked against numbers that it produced. The other three are mapped by name and shape from their
published sources; no original weights were at hand.
"""

from dcrnn_fast.interop.export import export_pytorch_port, save_pytorch_port
from dcrnn_fast.interop.weights import NUM_SUPPORTS, ImportedWeights, import_state, read_weights, with_one_hot_days

__all__ = [
    "NUM_SUPPORTS", "ImportedWeights", "export_pytorch_port", "import_state", "read_weights", "save_pytorch_port",
    "with_one_hot_days",
]  # fmt: skip
