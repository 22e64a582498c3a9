"""The nodes of an ONNX graph, and loops over steps.

Shape legend: B batch.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper

FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64


class Graph:
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


def tensor(name: str, kind: int, shape: Sequence[Any] | None) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def batch_size(graph: Graph, x: str) -> str:
    """The length of the first axis, as a list of one number."""
    return str(graph.add("Slice", graph.add("Shape", x), graph.ints(0), graph.ints(1)))


def zeros(graph: Graph, batch: str, nodes: int, channels: int) -> str:
    """Zeros (B, nodes, channels)."""
    shape = graph.add("Concat", batch, graph.ints(nodes, channels), axis=0)
    return str(graph.add("Expand", graph.number(0.0), shape))


def scan(
    graph: Graph,
    body: Graph,
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
    kinds = {inner: INT if not shape else FLOAT for inner, (_, shape) in scanned.items()}
    inner_graph = helper.make_graph(
        body.nodes,
        name,
        [tensor(inner, FLOAT, shape) for inner, (_, _, shape) in carried.items()]
        + [tensor(inner, kinds[inner], shape) for inner, (_, shape) in scanned.items()],
        [tensor(one, FLOAT, shape) for one, (_, _, shape) in zip(outputs, carried.values(), strict=True)]
        + [tensor(one, FLOAT, shape) for one, shape in zip(copies, collected.values(), strict=True)],
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
