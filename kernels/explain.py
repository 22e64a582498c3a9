"""Which backend each operator would take here, and why not the others."""

from typing import Any

import torch

from dcrnn_fast.kernels.dcgru_sequence.function import IMPLEMENTATIONS as DCGRU_SEQUENCE
from dcrnn_fast.kernels.dcrnn_seq2seq.function import IMPLEMENTATIONS as DCRNN_SEQ2SEQ
from dcrnn_fast.kernels.diffusion_conv.function import IMPLEMENTATIONS as DIFFUSION_CONV
from dcrnn_fast.kernels.gpu.devices import gpu_facts
from dcrnn_fast.kernels.native import chosen_unit, cpu_units, library, library_file

OPERATORS = {"dcrnn_seq2seq": DCRNN_SEQ2SEQ, "dcgru_sequence": DCGRU_SEQUENCE, "diffusion_conv": DIFFUSION_CONV}


def facts(dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """The facts that ``explain`` prints, as plain values.

    ``library``: its file, build facts, and the reason why it is not used, or None; ``broken`` if there is one that is
    refused or cannot be opened. ``units`` (by storage type) and ``operators``: the one ``chosen`` for CPU tensors of
    ``dtype``, and under ``not`` the others' names and reasons. ``divided``: the backends that ``run`` on a rank's part
    of a divided graph, and the others' reasons. ``gpu``: see ``gpu/devices.py``.

    Raises:
        VariableError: DCRNN_FAST_CPU names no unit.
    """
    (module, build, reason), file = library(), library_file()
    units: dict[str, Any] = {}
    if module is not None:
        # All, because autocast makes bfloat16 of float32, and precision bf16x3 is float32 too.
        for storage in ("float32", "bfloat16", "bf16x3") if dtype != torch.float64 else ("float64",):
            chosen = chosen_unit(module, storage)
            exact = storage == "bf16x3" and chosen == chosen_unit(module, "float32")
            units[storage] = {
                "chosen": f"{chosen}, exact" if exact else chosen,
                "not": _faster_units(cpu_units(module), chosen, storage, build["units_left_out"]),
            }
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
        "divided": _divided(dtype),
        "gpu": gpu_facts(),
    }


def _choice(implementations: Any, dtype: torch.dtype) -> dict[str, Any]:
    x = torch.empty(0, dtype=dtype)
    reasons = {implementation.name: implementation.why_not(x) for implementation in implementations}
    return {
        "chosen": next(name for name, why_not in reasons.items() if why_not is None),
        "not": {name: why_not for name, why_not in reasons.items() if why_not is not None},
    }


def _divided(dtype: torch.dtype) -> dict[str, Any]:
    """The backends that run on a rank's part of a divided graph, and why not the others."""
    x = torch.empty(0, dtype=dtype)
    reasons = {
        implementation.name: implementation.why_not_divided or implementation.why_not(x)
        for implementation in DCRNN_SEQ2SEQ
    }
    return {
        "run": [name for name, why_not in reasons.items() if why_not is None],
        "not": {name: why_not for name, why_not in reasons.items() if why_not is not None},
    }


def why_exact(backend: str = "auto") -> str | None:
    """Why precision bf16x3 means exact float32 products on this CPU with ``backend``; None: it splits them.

    Raises:
        VariableError: DCRNN_FAST_CPU names no unit.
    """
    if backend not in ("auto", "cpu"):
        return f"backend {backend} has no split products"
    module, build, reason = library()
    if module is None:
        return reason
    if chosen_unit(module, "bf16x3") != chosen_unit(module, "float32"):
        return None
    return str(build["units_left_out"].get("amx_bf16x3") or dict(cpu_units(module))["amx"])


def explanation(dtype: torch.dtype = torch.float32) -> str:
    """Lines about the compiled kernels, their CPU units, and each operator's choice for CPU tensors of ``dtype``.

    Raises:
        VariableError: DCRNN_FAST_CPU names no unit.
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
        cuda = compiled["build"].get("cuda")
        made = f"none ({compiled['build'].get('no_cuda')})"
        if cuda:
            made = f"by nvcc {cuda['nvcc']} for {', '.join(cuda['architectures'])}"
        lines.append(f"CUDA kernels: {made}")
        if compiled["build"]["amx_emulated"]:
            lines.append("AMX is emulated in this build, which is for tests")
        for storage, unit in units.items():
            lines.append(f"CPU unit for {storage}: {unit['chosen']}")
            lines += [f"  not {name}: {why_not}" for name, why_not in unit["not"].items()]
    for operator, choice in known["operators"].items():
        lines.append(f"{operator}: {choice['chosen']}")
        lines += [f"  not {name}: {why_not}" for name, why_not in choice["not"].items()]
    divided = known["divided"]
    lines.append(f"on a divided graph (node-parallel): {', '.join(divided['run'])}")
    lines += [f"  not {name}: {why_not}" for name, why_not in divided["not"].items()]
    gpu = known["gpu"]
    lines.append(f"GPU: {'; '.join(gpu['devices']) or 'none, because ' + gpu['reason']}")
    return "\n".join(lines)


def _faster_units(units: list[tuple[str, str]], chosen: str, storage: str, left_out: dict[str, str]) -> dict[str, str]:
    reasons = {}
    for name, why_not in reversed(units):
        if name == chosen.split()[0]:
            break
        reasons[name] = left_out.get(name, why_not) or f"it has nothing for {storage}" + (
            ", only for precision bf16x3" if name == "amx" and storage == "float32" else ""
        )
    return reasons


def explain(dtype: torch.dtype = torch.float32) -> None:
    """Prints which backend each operator takes for CPU tensors of ``dtype``, and why not the others.

    Raises:
        VariableError: DCRNN_FAST_CPU names no unit.
    """
    print(explanation(dtype))
