"""A trained model as an ONNX graph: time is two Scans, every weight is stored once, the batch is dynamic.

Shape legend: B batch, P past steps, F future steps, S steps, N nodes, C value channels, D time channels, O target
channels, K known channels, H units, L layers, M diffusion terms.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

from dcrnn_fast.errors import UserError
from dcrnn_fast.interop.portable import Cell, Diffusion, PortableModel, gather_groups
from dcrnn_fast.interop.raw_form import DAY, THURSDAY, RawForm, scaled_inputs

_OPSET, _IR = 17, 8
"""of 2022, so that runtimes of that age and younger take the file"""
_MOST_BYTES = 2**31 - 2**24
_FLOAT, _INT = TensorProto.FLOAT, TensorProto.INT64


class _Graph:
    """Nodes in order; ``shared`` constants belong to the outermost graph, inner ones read them there."""

    def __init__(self, shared: dict[str, np.ndarray], prefix: str = "") -> None:
        self.shared, self.prefix = shared, prefix
        self.nodes: list[Any] = []

    def constant(self, name: str, value: Any, dtype: Any = None) -> str:
        """The name of a constant, which is stored once under this name."""
        self.shared.setdefault(name, np.ascontiguousarray(np.asarray(value, dtype=dtype)))
        return name

    def ints(self, *numbers: int) -> str:
        """The name of a list of whole numbers."""
        return self.constant("ints_" + "_".join(map(str, numbers)).replace("-", "m"), numbers, np.int64)

    def number(self, number: float) -> str:
        """The name of a float32 number."""
        return self.constant(f"number_{number!r}", number, np.float32)

    def add(self, kind: str, *inputs: str, outputs: int = 1, name: str | None = None, **attributes: Any) -> Any:
        """Adds a node; the name of its output, or of all."""
        names = [name or f"{self.prefix}{kind.lower()}_{len(self.nodes)}"]
        names += [f"{names[0]}_{index}" for index in range(1, outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names


def onnx_model(model: PortableModel, raw: RawForm | None, metadata: dict[str, str]) -> ModelProto:
    """The model from ``scaled_inputs`` (B, P, N, C + D) to ``scaled_forecast`` (B, F, N, O), float32.

    Args:
        raw: from ``readings`` to ``forecast`` in original units instead, as ``RawForm`` has it.
        metadata: texts for the file's ``metadata_props``.
    Raises:
        UserError: it does not fit an ONNX file.
    """
    graph = _Graph({})
    wanted = scaled_inputs(model) if raw is None else raw.inputs()
    inputs = [_tensor(name, _INT if kind == "int64" else _FLOAT, shape) for name, (kind, shape) in wanted.items()]
    num_nodes = model.diffusion.num_nodes
    if raw is None:
        x, known = "scaled_inputs", "known"
    else:
        x, known = _scaled(graph, raw)
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
            [_tensor(output, _FLOAT, shape)],
            [numpy_helper.from_array(value, name) for name, value in graph.shared.items()],
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR,
        producer_name="dcrnn_fast",
    )
    helper.set_model_props(made, metadata)
    checker.check_model(made)
    return made


def _tensor(name: str, kind: int, shape: Sequence[Any] | None) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def _forecast(graph: _Graph, model: PortableModel, x: str, known: str) -> str:
    """The scaled forecast (B, F, N, O) of scaled inputs."""
    P, F, N, H, O = (  # noqa: E741
        model.past_steps, model.future_steps, model.diffusion.num_nodes, model.hidden_units, model.output_channels,
    )  # fmt: skip
    batch = _batch(graph, x)
    # What the first layer makes of its input depends on no state: all steps at once.
    steps = graph.add("Reshape", x, graph.ints(-1, N, model.input_channels))
    drive = _drive(graph, model.diffusion, "encoder_0", model.encoder[0], steps, model.input_channels)
    drive_BPNG = graph.add("Reshape", drive, graph.ints(-1, P, N, 3 * H))
    layers = range(len(model.encoder))
    state = _zeros(graph, batch, N, H)
    body = _Graph(graph.shared, "encode_")
    after: list[str] = []
    for layer in layers:
        given = "encode_drive" if layer == 0 else _drive(
            body, model.diffusion, f"encoder_{layer}", model.encoder[layer], after[-1], H
        )  # fmt: skip
        cell = f"encoder_{layer}", model.encoder[layer]
        after.append(_cell(body, model.diffusion, *cell, given, f"encode_state_{layer}", H))
    states = _scan(
        graph,
        body,
        "encoder",
        carried={f"encode_state_{layer}": (state, after[layer], ["batch", N, H]) for layer in layers},
        scanned={"encode_drive": (drive_BPNG, ["batch", N, 3 * H])},
    )
    body = _Graph(graph.shared, "decode_")
    step = "decode_prediction"
    scanned: dict[str, tuple[str, list[Any]]] = {"decode_step": (graph.ints(*range(F)), [])}
    if model.known_channels:
        step = body.add("Concat", step, "decode_known", axis=-1)
        scanned = {"decode_known": (known, ["batch", N, model.known_channels])}
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
    } | {"decode_prediction": (_zeros(graph, batch, N, O), prediction, ["batch", N, O])}  # fmt: skip
    *_, forecast = _scan(graph, body, "decoder", carried, scanned, collected={prediction: ["batch", N, O]})
    return forecast


def _batch(graph: _Graph, x: str) -> str:
    """The length of the first axis, as a list of one number."""
    return str(graph.add("Slice", graph.add("Shape", x), graph.ints(0), graph.ints(1)))


def _zeros(graph: _Graph, batch: str, nodes: int, channels: int) -> str:
    """Zeros (B, nodes, channels)."""
    shape = graph.add("Concat", batch, graph.ints(nodes, channels), axis=0)
    return str(graph.add("Expand", graph.number(0.0), shape))


def _scan(
    graph: _Graph,
    body: _Graph,
    name: str,
    carried: dict[str, tuple[str, str, list[Any]]],
    scanned: dict[str, tuple[str, list[Any]]],
    collected: dict[str, list[Any]] | None = None,
) -> list[str]:
    """Runs ``body`` once a step; the last carried values, then the collected ones with their steps as axis 1.

    Args:
        carried: name in the body -> the first value, the name of the next one, its shape.
        scanned: name in the body -> what has the steps as axis 1 (a list of numbers: as axis 0), a step's shape.
        collected: outputs of the body and their shapes.
    """
    collected = collected or {}
    outputs = [next_one for _, next_one, _ in carried.values()]
    # An output that is carried and collected has two names.
    copies = [body.add("Identity", one) for one in collected]
    kinds = {inner: _INT if not shape else _FLOAT for inner, (_, shape) in scanned.items()}
    inner_graph = helper.make_graph(
        body.nodes,
        name,
        [_tensor(inner, _FLOAT, shape) for inner, (_, _, shape) in carried.items()]
        + [_tensor(inner, kinds[inner], shape) for inner, (_, shape) in scanned.items()],
        [_tensor(one, _FLOAT, shape) for one, (_, _, shape) in zip(outputs, carried.values(), strict=True)]
        + [_tensor(one, _FLOAT, shape) for one, shape in zip(copies, collected.values(), strict=True)],
    )
    made = graph.add(
        "Scan",
        *(first for first, _, _ in carried.values()),
        *(outer for outer, _ in scanned.values()),
        outputs=len(carried) + len(collected),
        name=name,
        body=inner_graph,
        num_scan_inputs=len(scanned),
        scan_input_axes=[1 if shape else 0 for _, shape in scanned.values()],
        **({"scan_output_axes": [1] * len(collected)} if collected else {}),
    )
    return [made] if isinstance(made, str) else list(made)


def _diffuse(graph: _Graph, diffusion: Diffusion, x_BNC: str, channels: int) -> str:
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


def _sparse(graph: _Graph, name: str, matrix: Any, x_BNC: str) -> str:
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


def _drive(graph: _Graph, diffusion: Diffusion, name: str, cell: Cell, x_BNC: str, channels: int) -> str:
    """What a cell's input adds to r, u and c before their activations, (B, N, 3H)."""
    diffused = _diffuse(graph, diffusion, x_BNC, channels)
    product = graph.add("MatMul", diffused, graph.constant(f"{name}_input_weight", cell.input_weight))
    return str(graph.add("Add", product, graph.constant(f"{name}_input_bias", cell.input_bias)))


