"""A trained model as an ONNX graph: time is two Scans, every weight is stored once, the batch is dynamic.

Shape legend: B batch, P past steps, F future steps, S steps, N nodes, C value channels, D time channels, O target
channels, K known channels, H units, L layers, M diffusion terms.
"""

from typing import Any

import numpy as np
from onnx import ModelProto, checker, helper, numpy_helper

from dcrnn_fast.errors import UserError
from dcrnn_fast.interop.onnx_raw import scaled_from_raw
from dcrnn_fast.interop.onnx_writer import FLOAT, INT, Graph, batch_size, scan, tensor, zeros
from dcrnn_fast.interop.portable import Cell, Diffusion, PortableModel, gather_groups
from dcrnn_fast.interop.raw_form import RawForm, scaled_inputs

_OPSET, _IR = 17, 8
"""of 2022, so that runtimes of that age and younger take the file"""
_MOST_BYTES = 2**31 - 2**24


def onnx_model(model: PortableModel, raw: RawForm | None, metadata: dict[str, str]) -> ModelProto:
    """The model from ``scaled_inputs`` (B, P, N, C + D) to ``scaled_forecast`` (B, F, N, O), float32.

    Args:
        raw: from ``readings`` to ``forecast`` in original units instead, as ``RawForm`` has it.
        metadata: texts for the file's ``metadata_props``.
    Raises:
        UserError: it does not fit an ONNX file.
    """
    graph = Graph({})
    wanted = scaled_inputs(model) if raw is None else raw.inputs()
    inputs = [tensor(name, INT if kind == "int64" else FLOAT, shape) for name, (kind, shape) in wanted.items()]
    num_nodes = model.diffusion.num_nodes
    if raw is None:
        x, known = "scaled_inputs", "known"
    else:
        x, known = scaled_from_raw(graph, raw)
    y = _forecast(graph, model, x, known)
    output = "scaled_forecast"
    if raw is not None:
        output = "forecast"
        y = graph.add("Mul", y, graph.constant("target_std", raw.std[..., list(raw.targets)], np.float32))
        y = graph.add("Add", y, graph.constant("target_mean", raw.mean[..., list(raw.targets)], np.float32))
        if raw.at_least is not None:
            y = graph.add("Max", y, graph.number(raw.at_least))
    graph.add("Identity", y, name=output)
    if (size := sum(value.nbytes for value in graph.shared.values())) > _MOST_BYTES:
        raise UserError(f"an ONNX file holds less than 2 GiB, the weights and the graph take {size / 2**30:.3g} GiB")
    shape = ["batch", model.future_steps, num_nodes, model.output_channels]
    made = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "dcrnn",
            inputs,
            [tensor(output, FLOAT, shape)],
            [numpy_helper.from_array(value, name) for name, value in graph.shared.items()],
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR,
        producer_name="dcrnn_fast",
    )
    helper.set_model_props(made, metadata)
    checker.check_model(made)
    return made


def _forecast(graph: Graph, model: PortableModel, x: str, known: str) -> str:
    """The scaled forecast (B, F, N, O) of scaled inputs."""
    P, F, N, H, O = (  # noqa: E741
        model.past_steps, model.future_steps, model.diffusion.num_nodes, model.hidden_units, model.output_channels,
    )  # fmt: skip
    batch = batch_size(graph, x)
    # What the first layer makes of its input depends on no state: all steps at once.
    steps = graph.add("Reshape", x, graph.ints(-1, N, model.input_channels))
    drive = _drive(graph, model.diffusion, "encoder_0", model.encoder[0], steps, model.input_channels)
    drive_BPNG = graph.add("Reshape", drive, graph.ints(-1, P, N, 3 * H))
    layers = range(len(model.encoder))
    state = zeros(graph, batch, N, H)
    body = Graph(graph.shared, "encode_")
    after: list[str] = []
    for layer in layers:
        given = "encode_drive" if layer == 0 else _drive(
            body, model.diffusion, f"encoder_{layer}", model.encoder[layer], after[-1], H
        )  # fmt: skip
        cell = f"encoder_{layer}", model.encoder[layer]
        after.append(_cell(body, model.diffusion, *cell, given, f"encode_state_{layer}", H))
    states = scan(
        graph,
        body,
        "encoder",
        carried={f"encode_state_{layer}": (state, after[layer], ["batch", N, H]) for layer in layers},
        scanned={"encode_drive": (drive_BPNG, ["batch", N, 3 * H])},
    )
    body = Graph(graph.shared, "decode_")
    step = "decode_prediction"
    scanned: dict[str, tuple[str, list[Any]]]
    if model.known_channels:
        step = body.add("Concat", step, "decode_known", axis=-1)
        scanned = {"decode_known": (known, ["batch", N, model.known_channels])}
    else:
        scanned = {"decode_step": (graph.ints(*range(F)), [])}
    after = []
    for layer in layers:
        channels = O + model.known_channels if layer == 0 else H
        name, weights = f"decoder_{layer}", model.decoder[layer]
        given = _drive(body, model.diffusion, name, weights, after[-1] if layer else step, channels)
        after.append(_cell(body, model.diffusion, name, weights, given, f"decode_state_{layer}", H))
    projection = body.constant("projection", model.projection_HO)
    prediction = body.add("MatMul", after[-1], projection)
    prediction = body.add("Add", prediction, body.constant("projection_bias", model.projection_bias_O))
    carried = {
        f"decode_state_{layer}": (states[layer], after[layer], ["batch", N, H]) for layer in layers
    } | {"decode_prediction": (zeros(graph, batch, N, O), prediction, ["batch", N, O])}  # fmt: skip
    *_, forecast = scan(graph, body, "decoder", carried, scanned, collected={prediction: ["batch", N, O]})
    return forecast


