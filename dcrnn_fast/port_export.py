"""``dcrnn-fast convert --export``: the public PyTorch port's checkpoint, from one of ours."""

from pathlib import Path
from typing import Any

from dcrnn_fast.checkpoints.find import find_checkpoint, is_trained
from dcrnn_fast.checkpoints.manifest import MANIFEST, read_manifest
from dcrnn_fast.checkpoints.state import average_notes, forecast_weights
from dcrnn_fast.config.sections import Config
from dcrnn_fast.data.saved_form import saved_form
from dcrnn_fast.data.window_format import WindowFormat, known_ahead_words
from dcrnn_fast.errors import UserError
from dcrnn_fast.files import clear_leftovers, folder_for_new_files, require_apart
from dcrnn_fast.interop import save_pytorch_port
from dcrnn_fast.interop.weights import edge_order_matters
from dcrnn_fast.model.weights import require_weights


def export_checkpoint(checkpoint: str | Path, output: str | Path) -> list[str]:
    """Writes the port's ``.tar`` from a checkpoint of dcrnn_fast; returns the lines to print.

    Raises:
        UserError: the checkpoint cannot be read, or the port cannot compute such a model; the output is a checkpoint.
    """
    found = find_checkpoint(checkpoint)
    checkpoint, state = found.path, found.state
    config, graph, form, _, _ = saved_form(state, str(checkpoint))
    output = Path(output)
    require_apart([output], [checkpoint, checkpoint.parent / MANIFEST], "--output")
    if _is_listed(output) or is_trained(output):
        raise UserError(f"--output {output} is a checkpoint, which would be lost: name another file")
    ways = config.graph
    if ways.orientation != "released":
        raise UserError(f"the port has no orientation {ways.orientation!r}: this model cannot be exported to it")
    if ways.recursion != "released" and ways.hops > 1:
        raise UserError(f"the port has no recursion {ways.recursion!r}: this model cannot be exported to it")
    if form.num_known:
        raise UserError(
            f"the port's decoder reads nothing that is known ahead: this model, trained with --known-ahead "
            f"({known_ahead_words(form)}), cannot be exported to it"
        )
    weights = forecast_weights(state)
    try:
        require_weights(weights, config, input_channels=form.input_channels, output_channels=form.output_channels)
    except UserError as error:
        raise UserError(f"checkpoint {checkpoint}: {error}") from error
    with folder_for_new_files(output.parent, "output folder") as folder:
        clear_leftovers(folder, [output.name])
        save_pytorch_port(output, weights, _port_settings(config, form, graph.num_nodes), _epoch(state))
    lines = [*found.notes, *average_notes(state), f"written: {output} in the names of the public PyTorch port"]
    if edge_order_matters(ways):
        lines.insert(
            0,
            "note: the port puts edge weights on the wrong edges; it gives this model's forecasts only when its "
            "_build_sparse_matrix sorts the values together with the indices",
        )
    return lines


def _is_listed(path: Path) -> bool:
    """Whether the file is there, and the manifest of its folder lists it as a checkpoint."""
    try:
        return path.exists() and path.name in read_manifest(path.parent)
    except UserError:  # another program's
        return False


def _epoch(state: dict[str, Any]) -> int:
    return int(state["training"]["epoch"]) if state["training"] else 0


def _port_settings(config: Config, form: WindowFormat, num_nodes: int) -> dict[str, Any]:
    return {
        "cl_decay_steps": config.training.sampling_decay,
        "filter_type": config.graph.supports,
        "horizon": form.future_steps,
        "input_dim": form.input_channels,
        "max_diffusion_step": config.graph.hops,
        "num_nodes": num_nodes,
        "num_rnn_layers": config.model.num_layers,
        "output_dim": form.output_channels,
        "rnn_units": config.model.hidden_units,
        "seq_len": form.past_steps,
        "use_curriculum_learning": config.training.teacher_forcing == "scheduled",
    }
