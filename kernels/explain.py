"""Which backend each operator would take here, and why not the others."""

import torch

from dcrnn_fast.kernels.dcgru_sequence.function import IMPLEMENTATIONS as DCGRU_SEQUENCE
from dcrnn_fast.kernels.dcrnn_seq2seq.function import IMPLEMENTATIONS as DCRNN_SEQ2SEQ
from dcrnn_fast.kernels.diffusion_conv.function import IMPLEMENTATIONS as DIFFUSION_CONV
from dcrnn_fast.kernels.native import library

OPERATORS = {"dcrnn_seq2seq": DCRNN_SEQ2SEQ, "dcgru_sequence": DCGRU_SEQUENCE, "diffusion_conv": DIFFUSION_CONV}


def explanation(dtype: torch.dtype = torch.float32) -> str:
    """Lines about the compiled kernels, their CPU units, and each operator's choice for CPU tensors of ``dtype``.

    Raises:
        ValueError: DCRNN_FAST_CPU names no unit.
    """
    module, facts, reason = library()
    lines = [f"torch {torch.__version__}, {torch.get_num_threads()} threads"]
    if module is None:
        lines.append(f"compiled kernels: none, because {reason}")
    else:
        lines.append(f"compiled kernels: of dcrnn_fast {facts['package']}, by {facts['compiler']}")
        if facts["amx_emulated"]:
            lines.append("AMX is emulated in this build, which is for tests")
        # Both, because autocast makes bfloat16 of float32.
        wanted = [torch.float32, torch.bfloat16] if dtype != torch.float64 else [dtype]
        for storage in (str(one).removeprefix("torch.") for one in wanted):
            chosen_unit = module.chosen_unit(storage)
            lines.append(f"CPU unit for {storage}: {chosen_unit}")
            lines += _faster_units(module.cpu_units(), chosen_unit, storage, facts["units_left_out"])
    x = torch.empty(0, dtype=dtype)
    for operator, implementations in OPERATORS.items():
        reasons = {implementation.name: implementation.why_not(x) for implementation in implementations}
        chosen = next(name for name, why_not in reasons.items() if why_not is None)
        lines.append(f"{operator}: {chosen}")
        lines += [f"  not {name}: {why_not}" for name, why_not in reasons.items() if why_not is not None]
    return "\n".join(lines)


def _faster_units(units: list[tuple[str, str]], chosen: str, storage: str, left_out: dict[str, str]) -> list[str]:
    lines = []
    for name, why_not in reversed(units):
        if name == chosen:
            break
        why_not = left_out.get(name, why_not) or f"it has nothing for {storage}" + (
            ", only for precision bf16x3" if name == "amx" and storage == "float32" else ""
        )
        lines.append(f"  not {name}: {why_not}")
    return lines


def explain(dtype: torch.dtype = torch.float32) -> None:
    """Prints which backend each operator takes for CPU tensors of ``dtype``, and why not the others.

    Raises:
        ValueError: DCRNN_FAST_CPU names no unit.
    """
    print(explanation(dtype))
