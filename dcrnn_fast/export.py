"""``dcrnn-fast export``: a model for other programs: --onnx for ONNX runtimes, --pt2 for PyTorch without this package.

Float32, any number of windows at once. The description of the file (ids, times, scaler, units, gaps) is in it. With --raw
the model reads readings with NaN at gaps, and times, and forecasts in their units.
"""  # noqa: E501

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from dcrnn_fast.checkpoints.find import files_read
from dcrnn_fast.command import run_command
from dcrnn_fast.config.command_line import parse
from dcrnn_fast.data.sources import source_files
from dcrnn_fast.errors import UserError
from dcrnn_fast.files import (
    clear_leftovers,
    folder_for_new_files,
    require_apart,
    require_creatable_folder,
    write_bytes,
)
from dcrnn_fast.forecaster import Forecaster
from dcrnn_fast.interop.portable import PortableModel, portable_model
from dcrnn_fast.interop.raw_form import Inputs, RawForm, scaled_inputs
from dcrnn_fast.loading import load
from dcrnn_fast.messages import sized
from dcrnn_fast.model.dcrnn import DCRNN
from dcrnn_fast.records.packages import require_package

METADATA = "dcrnn_fast"
"""key of the description in an ONNX file's ``metadata_props``; a .pt2 has it as the extra file description.json"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportFlags:
    """The model, and the files to write."""

    checkpoint: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CHECKPOINT")]
    """a checkpoint, or a folder of them, as a results folder (its best one)"""
    onnx: str | None = None
    """.onnx file to write"""
    pt2: str | None = None
    """.pt2 file to write, for torch.export.load"""
    raw: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """from readings and times to forecasts in original units: gaps, scaling, calendar and --at-least are inside"""


def main(argv: list[str] | None = None) -> int:
    """Runs ``dcrnn-fast export ...``: 0 written, 2 a mistake."""
    return run_command("export", _run, argv)


def _run(argv: list[str]) -> int:
    flags = parse(ExportFlags, argv, prog="dcrnn-fast export", description=__doc__ or "")
    targets = {ending: Path(name) for ending, name in (("onnx", flags.onnx), ("pt2", flags.pt2)) if name is not None}
    if not targets:
        raise UserError("nothing to write: name a file with --onnx, with --pt2, or with both")
    for ending, target in targets.items():
        if target.suffix.casefold() != f".{ending}":
            raise UserError(f"--{ending} {target}: the file's name must end in .{ending}")
        if target.is_dir():
            raise UserError(f"--{ending} {target} is a folder: name a file")
        require_creatable_folder(target.parent, "output folder")
    if flags.onnx is not None:
        require_package("onnx", "--onnx", "dcrnn_fast[onnx]")
    require_apart(targets.values(), files_read(flags.checkpoint), "--onnx or --pt2")
    forecaster = load(flags.checkpoint, device="cpu")
    trained = forecaster.config
    require_apart(targets.values(), source_files(trained.data, trained.graph), "--onnx or --pt2")
    for note in forecaster.notes:
        print(note, file=sys.stderr)
    if trained.training.precision in ("bf16", "fp16"):
        print(f"trained in {trained.training.precision}: the exported model computes in float32", file=sys.stderr)
    model, raw, description = exported_parts(forecaster, raw=flags.raw)
    payloads = {ending: _WRITERS[ending](model, raw, description) for ending in targets}
    for ending, target in targets.items():
        with folder_for_new_files(target.parent, "output folder") as folder:
            clear_leftovers(folder, [target.name])
            write_bytes(target, payloads[ending])
        reads = ", ".join(f"{one['name']} {_shape(one)}" for one in description["inputs"])
        (gives,) = description["outputs"]
        size = sized(len(payloads[ending]))
        print(f"written: {target} ({size}): {reads} -> {gives['name']} {_shape(gives)}", flush=True)
    return 0


def _shape(tensor: dict[str, Any]) -> str:
    return f"({', '.join(map(str, tensor['shape']))}) {tensor['type']}"


def _onnx(model: PortableModel, raw: RawForm | None, description: dict[str, Any]) -> bytes:
    from dcrnn_fast.interop.onnx_graph import onnx_model  # the package may be missing

    payload: bytes = onnx_model(model, raw, {METADATA: _text(description)}).SerializeToString()
    return payload


def _pt2(model: PortableModel, raw: RawForm | None, description: dict[str, Any]) -> bytes:
    from dcrnn_fast.interop.torch_program import torch_program  # the exporter takes a second to import

    return torch_program(model, raw, {"description.json": _text(description)})


_WRITERS: dict[str, Callable[[PortableModel, RawForm | None, dict[str, Any]], bytes]] = {"onnx": _onnx, "pt2": _pt2}


def _text(description: dict[str, Any]) -> str:
    return json.dumps(description, ensure_ascii=False, allow_nan=False)


def exported_parts(
    forecaster: Forecaster, *, raw: bool = False
) -> tuple[PortableModel, RawForm | None, dict[str, Any]]:
    """What the exporters write: the model's arrays, what is around them, and the file's description.

    Raises:
        UserError: the model is a part of a divided graph.
    """
    if not isinstance(forecaster.model, DCRNN):
        raise UserError("a model with a divided graph is not exported: open its checkpoint in one process")
    form = forecaster.window_format
    model = portable_model(forecaster.model, form.past_steps)
    around = _raw_form(forecaster) if raw else None
    inputs = around.inputs() if around else scaled_inputs(model)
    shape = ("batch", form.future_steps, len(forecaster.ids), form.output_channels)
    outputs: Inputs = {"forecast" if raw else "scaled_forecast": ("float32", shape)}
    positions = forecaster.graph.positions_N2
    description = {
        "format": 1,
        "about": dict(forecaster.about),
        "raw": raw,
        "inputs": _tensors(inputs),
        "outputs": _tensors(outputs),
        "ids": list(forecaster.ids),
        "positions": None if positions is None else positions.tolist(),
        "channels": list(form.channels),
        "units": list(form.units),
        "targets": list(form.target_names),
        "known_ahead": list(form.known_names),
        "past_steps": form.past_steps,
        "future_steps": form.future_steps,
        "freq": form.freq,
        "in_utc": form.in_utc,
        "time_of_day": form.time_of_day,
        "day_of_week": form.day_of_week,
        "calendar_ahead": form.calendar_ahead,
        "missing": form.rule_of_readings,
        "missing_input": form.missing_input,
        "missing_value": list(forecaster.config.data.missing_value),
        "scaler": forecaster.scaler.to_state(),
        "at_least": forecaster.config.model.at_least,
    }
    return model, around, description


def _tensors(named: Inputs) -> list[dict[str, Any]]:
    return [{"name": name, "type": kind, "shape": list(shape)} for name, (kind, shape) in named.items()]


def _raw_form(forecaster: Forecaster) -> RawForm:
    form, config = forecaster.window_format, forecaster.config
    return RawForm(
        past_steps=form.past_steps,
        future_steps=form.future_steps,
        num_nodes=len(forecaster.ids),
        mean=np.asarray(forecaster.scaler.mean),
        std=np.asarray(forecaster.scaler.std),
        targets=form.target_channels,
        known=form.known_channels,
        time_of_day=form.time_of_day,
        day_of_week=form.day_of_week,
        calendar_ahead=form.calendar_ahead,
        missing=form.rule_of_readings,
        missing_input=form.missing_input,
        missing_value=config.data.missing_value,
        at_least=config.model.at_least,
    )


if __name__ == "__main__":
    sys.exit(main())
