"""Parts of a report: some of its sensors and targets, and the steps beyond those that the model was trained on.

Sums are kept for each step, sensor and channel, so that a part has the figures that it would have alone. The strongest
baseline stays the whole's.

Shape legend: E edges, N nodes.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dcrnn_fast.evaluation.places import places
from dcrnn_fast.evaluation.report import Report
from dcrnn_fast.evaluation.trace import Trace


def part_of(report: Report, *, sensors: Sequence[str] = (), targets: Sequence[str] = ()) -> Report:
    """The report of these sensors and target channels alone; none named: all.

    Raises:
        UserError: an unknown sensor or channel.
    """
    if not sensors and not targets:
        return report
    nodes = places(sensors, report.ids, "sensors")
    channels = places(targets, report.channels, "targets")
    notes = report.notes
    if len(nodes) < len(report.ids):
        notes = (f"{len(nodes)} of the {len(report.ids)} sensors are scored (--sensors); the model reads all", *notes)
    return replace(
        report,
        ids=tuple(report.ids[n] for n in nodes),
        channels=tuple(report.channels[c] for c in channels),
        units=tuple(report.units[c] for c in channels),
        methods={name: sums.part(nodes=nodes, channels=channels) for name, sums in report.methods.items()},
        positions_N2=None if report.positions_N2 is None else report.positions_N2[nodes],
        edges_E2=None if report.edges_E2 is None else _edges_among(report.edges_E2, nodes, len(report.ids)),
        trace=None if report.trace is None else _of_trace(report.trace, nodes, channels),
        beyond=None if report.beyond is None else part_of(report.beyond, sensors=sensors, targets=targets),
        notes=notes,
        intervals=None if report.intervals is None else report.intervals.part(nodes=nodes, channels=channels),
        # Hours are summed over all sensors.
        hours=tuple(report.hours[c] for c in channels) if report.hours and len(nodes) == len(report.ids) else (),
    )


def with_steps_beyond(report: Report, trained_steps: int) -> Report:
    """The report of the steps that the model was trained on; those after them in ``beyond``, never summed with them."""
    steps = len(report.horizons)
    if steps <= trained_steps:
        return report

    def of(first: int, last: int) -> Report:
        return replace(
            report,
            horizons=report.horizons[first:last],
            methods={name: sums.part(steps=slice(first, last)) for name, sums in report.methods.items()},
            intervals=None if report.intervals is None else report.intervals.part(steps=slice(first, last)),
        )

    beyond = replace(
        of(trained_steps, steps), first_step=trained_steps + 1, trace=None, notes=(), intervals=None, hours=()
    )
    return replace(of(0, trained_steps), beyond=beyond)


def _edges_among(edges_E2: np.ndarray, nodes: list[int], num_nodes: int) -> np.ndarray:
    number_N = np.full(num_nodes, -1, dtype=np.int64)
    number_N[nodes] = np.arange(len(nodes))
    kept_E2 = number_N[edges_E2]
    return kept_E2[(kept_E2 >= 0).all(axis=1)]


def _of_trace(trace: Trace, nodes: list[int], channels: list[int]) -> Trace:
    def of(values: np.ndarray) -> np.ndarray:
        return values[:, nodes][..., channels]

    return Trace(
        trace.times_R,
        of(trace.truth_RNO),
        {step: (times_V, of(values_VNO)) for step, (times_V, values_VNO) in trace.forecasts.items()},
        None if trace.baseline is None else (trace.baseline[0], of(trace.baseline[1])),
    )
