"""Forecasts on sensor graphs with the diffusion convolutional recurrent network (DCRNN).

The public names are loaded when they are first used, so that ``import dcrnn_fast`` and ``--help`` take no time.
"""

from typing import TYPE_CHECKING

from dcrnn_fast._lazy import lazy_names
from dcrnn_fast._source_tree import mount_kernels

if TYPE_CHECKING:
    from dcrnn_fast.graph import SensorGraph
    from dcrnn_fast.kernels.explain import explain
    from dcrnn_fast.kernels.selfcheck import selfcheck
    from dcrnn_fast.loading import load
    from dcrnn_fast.model import DCRNN, DCGRUCell
    from dcrnn_fast.records.status import read_status

__version__ = "0.1.0"
__all__ = ["DCRNN", "DCGRUCell", "SensorGraph", "__version__", "explain", "load", "read_status", "selfcheck"]

_HOME_OF = {
    "DCRNN": "dcrnn_fast.model",
    "DCGRUCell": "dcrnn_fast.model",
    "SensorGraph": "dcrnn_fast.graph",
    "explain": "dcrnn_fast.kernels.explain",
    "load": "dcrnn_fast.loading",
    "read_status": "dcrnn_fast.records.status",
    "selfcheck": "dcrnn_fast.kernels.selfcheck",
}

mount_kernels()
__getattr__ = lazy_names(__name__, _HOME_OF)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