def _cell(graph: _Graph, diffusion: Diffusion, name: str, cell: Cell, drive_BNG: str, h_BNH: str, units: int) -> str:
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


def _scaled(graph: _Graph, raw: RawForm) -> tuple[str, str]:
    """The scaled inputs (B, P, N, C + D), and the known ones ("" if there are none), from raw readings and times."""
    C = raw.mean.shape[-1]
    zeros = _zeros(graph, _batch(graph, "readings"), raw.num_nodes, C)
    scaled, last = _filled(graph, raw, "readings", list(range(C)), zeros)
    if raw.num_times:
        scaled = graph.add("Concat", scaled, _time_channels(graph, raw, "times"), axis=-1)
    parts = []
    if raw.known:
        first = graph.add("Gather", last, graph.ints(*raw.known), axis=-1)
        parts.append(_filled(graph, raw, "known", list(raw.known), first)[0])
    if raw.calendar_ahead:
        parts.append(_time_channels(graph, raw, "future_times"))
    known = parts[0] if len(parts) == 1 else graph.add("Concat", *parts, axis=-1) if parts else ""
    return scaled, known


def _filled(graph: _Graph, raw: RawForm, name: str, channels: list[int], before_BNC: str) -> tuple[str, str]:
    """Scaled readings (B, S, N, C) with the rule for missing ones, and the last observed ones (B, N, C)."""
    gaps = graph.add("IsNaN", name) if raw.missing != "none" else ""
    for value in (*((0.0,) if raw.missing == "zero" else ()), *(raw.missing_value if gaps else ())):
        gaps = graph.add("Or", gaps, graph.add("Equal", name, graph.number(value)))
    values = name
    if gaps and raw.missing_input == "zero":
        values = graph.add("Where", gaps, graph.number(0.0), name)
    centred = graph.add("Sub", values, graph.constant(f"{name}_mean", raw.mean[..., channels], np.float32))
    scaled = graph.add("Div", centred, graph.constant(f"{name}_std", raw.std[..., channels], np.float32))
    if not gaps or raw.missing_input == "zero":
        return scaled, before_BNC
    if raw.missing_input == "mean":
        return graph.add("Where", gaps, graph.number(0.0), scaled), before_BNC
    # A gap is a NaN for the Scan, whose inputs are of one type.
    marked = graph.add("Where", gaps, graph.number(float("nan")), scaled)
    body = _Graph(graph.shared, f"fill_{name}_")
    one, last = f"fill_{name}_now", f"fill_{name}_last"
    filled = body.add("Where", body.add("IsNaN", one), last, one)
    shape = ["batch", raw.num_nodes, len(channels)]
    carried, scanned = {last: (before_BNC, filled, shape)}, {one: (marked, shape)}
    after, all_BSNC = _scan(graph, body, f"fill_{name}", carried, scanned, collected={filled: shape})
    return all_BSNC, after


