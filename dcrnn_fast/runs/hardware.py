"""Of a run's page: where the time of the ranks went, on which machines it ran, and how busy those were."""

import math
from collections.abc import Mapping, Sequence
from statistics import median

from dcrnn_fast.drawing.charts import Line, line_chart, stacked_bars
from dcrnn_fast.drawing.html import Markup, tag
from dcrnn_fast.messages import counted, some
from dcrnn_fast.records.timing import PARTS
from dcrnn_fast.runs.measured import Measured, Rows, clock_of, lines_over_time
from dcrnn_fast.runs.record import RunRecord

_MOST_RANKS = 16
_SHARES = (
    ("data_wait_share", "waiting for data", 0),
    ("communication_share", "communication", 3),
)
_GPU_CHARTS = (
    ("utilisation_percent", "GPU utilisation (%)", 1.0, 100.0),
    ("memory_used_mib", "GPU memory (GiB)", 1024.0, None),
    ("temperature_c", "GPU temperature (°C)", 1.0, None),
    ("power_w", "GPU power (W)", 1.0, None),
)
_CPU_CHARTS = (
    ("cpu_percent", "processor load of the machine (%)", 1.0, 100.0),
    ("process_cpu_percent", "processor load of the run (%, 100 is a core)", 1.0, None),
    ("memory_used_mib", "memory of the machine (GiB)", 1024.0, None),
    ("process_rss_mib", "memory of the run (GiB)", 1024.0, None),
)


def time_section(run: RunRecord, measured: Measured) -> Markup | None:
    """The parts of a step for each rank, and their shares over the epochs."""
    charts = [_bars(measured.timing)] if measured.timing else []
    epochs = [row.epoch for row in run.rows]
    shares = []
    for column, name, colour in _SHARES:
        values = [getattr(row, column, None) for row in run.rows]
        if any(value is not None for value in values):
            ys = [math.nan if value is None else 100 * value for value in values]
            shares.append(Line(name, epochs, ys, colour))
    if shares:
        title = "share of a step's time (%)"
        charts.append(line_chart(title, shares, "epoch", from_zero=True, whole_x=True))
    if not charts:
        return None
    return tag(
        "section", tag("h2", "Where the time went"), _slowest(run, measured.timing), tag("div", charts, class_="charts")
    )


def _bars(timing: Mapping[int, Mapping[str, float]]) -> Markup:
    """A bar for each rank; of many ranks those that compute longest and shortest."""
    order = sorted(timing, key=lambda rank: -_own(timing[rank]))
    shown = list(timing)
    title = "seconds of all steps, by rank"
    if len(shown) > _MOST_RANKS:
        half = _MOST_RANKS // 2
        shown = [*order[:half], *order[-half:]]
        title += f": the {half} slowest and the {half} fastest of {len(timing)}"
    parts = [(part, [timing[rank][part] for rank in shown]) for part in PARTS]
    return stacked_bars(title, [f"rank {rank}" for rank in shown], parts, "s")


def _own(parts: Mapping[str, float]) -> float:
    """Seconds that a rank did not spend on waiting for others."""
    return sum(seconds for part, seconds in parts.items() if part != "communication")


def _slowest(run: RunRecord, timing: Mapping[int, Mapping[str, float]]) -> Markup | None:
    """The stragglers that the run has named; else how far the ranks are apart."""
    named: dict[str, int] = {}
    for event in run.events:
        if event["event"] == "straggler":
            rank = f"rank {event.get('rank')} on {event.get('host')}"
            named[rank] = named.get(rank, 0) + 1
    if named:
        times = [f"{rank} (in {counted(epochs, 'epoch')})" for rank, epochs in named.items()]
        return tag("p", f"Slower than the others, which waited for it: {some(times)}.", class_="warn")
    if len(timing) < 2:
        return None
    own = {rank: _own(parts) for rank, parts in timing.items()}
    slowest = max(own, key=lambda rank: own[rank])
    middle = median(own.values())
    if middle <= 0:
        return None
    return tag("p", f"The slowest is rank {slowest}: {100 * (own[slowest] / middle - 1):.0f} % above the median rank.")


def machine_section(run: RunRecord, measured: Measured) -> Markup | None:
    """What it ran on, and the monitors' readings over time."""
    start = run.start
    hosts = sorted({*measured.cpu, *(host for host, _ in measured.gpu), *_texts(start, "host")})
    several = len({host for host, _ in measured.gpu}) > 1
    gpus = {f"{host} GPU {i}" if several else f"GPU {i}": rows for (host, i), rows in measured.gpu.items()}
    facts: list[tuple[str, object]] = []
    if hosts:
        facts.append(("host" if len(hosts) == 1 else f"{len(hosts)} hosts", some(hosts, 8)))
    facts += [(words, ", ".join(_texts(start, name))) for name, words in (("cpu", "processor"), ("device", "device"))]
    if isinstance(start.get("cores"), int):
        facts.append(("cores", start["cores"]))
    if gpus:
        sizes = sorted({row["memory_total_mib"] for rows in gpus.values() for row in rows[-1:]} - {None})
        facts.append(("GPUs", f"{len(gpus)} of {some([f'{size / 1024:.0f} GiB' for size in sizes])}"))
    if run.ranks is not None:
        facts.append(("processes", run.ranks))
    if run.report is not None:
        facts += [(name, run.report.about[name]) for name in ("backend", "precision") if name in run.report.about]
    facts = [(name, value) for name, value in facts if value != ""]
    charts = [*_over_time(gpus, _GPU_CHARTS, measured), *_over_time(measured.cpu, _CPU_CHARTS, measured)]
    if not facts and not charts:
        return None
    rows = [tag("tr", tag("th", name, scope="row"), tag("td", value)) for name, value in facts]
    of_rank_0 = tag("p", "Processor, cores and device are those of rank 0.", class_="faint") if len(hosts) > 1 else None
    return tag(
        "section",
        tag("h2", "Hardware"),
        tag("div", tag("table", tag("tbody", rows)), class_="scroll"),
        of_rank_0,
        tag("div", charts, class_="charts") if charts else None,
    )


def _texts(start: Mapping[str, object], name: str) -> list[str]:
    value = start.get(name)
    return [value] if isinstance(value, str) and value else []


def _over_time(
    sources: dict[str, Rows], charts: Sequence[tuple[str, str, float, float | None]], measured: Measured
) -> list[Markup]:
    clock = clock_of(measured)
    if clock is None:
        return []
    drawn = []
    for column, title, per, most in charts:
        if lines := lines_over_time(sources, column, clock, per):
            drawn.append(line_chart(title, lines, clock.unit, from_zero=True, most=most))
    return drawn
