"""``dcrnn-fast verify``: the golden vectors of a folder through a backend, with the errors as a table.

A golden file holds one small training step of the reference DCRNN: graph, weights, inputs and results. Here
the same step runs from the same weights, and every tensor is compared: supports, forward in training and evaluation
mode, loss, all gradients. The error of a tensor is max|a-b| / max|b|.

Shape legend: B batch, P past steps, F future steps, N nodes, C input channels, O output channels.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from dcrnn_fast.command import run_command
from dcrnn_fast.config.command_line import parse
from dcrnn_fast.config.data import EdgeOrder
from dcrnn_fast.config.plain import shown
from dcrnn_fast.config.training import Backend
from dcrnn_fast.errors import UserError, is_of_the_user
from dcrnn_fast.graph.operators import diffusion_operators
from dcrnn_fast.graph.sensor_graph import require_square
from dcrnn_fast.graph.supports import build_supports
from dcrnn_fast.interop.names import recognise
from dcrnn_fast.kernels import DiffusionTerms
from dcrnn_fast.kernels.gpu import why_no_gpu
from dcrnn_fast.messages import first_line, naming_file
from dcrnn_fast.model import DCRNN
from dcrnn_fast.reading.arrays import load_archive

DType = Literal["float64", "float32", "bf16"]
COLUMNS = ("supports", "training", "evaluation", "loss", "gradients")
# The vectors are float32, so float64 cannot be nearer to them than float32 is.
_FLOAT_BOUNDS = {"supports": 1e-6, "training": 2e-5, "evaluation": 2e-5, "loss": 2e-5, "gradients": 2e-4}
_BF16_BOUNDS = {"supports": 1e-6, "training": 3e-2, "evaluation": 3e-2, "loss": 3e-2, "gradients": 8e-2}
BOUNDS: dict[DType, dict[str, float]] = {"float64": _FLOAT_BOUNDS, "float32": _FLOAT_BOUNDS, "bf16": _BF16_BOUNDS}
_COUNTS = ("input_dim", "output_dim", "horizon", "rnn_units", "num_rnn_layers")
_LARGEST_COUNT = 1000
_PREDICTIONS = ("prediction_scaled", "prediction_eval_scaled")
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
        with naming_file(path):
            arrays = load_archive(path)
    except UserError as error:
        raise UserError(f"{path} is no golden file: {str(error).removeprefix(f'{path}: ')}") from error
    try:
        config = json.loads(str(arrays["config"]))
        _require_parts(arrays, config)
        return CaseErrors(path.name, _errors(arrays, config, backend, precision, device, str(path)))
    except (KeyError, ValueError, RecursionError) as error:
        if isinstance(error, ValueError) and is_of_the_user(error):
            raise
        reason = f"it has no {error}" if isinstance(error, KeyError) else first_line(error)
        raise UserError(f"{path} is no golden file: {reason}") from error
    except NotImplementedError as error:
        raise UserError(str(error)) from error


def _require_parts(arrays: dict[str, Any], config: Any) -> None:
    """Raises ValueError or KeyError if the parts of a golden file are of other types or sizes than each other's."""
    if not isinstance(config, dict):
        raise ValueError("its config is no mapping")
    least = {"max_diffusion_step": 0, **dict.fromkeys(_COUNTS, 1)}
    for name, minimum in least.items():
        if type(config[name]) is not int or not minimum <= config[name] <= _LARGEST_COUNT:
            raise ValueError(f"its config has {name} = {shown(config[name])}")
    if not isinstance(config["filter_type"], str) or config["edge_order"] not in get_args(EdgeOrder):
        raise ValueError("its config has a wrong filter_type or edge_order")
    for name, array in arrays.items():
        if name != "config" and (array.dtype.kind not in "fiu" or not (array.size or name.startswith("teacher"))):
            raise ValueError(f"{shown(name)} must be numbers, got {array.dtype} of shape {array.shape}")
    nodes = len(require_square(arrays["adjacency"]))
    x, y = arrays["x"], arrays["y"]
    if x.ndim not in (3, 4) or x[0, 0].size != nodes * config["input_dim"]:
        raise ValueError(f"x of shape {x.shape} does not fit {nodes} nodes and its config")
    if y.ndim not in (3, 4) or y.shape[:2] != (config["horizon"], x.shape[1]):
        raise ValueError(f"y of shape {y.shape} does not fit x and its config")
    sizes = {"scaler_mean": 1, "scaler_std": 1, "loss": 1, "teacher_forcing_threshold": 1}
    sizes |= dict.fromkeys(("y", *_PREDICTIONS), len(y) * x.shape[1] * nodes * config["output_dim"])
    sizes |= {name: nodes * nodes for name in arrays if name.startswith("support/")}
    for name, size in sizes.items():
        if arrays[name].size != size or (size == 1 and arrays[name].ndim):
            raise ValueError(f"{name} must be {size} number(s), got shape {arrays[name].shape}")
    if any(arrays[name].shape[:2] != y.shape[:2] for name in _PREDICTIONS):
        raise ValueError("its predictions do not fit y")
    if arrays["teacher_forcing_draws"].shape not in ((0,), (len(y),)):
        raise ValueError(f"teacher_forcing_draws of shape {arrays['teacher_forcing_draws'].shape} do not fit y")


def _require_shapes(what: str, tensors: dict[str, Tensor], model: DCRNN) -> None:
    wanted = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    if (got := {name: tuple(tensor.shape) for name, tensor in tensors.items()}) != wanted:
        wrong = sorted(name for name in wanted.keys() | got.keys() if wanted.get(name) != got.get(name))
        raise ValueError(f"{what} {wrong[0]} must have shape {wanted.get(wrong[0])}, got {got.get(wrong[0])}")


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
    weights, wanted = (_named(arrays, prefix, source) for prefix in ("param/", "grad/"))
    _require_shapes("parameter", weights, model)
    _require_shapes("gradient", wanted, model)
    model.load_state_dict({name: tensor.to(dtype) for name, tensor in weights.items()})
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