def _time_channels(graph: _Graph, raw: RawForm, name: str) -> str:
    """(B, S, N, D) of the seconds (B, S): the fraction of the day, then one-hot days from Monday."""
    parts = []
    second = graph.add("Mod", name, graph.ints(DAY))
    if raw.time_of_day:
        exact = graph.add("Cast", second, to=TensorProto.DOUBLE)
        share = graph.add("Div", exact, graph.constant("day_seconds", DAY, np.float64))
        parts.append(graph.add("Unsqueeze", graph.add("Cast", share, to=_FLOAT), graph.ints(2)))
    if raw.day_of_week:
        day = graph.add("Div", graph.add("Sub", name, second), graph.ints(DAY))
        weekday = graph.add("Mod", graph.add("Add", day, graph.ints(THURSDAY)), graph.ints(7))
        same = graph.add("Equal", graph.add("Unsqueeze", weekday, graph.ints(2)), graph.ints(*range(7)))
        parts.append(graph.add("Cast", same, to=_FLOAT))
    channels = parts[0] if len(parts) == 1 else graph.add("Concat", *parts, axis=-1)
    once = graph.add("Unsqueeze", channels, graph.ints(2))
    return str(graph.add("Expand", once, graph.ints(1, 1, raw.num_nodes, 1)))
