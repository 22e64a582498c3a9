"""What the ranks of a test run do that share a graph; called by name in processes of the rank server."""

import importlib
import importlib.metadata
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rank_programs import debug_config, uneven_data

from dcrnn_fast.config.sections import Config
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.opening import assemble_data, open_data
from dcrnn_fast.data.series_from_readings import make_series
from dcrnn_fast.data.times import count_from
from dcrnn_fast.graph import SensorGraph, partition, read_pickle
from dcrnn_fast.ranks.group import join_ranks
from dcrnn_fast.ranks.stopping import StopRequest
from dcrnn_fast.training.resolved import resolved
from dcrnn_fast.training.run import make_run
from dcrnn_fast.training.step import EagerStep

STEPS = 10


def ten_steps(saved: str, source: str, dtype: str, *flags: str) -> None:
    """Ten optimiser steps; rank 0 saves losses, norms, counts and weights, and every rank what it sent.

    Args:
        source: uneven (the small city with missing readings), islands (the same without most links), city, or the
            pickle of a graph.
    """
    config = debug_config("--device", "cpu", *flags)
    ranks = join_ranks(60)
    with ranks.reporting_failure():
        ranks.share_graph(config.training.node_parallel)
        ranks.connect(torch.device("cpu"), 60)
        torch.set_num_threads(1)
        config = resolved(config, ranks.replicas.size)
        run = make_run(config, _data(source, config), ranks, dtype=getattr(torch, dtype))
        stepper, outcomes = EagerStep(run), []
        batches = (batch for epoch in range(STEPS) for batch in run.batches.epoch(epoch))
        run.model.train()
        for step, batch in zip(range(STEPS), batches, strict=False):
            outcome = stepper.take(batch, step, 0.01, StopRequest())
            assert outcome is not None
            outcomes.append((outcome.loss, outcome.norm, outcome.observed))
        weights = {name: weight.numpy() for name, weight in run.model.state_dict().items()}
        sent = ranks.sum_integers(*(0 if run.shared is None else run.shared.partners.bytes_sent,))
    if ranks.is_first:
        np.savez(saved, outcomes=np.array(outcomes), sent=sent, **weights)


def _data(source: str, config: Config) -> ForecastData:
    if source == "uneven":
        return uneven_data(config)
    if source == "islands":
        return _islands(uneven_data(config))
    if source == "city":
        return open_data(config.data, config.graph)
    graph = read_pickle(Path(source))
    rng = np.random.default_rng(0)
    readings_TN = (
        60 + 8 * np.sin(np.arange(200)[:, None] / 20 + rng.random(graph.num_nodes)) + rng.normal(size=(200, 1))
    )
    readings_TN[rng.random(readings_TN.shape) < 0.1] = 0
    start, interval = np.datetime64("2024-03-04T00:00:00", "s"), np.timedelta64(300, "s")
    series = make_series(
        readings_TN, times_T=count_from(start, interval, 200), ids=graph.ids, missing="zero", where="test"
    )
    return assemble_data(series, graph, replace(config.data, data="test"))


def _islands(data: ForecastData) -> ForecastData:
    """Its two halves are not linked any more, and the first two sensors to none at all."""
    adjacency = data.graph.adjacency.toarray()
    half = len(adjacency) // 2
    for here, there in ((slice(0, half), slice(half, None)), (slice(0, 2), slice(None))):
        adjacency[here, there] = adjacency[there, here] = 0
    return replace(data, graph=SensorGraph(adjacency, data.graph.ids))


def main(module: str, *flags: str) -> int:
    """A command of the package: ``dcrnn_fast.evaluate`` and so on."""
    return importlib.import_module(module).main(list(flags))


def other_partition(planted: str, *flags: str) -> int:
    """``dcrnn-fast train``, where rank 1 divides the graph otherwise, or has another version of pymetis."""
    if os.environ["RANK"] == "1":
        if planted == "seed":
            partition._SEED = 2
        else:
            version = importlib.metadata.version
            importlib.metadata.version = lambda name: "1.0" if name == "pymetis" else version(name)
    return main("dcrnn_fast.train", *flags)
