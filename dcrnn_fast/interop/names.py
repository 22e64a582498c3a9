"""How each DCRNN names its parameters, as patterns, and dcrnn_fast's names for the same parameters.

| layout | encoder cell 0, gates | projection |
|---|---|---|
| pytorch_port | ``encoder_model.dcgru_layers.0.gconv_weight_(330, 128)``, ``.gconv_biases_128`` | ``decoder_model.projection_layer.weight`` |
| libcity | ``encoder_model.dcgru_layers.0._fn.weight``, ``.biases`` | as the port |
| largest | ``encoder.encoding_cells.0.dconv_gate.weight``, ``.biases`` | ``decoder.decoding_cells.1.project.weight`` |
| tensorflow | ``DCRNN/DCRNN_SEQ/rnn/multi_rnn_cell/cell_0/dcgru_cell/gates/weights``, ``biases`` | ``.../projection/w`` |

The candidate is the port's weight with half as many columns, ``_gconv``, ``dconv_candidate`` and ``candidate``. All
four keep rows as feature * M + m with features [input, state], and gate columns r, then u. TensorFlow's projection is
(H, O) and has no bias; the others' is (O, H).

Shape legend: H units, O output channels, M diffusion terms.
"""  # noqa: E501

import re
from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import first_few

Layout = Literal["pytorch_port", "libcity", "largest", "tensorflow"]

_LAYER = r"(?P<layer>\d{1,4})"
_CELL = {
    "pytorch_port": rf"(?P<side>encoder|decoder)_model\.dcgru_layers\.{_LAYER}\.gconv_(?P<kind>weight|biases)_.+",
    "libcity": rf"(?P<side>encoder|decoder)_model\.dcgru_layers\.{_LAYER}\.(?P<part>_fn|_gconv)"
    r"\.(?P<kind>weight|biases)",
    "largest": rf"(?P<side>encoder|decoder)\.(?:encoding|decoding)_cells\.{_LAYER}\.dconv_(?P<part>gate|candidate)"
    r"\.(?P<kind>weight|biases)",
    "tensorflow": rf"(?:.*/)?(?P<side>rnn|rnn_decoder)/multi_rnn_cell/cell_{_LAYER}/dcgru_cell/"
    r"(?P<part>gates|candidate)/(?P<kind>weights|biases)(?::0)?",
}
_PROJECTION = {
    "pytorch_port": r"decoder_model\.projection_layer\.(?P<kind>weight|bias)",
    "libcity": r"decoder_model\.projection_layer\.(?P<kind>weight|bias)",
    "largest": r"decoder\.decoding_cells\.\d+\.project\.(?P<kind>weight|bias)",
    "tensorflow": r"(?:.*/)?dcgru_cell/projection/(?P<kind>w)(?::0)?",
}
LAYOUTS: tuple[Layout, ...] = ("pytorch_port", "libcity", "largest", "tensorflow")
_SIDE = {"rnn": "encoder", "rnn_decoder": "decoder"}
_PART = {"_fn": "gate", "gates": "gate", "_gconv": "candidate"}

# Variables of TensorFlow's optimiser and counters.
_NOT_WEIGHTS = re.compile(
    r".*/(Adam|Adam_1|Momentum|ExponentialMovingAverage)(:0)?|(?:.*/)?(beta[12]_power|global_step|learning_rate)(:0)?"
)


def recognise(tensors: Mapping[str, Tensor], source: str) -> tuple[Layout, dict[str, Tensor]]:
    """The layout of these names, and the tensors under dcrnn_fast's names; shapes are those of the file.

    Args:
        source: the file, for messages.
    Raises:
        UserError: names of no known DCRNN, no projection, names that do not belong, two tensors for one parameter.
    """
    tensors = {name: tensor for name, tensor in tensors.items() if not _NOT_WEIGHTS.fullmatch(name)}
    layout = max(LAYOUTS, key=lambda known: sum(1 for name in tensors if re.fullmatch(_CELL[known], name)))
    if not any(re.fullmatch(_CELL[layout], name) for name in tensors):
        held = first_few(tensors, 3) if tensors else "no tensor at all"
        raise UserError(
            f"{source} holds the names of no known DCRNN, but {held}; known are those of the PyTorch "
            "port, LibCity, LargeST and the authors' TensorFlow code, with graph convolutions in the gates"
        )
    renamed: dict[str, Tensor] = {}
    unknown = []
    hidden_units = _hidden_units(layout, tensors)
    if hidden_units is None:
        raise UserError(f"{source}: the projection to the output channels is missing or not a matrix")
    for name, tensor in tensors.items():
        ours = _our_name(layout, name, tensor, hidden_units)
        if ours is None:
            unknown.append(name)
        elif ours in renamed:
            raise UserError(f"{source}: two tensors are the same parameter, {name!r} is the second for {ours}")
        else:
            renamed[ours] = tensor
    if unknown:
        raise UserError(
            f"{source} has the names of layout {layout}, and others that do not belong: {first_few(unknown, 3)}"
        )
    return layout, renamed


def port_names(hidden_units: int, rows: int, side: str, layer: int) -> dict[str, str]:
    """dcrnn_fast's names of one cell's parameters to the port's, given H and the rows of its weights."""
    cell = f"{side}_model.dcgru_layers.{layer}"
    return {
        f"{side}.{layer}.gate_weight": f"{cell}.gconv_weight_({rows}, {2 * hidden_units})",
        f"{side}.{layer}.gate_bias": f"{cell}.gconv_biases_{2 * hidden_units}",
        f"{side}.{layer}.candidate_weight": f"{cell}.gconv_weight_({rows}, {hidden_units})",
        f"{side}.{layer}.candidate_bias": f"{cell}.gconv_biases_{hidden_units}",
    }


def _hidden_units(layout: Layout, tensors: Mapping[str, Tensor]) -> int | None:
    """H by the projection, without which the port's gates and candidate look alike; None without one."""
    for name, tensor in tensors.items():
        match = re.fullmatch(_PROJECTION[layout], name)
        if match and match["kind"] != "bias" and tensor.dim() == 2:
            return int(tensor.shape[0 if layout == "tensorflow" else 1])
    return None


def _our_name(layout: Layout, name: str, tensor: Tensor, hidden_units: int) -> str | None:
    if match := re.fullmatch(_PROJECTION[layout], name):
        return "projection.bias" if match["kind"] == "bias" else "projection.weight"
    match = re.fullmatch(_CELL[layout], name)
    if match is None:
        return None
    if layout == "pytorch_port":
        part = "candidate" if tensor.shape[-1:] == (hidden_units,) else "gate"
    else:
        part = _PART.get(match["part"], match["part"])
    side = _SIDE.get(match["side"], match["side"])
    return f"{side}.{int(match['layer'])}.{part}_{'weight' if match['kind'].startswith('weight') else 'bias'}"
