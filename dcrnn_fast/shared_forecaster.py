"""Processes that compute the forecasts of one model together, each a part of its graph."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.config.training import TrainingConfig
from dcrnn_fast.data.sources import source_files
from dcrnn_fast.device import choose_device, choose_threads, device_identity
from dcrnn_fast.errors import UserError
from dcrnn_fast.evaluation.flags import ModelFlags, PartFlags, SourceFlags
from dcrnn_fast.evaluation.places import places
from dcrnn_fast.forecaster import Forecaster
from dcrnn_fast.installation import code_facts
from dcrnn_fast.loading import load
from dcrnn_fast.model.dcrnn import DCRNN
from dcrnn_fast.model.whole_forecasts import WholeForecasts
from dcrnn_fast.ranks.group import Ranks, join_ranks
from dcrnn_fast.training_data import require_training_data


@contextmanager
def partners_met(flags: ModelFlags) -> Iterator[Ranks]:
    """The processes that share the graph, connected, while the body runs; this one alone without ``node_parallel``.

    Raises:
        UserError: there are more or fewer of them, or another device, version or flag on one of them.
    """
    if flags.node_parallel == 1:
        if flags.graph_partition != "auto":
            raise UserError(
                "a setting without effect: --graph-partition needs --node-parallel of at least 2; leave it out"
            )
        yield Ranks()
        return
    timeout = TrainingConfig().dist_timeout
    ranks = join_ranks(timeout)
    with ranks.reporting_failure():
        if ranks.world != flags.node_parallel:
            raise UserError(
                f"--node-parallel {flags.node_parallel} needs as many processes, this is one of {ranks.world}: start "
                f"them with torchrun --nproc-per-node={flags.node_parallel} -m dcrnn_fast.evaluate (or .forecast)"
            )
        device = ranks.together("choosing a device", lambda: choose_device(flags.device, ranks.local_rank))
        ranks.require_same("the installation", code_facts(device.type, partitions=True))
        ranks.require_same("the flags", {f"--{name}": str(getattr(flags, name)) for name in flags.__slots__})
        ranks.require_apart("device", device_identity(device))
        ranks.share_graph(flags.node_parallel)
        ranks.connect(device, timeout)
        torch.set_num_threads(choose_threads(None, ranks.cores, launcher_sets_one=ranks.launcher_sets_one_thread))
        yield ranks


def load_shared(checkpoint: str, flags: ModelFlags, ranks: Ranks) -> Forecaster:
    """The forecaster of these flags; with ``node_parallel`` all partners call it together, with the same readings.

    Raises:
        UserError: as ``load``, or partners do not divide the same graph alike.
    """
    shares = ranks.partners.size > 1
    forecaster = ranks.together(
        "opening the checkpoint",
        lambda: load(
            checkpoint,
            device=str(ranks.device) if shares else flags.device,
            backend=flags.backend,
            precision=flags.precision,
            at_least=flags.at_least,
            future_steps=flags.future_steps,
        ),
    )
    if not shares:
        return forecaster
    # Imported here: forecasts of one process need no partition.
    from dcrnn_fast.model.shared import share_graph

    model = forecaster.model
    assert isinstance(model, DCRNN)
    shared = ranks.together(
        "dividing the graph",
        lambda: share_graph(model.cpu(), forecaster.graph, flags.graph_partition, ranks.graph_partners()),
    )
    weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    facts = {
        "partition": shared.partition.digest(),
        "graph": forecaster.graph.digest(),
        "weights": hashlib.sha256(weights.numpy().tobytes()).hexdigest(),
    }
    ranks.require_same("the model", facts)
    whole = WholeForecasts(model.to(ranks.device), shared.nodes, forecaster.graph.num_nodes, ranks.sum_over_partners)
    return replace(forecaster, model=whole.eval())


def open_model(
    checkpoint: str, flags: ModelFlags, source: SourceFlags, part: PartFlags, ranks: Ranks
) -> tuple[Forecaster, DataConfig, tuple[str | Path, ...]]:
    """The forecaster, the readings that it is given, and the files of these and of its training: what a command that
    uses a model knows before it reads.

    Raises:
        UserError: as ``load_shared``; a sensor or target that the model has not; a source that does not fit it.
    """
    sensors = part.ids()
    forecaster = load_shared(checkpoint, flags, ranks)
    places(sensors, forecaster.ids, "--sensors")
    places(part.targets, forecaster.window_format.target_names, "--targets")
    config, trained = source.config(forecaster.config.data, forecaster.window_format), forecaster.config
    if source.data is None:
        require_training_data(config)
    return forecaster, config, (*source_files(config, trained.graph), *source_files(trained.data, trained.graph))
