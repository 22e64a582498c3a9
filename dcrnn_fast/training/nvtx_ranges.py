"""Named ranges for a profiler's timeline, through the ``nvtx`` package; nothing at all if it is not installed."""

import importlib.util
from contextlib import AbstractContextManager, nullcontext

if importlib.util.find_spec("nvtx") is not None:
    import nvtx

    def nvtx_range(name: str) -> AbstractContextManager[object]:
        """A range of the loop, under its own domain. Not ``torch.cuda.nvtx``: that raises in a CPU build of torch."""
        annotation: AbstractContextManager[object] = nvtx.annotate(name, domain="dcrnn_fast")
        return annotation
else:

    def nvtx_range(name: str) -> AbstractContextManager[object]:
        """A range of the loop; ``nvtx`` is not installed, so it does nothing."""
        return nullcontext()
