"""``dcrnn-fast verify``: the golden vectors of a folder through a backend, with the errors as a table.

A golden file holds one small training step of the reference DCRNN: graph, weights, inputs and results. Here
the same step runs from the same weights, and every tensor is compared: supports, forward in training and evaluation
mode, loss, all gradients. The error of a tensor is max|a-b| / max|b|.

Shape legend: B batch, P past steps, F future steps, N nodes, C input channels, O output channels.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from dcrnn_fast.command import run_command
from dcrnn_fast.config.command_line import parse
from dcrnn_fast.config.sections import Backend
from dcrnn_fast.errors import UserError, is_of_the_user
from dcrnn_fast.graph.operators import diffusion_operators
from dcrnn_fast.graph.supports import build_supports
from dcrnn_fast.interop.names import recognise
from dcrnn_fast.kernels import DiffusionTerms
from dcrnn_fast.kernels.gpu import why_no_gpu
from dcrnn_fast.messages import first_line
from dcrnn_fast.model import DCRNN

DType = Literal["float64", "float32", "bf16"]
COLUMNS = ("supports", "training", "evaluation", "loss", "gradients")
# The vectors are float32, so float64 cannot be nearer to them than float32 is.
_FLOAT_BOUNDS = {"supports": 1e-6, "training": 2e-5, "evaluation": 2e-5, "loss": 2e-5, "gradients": 2e-4}
_BF16_BOUNDS = {"supports": 1e-6, "training": 3e-2, "evaluation": 3e-2, "loss": 3e-2, "gradients": 8e-2}
BOUNDS: dict[DType, dict[str, float]] = {"float64": _FLOAT_BOUNDS, "float32": _FLOAT_BOUNDS, "bf16": _BF16_BOUNDS}
FILTERS = ("dual_random_walk", "random_walk", "laplacian")


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyOptions:
    """The vectors to check, and the arithmetic."""

    golden: Path
    """folder of golden vectors (*.npz)"""
    backend: Backend = "auto"
    dtype: DType = "float32"
    device: Literal["cpu", "cuda"] = "cpu"


@dataclass(frozen=True)
class CaseErrors:
    """The largest errors of one golden file, by column."""

    name: str
    errors: dict[str, float]

    def misses(self, bounds: dict[str, float]) -> list[str]:
        """The columns over their bound; a NaN is over any."""
        return [column for column in COLUMNS if not self.errors[column] <= bounds[column]]


def verify(
    golden: str | Path, *, backend: Backend = "auto", dtype: DType = "float32", device: str = "cpu"
) -> list[CaseErrors]:
    """Runs every ``*.npz`` of the folder through a backend and returns its errors, in the order of the names.

    Raises:
        UserError: no such folder, no file in it, a file of another format, a GPU is asked for and there is none, or a
            backend cannot run here.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device cuda: there is no GPU here ({why_no_gpu()}); use --device cpu")
    files = sorted(Path(golden).glob("*.npz"))
    if not files:
        raise UserError(f"no golden vectors (*.npz) in {golden}; give the folder that holds them with --golden")
    return [_verify_file(path, backend, dtype, device) for path in files]


def _verify_file(path: Path, backend: Backend, precision: DType, device: str) -> CaseErrors:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        config = json.loads(str(arrays["config"]))
        return CaseErrors(path.name, _errors(arrays, config, backend, precision, device, str(path)))
    except (KeyError, OSError, ValueError, EOFError) as error:
        if isinstance(error, ValueError) and is_of_the_user(error):
            raise
        reason = f"it has no {error}" if isinstance(error, KeyError) else first_line(error)
        raise UserError(f"{path} is no golden file: {reason}") from error
    except NotImplementedError as error:
        raise UserError(str(error)) from error


