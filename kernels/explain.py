"""Which backend each operator would take here, and why not the others."""

from typing import Any

import torch

from dcrnn_fast.kernels.dcgru_sequence.function import IMPLEMENTATIONS as DCGRU_SEQUENCE
from dcrnn_fast.kernels.dcrnn_seq2seq.function import IMPLEMENTATIONS as DCRNN_SEQ2SEQ
from dcrnn_fast.kernels.diffusion_conv.function import IMPLEMENTATIONS as DIFFUSION_CONV
from dcrnn_fast.kernels.gpu import gpu_facts
from dcrnn_fast.kernels.native import CPU_DTYPES, library, library_file

OPERATORS = {"dcrnn_seq2seq": DCRNN_SEQ2SEQ, "dcgru_sequence": DCGRU_SEQUENCE, "diffusion_conv": DIFFUSION_CONV}


def facts(dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """What ``explain`` prints, as plain values.

    ``library``: its file, build facts, and the reason why it is not used, or None; ``broken`` where there is one that
    is refused or cannot be opened. ``units`` and ``operators``: what is ``chosen`` for CPU tensors of ``dtype``, and
    ``not``, by name, why. ``gpu``: see ``dcrnn_fast.kernels.gpu``.

    Raises:
        ValueError: DCRNN_FAST_CPU names no unit.
    """
    (module, build, reason), file = library(), library_file()
    units: dict[str, Any] = {"chosen": None, "not": {}}
    if module is not None:
        states = module.cpu_units()
        chosen = module.chosen_unit(str(dtype).removeprefix("torch.")) if dtype in CPU_DTYPES else None
        units = {"chosen": chosen, "not": {name: why_not for name, why_not in reversed(states) if why_not}}
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "dtype": str(dtype).removeprefix("torch."),
        "library": {
            "file": None if file is None else str(file),
            "build": build,
            "reason": reason,
            "broken": file is not None and module is None,
        },
        "units": units,
        "operators": {name: _choice(implementations, dtype) for name, implementations in OPERATORS.items()},
        "gpu": gpu_facts(),
    }


def _choice(implementations: Any, dtype: torch.dtype) -> dict[str, Any]:
    x = torch.empty(0, dtype=dtype)
    reasons = {implementation.name: implementation.why_not(x) for implementation in implementations}
    return {
        "chosen": next(name for name, why_not in reasons.items() if why_not is None),
        "not": {name: why_not for name, why_not in reasons.items() if why_not is not None},
    }


def explanation(dtype: torch.dtype = torch.float32) -> str:
    """Lines about the compiled kernels, their CPU units, and each operator's choice for CPU tensors of ``dtype``.

    Raises:
        ValueError: DCRNN_FAST_CPU names no unit.
    """
    known = facts(dtype)
    lines = [f"torch {known['torch']}, {known['threads']} threads"]
    compiled, units = known["library"], known["units"]
    if compiled["reason"] is not None:
        lines.append(f"compiled kernels: none, because {compiled['reason']}")
    else:
        lines.append(
            f"compiled kernels: of dcrnn_fast {compiled['build']['package']}, by {compiled['build']['compiler']}"
        )
        lines.append(f"CPU unit for {known['dtype']}: {units['chosen'] or 'none'}")
        lines += [f"  not {name}: {why_not}" for name, why_not in units["not"].items()]
    for operator, choice in known["operators"].items():
        lines.append(f"{operator}: {choice['chosen']}")
        lines += [f"  not {name}: {why_not}" for name, why_not in choice["not"].items()]
    gpu = known["gpu"]
    lines.append(f"GPU: {'; '.join(gpu['devices']) or 'none, because ' + gpu['reason']}")
    return "\n".join(lines)


def explain(dtype: torch.dtype = torch.float32) -> None:
    """Prints which backend each operator takes for CPU tensors of ``dtype``, and why not the others.

    Raises:
        ValueError: DCRNN_FAST_CPU names no unit.
    """
    print(explanation(dtype))
