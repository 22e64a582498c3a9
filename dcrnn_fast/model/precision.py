"""A model's arithmetic, by name: autocast around its forward."""

from contextlib import AbstractContextManager, nullcontext

import torch

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context of a forward in fp32, bf16, fp16 or bf16x3; in fp32 and bf16x3, which is the model's own affair
    (``build_model``), it does nothing.
    """
    return torch.autocast(device.type, _DTYPES[precision]) if precision in _DTYPES else nullcontext()