def _errors(
    arrays: dict[str, Any], config: dict[str, Any], backend: Backend, precision: DType, device: str, source: str
) -> dict[str, float]:
    dtype = torch.float64 if precision == "float64" else torch.float32
    if config["filter_type"] not in FILTERS:
        raise UserError(f"{source}: unknown filter_type {config['filter_type']!r}; known are {', '.join(FILTERS)}")
    supports = build_supports(
        arrays["adjacency"].astype(np.float64), kind=config["filter_type"], edge_order=config["edge_order"]
    )
    stored = [arrays[f"support/{index}"] for index in range(len(supports))]
    pairs = zip(supports, stored, strict=True)
    support_errors = [_error(torch.from_numpy(ours.toarray()), torch.from_numpy(theirs)) for ours, theirs in pairs]
    operators = diffusion_operators(supports, hops=config["max_diffusion_step"])
    model = DCRNN(
        DiffusionTerms.from_operators(operators, dtype),
        input_channels=config["input_dim"],
        output_channels=config["output_dim"],
        future_steps=config["horizon"],
        hidden_units=config["rnn_units"],
        num_layers=config["num_rnn_layers"],
        backend=backend,
        dtype=dtype,
    )
    model.load_state_dict({name: tensor.to(dtype) for name, tensor in _named(arrays, "param/", source).items()})
    model.to(device)

    def batch_first(name: str) -> Tensor:
        steps_first = torch.from_numpy(arrays[name]).to(device, dtype)
        return steps_first.view(*steps_first.shape[:2], len(arrays["adjacency"]), -1).transpose(0, 1)

    x_BPNC, y_BFNO = batch_first("x"), batch_first("y")
    mean, std = float(arrays["scaler_mean"]), float(arrays["scaler_std"])
    draws_F = arrays["teacher_forcing_draws"]
    coins_F = torch.from_numpy(draws_F < arrays["teacher_forcing_threshold"]).to(device) if len(draws_F) else None
    labels_BFNO = (y_BFNO - mean) / std if coins_F is not None else None
    with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
        training_BFNO = model(x_BPNC, labels_BFNO, coins_F).to(dtype)
        with torch.inference_mode():
            evaluation_BFNO = model(x_BPNC)
    observed_BFNO = y_BFNO != 0
    errors_BFNO = (training_BFNO * std + mean - y_BFNO).abs()
    loss = torch.where(observed_BFNO, errors_BFNO, 0.0).sum() / observed_BFNO.sum()
    loss.backward()
    wanted = _named(arrays, "grad/", source)
    gradients = [
        _error(parameter.grad, wanted[name])
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    ]
    if len(gradients) != len(wanted):
        raise UserError(f"{source}: {len(wanted)} gradients stored, {len(gradients)} computed")
    return {
        "supports": max(support_errors, default=0.0),
        "training": _error(training_BFNO, batch_first("prediction_scaled")),
        "evaluation": _error(evaluation_BFNO, batch_first("prediction_eval_scaled")),
        "loss": _error(loss, torch.from_numpy(arrays["loss"])),
        "gradients": max(gradients),
    }


def _named(arrays: dict[str, Any], prefix: str, source: str) -> dict[str, Tensor]:
    """The tensors under ``prefix``, by dcrnn_fast's names."""
    tensors = {name.removeprefix(prefix): torch.from_numpy(a) for name, a in arrays.items() if name.startswith(prefix)}
    return recognise(tensors, source)[1]


def _error(got: Tensor | None, wanted: Tensor) -> float:
    """max|a-b| / max|b|; if b is all zeros, max|a|."""
    assert got is not None
    wanted = wanted.to(got.device)
    difference = (got.detach().double() - wanted.double()).abs().max().item()
    scale = wanted.double().abs().max().item()
    return difference / scale if scale > 0 else difference


def table(cases: list[CaseErrors], bounds: dict[str, float]) -> str:
    """One line a file, errors by column, the bounds below; a miss is marked."""
    width = max(len(case.name) for case in [*cases, CaseErrors("bound", {})])
    lines = [f"{'file':{width}}  " + "  ".join(f"{column:>10}" for column in COLUMNS)]
    for case in cases:
        misses = case.misses(bounds)
        cells = [f"{case.errors[column]:9.1e}{'!' if column in misses else ' '}" for column in COLUMNS]
        lines.append(f"{case.name:{width}}  " + "  ".join(cells))
    lines.append(f"{'bound':{width}}  " + "  ".join(f"{bounds[column]:9.1e} " for column in COLUMNS))
    return "\n".join(line.rstrip() for line in lines)


def _run(argv: list[str]) -> int:
    options = parse(
        VerifyOptions,
        argv,
        prog="dcrnn-fast verify",
        description="Run golden vectors of the reference DCRNN through a backend; exits with 1 on a miss.",
    )
    cases = verify(options.golden, backend=options.backend, dtype=options.dtype, device=options.device)
    bounds = BOUNDS[options.dtype]
    print(table(cases, bounds))
    missed = [case.name for case in cases if case.misses(bounds)]
    if missed:
        print(f"{len(missed)} of {len(cases)} files over a bound: {', '.join(missed)}")
        return 1
    print(f"all {len(cases)} files within the bounds (backend {options.backend}, {options.dtype})")
    return 0


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command("verify", _run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
