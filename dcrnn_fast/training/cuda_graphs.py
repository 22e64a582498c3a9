"""A function as a CUDA graph, and a way back from a capture that fails."""

from collections.abc import Callable
from typing import Any

import torch

_WARM_UPS = 3


def warm_up(run: Callable[[], None], device: torch.device) -> None:
    """Runs it on a stream of its own, as a capture requires, so that everything made on first use exists."""
    beside = torch.cuda.Stream(device)
    beside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(beside):
        for _ in range(_WARM_UPS):
            run()
    torch.cuda.current_stream(device).wait_stream(beside)


def capture(run: Callable[[], None], device: torch.device, pool: Any = None) -> torch.cuda.CUDAGraph:
    """Captures the launches of ``run`` as a graph, whose memory is from ``pool``, or its own.

    Raises:
        RuntimeError: ``run`` cannot be captured; the current stream is the same as before, and idle.
    """
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream(device)
    try:
        with torch.cuda.graph(graph, pool=pool):
            run()
    except RuntimeError as error:
        # If a capture cannot be ended either, torch.cuda.graph raises before it leaves the capture's stream.
        torch.cuda.set_stream(stream)
        torch.cuda.synchronize(device)
        first = error.__context__
        raise (first if isinstance(first, RuntimeError) else error) from None
    return graph
