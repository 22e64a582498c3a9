"""From raw readings and times to scaled inputs, in ONNX: as ``RawForm`` has it.

Shape legend: B batch, P past steps, S steps, N nodes, C value channels, D time channels.
"""

import numpy as np
from onnx import TensorProto

from dcrnn_fast.interop.onnx_writer import FLOAT, Graph, batch_size, scan, zeros
from dcrnn_fast.interop.raw_form import DAY, THURSDAY, RawForm


def scaled_from_raw(graph: Graph, raw: RawForm) -> tuple[str, str]:
    """The scaled inputs (B, P, N, C + D), and the known ones ("" if there are none), from raw readings and times."""
    C = raw.mean.shape[-1]
    nothing = zeros(graph, batch_size(graph, "readings"), raw.num_nodes, C)
    scaled, last = _filled(graph, raw, "readings", list(range(C)), nothing)
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


def _filled(graph: Graph, raw: RawForm, name: str, channels: list[int], before_BNC: str) -> tuple[str, str]:
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
    body = Graph(graph.shared, f"fill_{name}_")
    one, last = f"fill_{name}_now", f"fill_{name}_last"
    filled = body.add("Where", body.add("IsNaN", one), last, one)
    shape = ["batch", raw.num_nodes, len(channels)]
    carried, scanned = {last: (before_BNC, filled, shape)}, {one: (marked, shape)}
    after, all_BSNC = scan(graph, body, f"fill_{name}", carried, scanned, collected={filled: shape})
    return all_BSNC, after


def _time_channels(graph: Graph, raw: RawForm, name: str) -> str:
    """(B, S, N, D) of the seconds (B, S): the fraction of the day, then one-hot days from Monday."""
    parts = []
    second = graph.add("Mod", name, graph.ints(DAY))
    if raw.time_of_day:
        exact = graph.add("Cast", second, to=TensorProto.DOUBLE)
        share = graph.add("Div", exact, graph.constant("day_seconds", DAY, np.float64))
        parts.append(graph.add("Unsqueeze", graph.add("Cast", share, to=FLOAT), graph.ints(2)))
    if raw.day_of_week:
        day = graph.add("Div", graph.add("Sub", name, second), graph.ints(DAY))
        weekday = graph.add("Mod", graph.add("Add", day, graph.ints(THURSDAY)), graph.ints(7))
        same = graph.add("Equal", graph.add("Unsqueeze", weekday, graph.ints(2)), graph.ints(*range(7)))
        parts.append(graph.add("Cast", same, to=FLOAT))
    channels = parts[0] if len(parts) == 1 else graph.add("Concat", *parts, axis=-1)
    once = graph.add("Unsqueeze", channels, graph.ints(2))
    return str(graph.add("Expand", once, graph.ints(1, 1, raw.num_nodes, 1)))
