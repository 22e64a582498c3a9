"""The model as torch.compile translates it: for the backends in plain PyTorch."""

from collections.abc import Callable

import torch
from torch import Tensor

from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import one_line
from dcrnn_fast.model.dcrnn import DCRNN

_LONGEST = 300
_ADVICE = "Set TORCHDYNAMO_VERBOSE="
"""how the part of torch's messages begins that is for its own developers"""


def compiled(model: DCRNN) -> Callable[..., Tensor]:
    """``model`` as one graph, compiled at its first call and for other shapes; ``model`` itself stays as it is.

    What it returns raises UserError if the compiler fails: nothing falls back to the model as it is.
    """
    # Imported here: 1.6 s and 150 MB for runs that never compile.
    from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

    translated: Callable[..., Tensor] = torch.compile(model, fullgraph=True)

    def call(*arguments: Tensor | None) -> Tensor:
        try:
            return translated(*arguments)
        except (TorchDynamoException, FailOnRecompileLimitHit) as error:
            reason = one_line(error).split(_ADVICE)[0].strip()[:_LONGEST]
            raise UserError(f"--compile: torch cannot compile the model ({reason}): leave --compile out") from error

    return call