def _diffuse(graph: Graph, diffusion: Diffusion, x_BNC: str, channels: int) -> str:
    """All terms of x, (B, N, M * C), ordered by term."""
    N, M = diffusion.num_nodes, diffusion.num_terms
    if diffusion.dense_NMN is not None:
        product = graph.add("MatMul", graph.constant("diffusion", diffusion.dense_NMN), x_BNC)
        return str(graph.add("Reshape", product, graph.ints(0, N, M * channels)))
    terms = {0: x_BNC}
    for step in diffusion.steps:
        term = _sparse(graph, f"support_{step.support}", diffusion.supports[step.support], terms[step.source])
        if step.scale != 1:
            term = graph.add("Mul", term, graph.number(step.scale))
        if step.minus >= 0:
            term = graph.add("Sub", term, terms[step.minus])
        terms[step.target] = term
    return x_BNC if M == 1 else str(graph.add("Concat", *(terms[m] for m in range(M)), axis=-1))


def _sparse(graph: Graph, name: str, matrix: Any, x_BNC: str) -> str:
    """A sparse matrix times x, (B, N, C)."""
    if f"{name}_order" not in graph.shared:
        groups, order_N = gather_groups(matrix)
        for index, (columns_RW, values_RW) in enumerate(groups):
            graph.constant(f"{name}_columns_{index}", columns_RW)
            graph.constant(f"{name}_values_{index}", values_RW[:, None, :])
        graph.constant(f"{name}_order", order_N)
    parts, index = [], 0
    while (columns := f"{name}_columns_{index}") in graph.shared:
        gathered_BRWC = graph.add("Gather", x_BNC, columns, axis=1)
        parts.append(graph.add("MatMul", f"{name}_values_{index}", gathered_BRWC))
        index += 1
    together = parts[0] if len(parts) == 1 else graph.add("Concat", *parts, axis=1)
    rows_BNC = graph.add("Squeeze", together, graph.ints(2))
    return str(graph.add("Gather", rows_BNC, f"{name}_order", axis=1))


def _drive(graph: Graph, diffusion: Diffusion, name: str, cell: Cell, x_BNC: str, channels: int) -> str:
    """What a cell's input adds to r, u and c before their activations, (B, N, 3H)."""
    diffused = _diffuse(graph, diffusion, x_BNC, channels)
    product = graph.add("MatMul", diffused, graph.constant(f"{name}_input_weight", cell.input_weight))
    return str(graph.add("Add", product, graph.constant(f"{name}_input_bias", cell.input_bias)))


def _cell(graph: Graph, diffusion: Diffusion, name: str, cell: Cell, drive_BNG: str, h_BNH: str, units: int) -> str:
    """The state after a step, (B, N, H)."""
    gates_drive, candidate_drive = graph.add(
        "Split", drive_BNG, graph.ints(2 * units, units), outputs=2, axis=-1
    )  # fmt: skip
    product = graph.add(
        "MatMul", _diffuse(graph, diffusion, h_BNH, units), graph.constant(f"{name}_gate_weight", cell.gate_weight)
    )
    gates = graph.add("Sigmoid", graph.add("Add", product, gates_drive))
    r, u = graph.add("Split", gates, graph.ints(units, units), outputs=2, axis=-1)
    reset = _diffuse(graph, diffusion, graph.add("Mul", r, h_BNH), units)
    product = graph.add("MatMul", reset, graph.constant(f"{name}_candidate_weight", cell.candidate_weight))
    c = graph.add("Tanh", graph.add("Add", product, candidate_drive))
    return str(graph.add("Add", c, graph.add("Mul", u, graph.add("Sub", h_BNH, c))))
