"""DCRNN and its cell as nn.Modules, usable in other people's code."""

from dcrnn_fast.model.dcgru_cell import DCGRUCell
from dcrnn_fast.model.dcrnn import DCRNN

__all__ = ["DCRNN", "DCGRUCell"]
