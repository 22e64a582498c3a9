"""DCRNN and its cell as nn.Modules, usable in other people's code."""

from typing import TYPE_CHECKING

from dcrnn_fast._lazy import lazy_names
from dcrnn_fast.model.dcgru_cell import DCGRUCell
from dcrnn_fast.model.dcrnn import DCRNN

if TYPE_CHECKING:
    from dcrnn_fast.model.build import build_model

__all__ = ["DCRNN", "DCGRUCell", "build_model"]

__getattr__ = lazy_names(__name__, {"build_model": "dcrnn_fast.model.build"})
