"""Words for sizes, times and the items of a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcrnn_fast.planning.memory import Need

if TYPE_CHECKING:
    from dcrnn_fast.planning.plan import Plan


def gib(count: float) -> str:
    """Bytes, in GiB, or in MiB if they are few."""
    if count < 2**30 / 10:
        return f"{count / 2**20:.3g} MiB"
    return f"{count / 2**30:.3g} GiB"


def memory_lines(need: Need, of_what: str) -> list[str]:
    """The items of a process, largest first, those below a hundredth together; their sum."""
    small = need.peak / 100
    shown = sorted(((size, name) for name, size in need.items.items() if size >= small), reverse=True)
    rest = need.peak - sum(size for size, _ in shown)
    if rest:
        shown.append((rest, "all else"))
    lines = [f"  {gib(size):>9}  {name}" for size, name in shown]
    return [f"memory of a process in {need.largest}, {of_what}: {gib(need.peak)}", *lines]


def duration(seconds: float) -> str:
    """1.2 ms, 3.4 s, 12 min, 5.6 h or 3.1 days."""
    for size, unit, most in ((1e-3, "ms", 1.0), (1.0, "s", 120.0), (60.0, "min", 7200.0), (3600.0, "h", 172_800.0)):
        if seconds < most:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86_400:.3g} days"


def plan_lines(plan: Plan) -> list[str]:
    """The plan for people."""
    shapes, now = plan.shapes, plan.now
    per_step = f"{now.batch_size} x {plan.ranks} process(es) x {now.accumulate} = {now.windows * plan.ranks}"
    lines = [
        f"graph: {shapes.nodes} sensors, {shapes.edges} links; windows of {shapes.past_steps} + {shapes.future_steps} "
        f"steps, {shapes.input_channels} input and {shapes.output_channels} output channel(s)",
        f"model: {shapes.num_layers} layer(s) of {shapes.hidden_units} units, {shapes.num_terms} diffusion terms, "
        f"{shapes.parameters} parameters; {plan.precision}, backend {plan.backend}, {plan.threads} thread(s)",
        f"step: {per_step} windows, save {now.save}",
        *plan.source.notes,
        "",
        *memory_lines(plan.need, "by item" if not plan.on_gpu else "by item; a model of a GPU, not run on one"),
    ]
    if plan.local_ranks > 1:
        lines.append(f"memory of a machine with {plan.local_ranks} processes: {gib(plan.need.peak * plan.local_ranks)}")
    if plan.source.mapped:
        lines.append(f"page cache that the series can use beside that: {gib(plan.source.mapped)} (never needed)")
    lines += ["", *_time_lines(plan), *_network_lines(plan)]
    lines.append(f"a checkpoint: {gib(plan.checkpoint_bytes)} and the graph")
    return [*lines, "", *_advice(plan)]


def _time_lines(plan: Plan) -> list[str]:
    epoch = plan.epoch
    lines = []
    if plan.seconds is not None:
        of_bf16 = "" if plan.precision == "fp32" else f" ({plan.precision}: a rough guess)"
        lines.append(f"time of a step: {duration(plan.seconds)}{of_bf16}, as timed on this machine")
    if epoch:
        words = (
            f"an epoch: {epoch['steps']:.0f} steps on {epoch['train_windows']:.0f} windows, and "
            f"{epoch['validation_windows']:.0f} to validate"
        )
        if "seconds" in epoch:
            way = (plan.network.seconds or 0.0) * epoch["steps"]
            words += f": {duration(epoch['seconds'] + way)}"
        lines.append(words)
    return lines


def _network_lines(plan: Plan) -> list[str]:
    if plan.ranks == 1:
        return []
    network = plan.network
    lines = [f"network: a process sends {gib(network.gradients)} of gradients in a step"]
    if network.halo:
        lines[0] += f" and {gib(network.halo)} of other processes' neighbours"
    if network.seconds is not None:
        lines[0] += f": {duration(network.seconds)} at the stated rate (a model, not measured)"
    return lines


def _advice(plan: Plan) -> list[str]:
    if plan.room is None:
        return ["memory of this machine: not known; give --memory-gib"]
    each = f" for each of {plan.local_ranks} processes" if plan.local_ranks > 1 else ""
    room = f"{gib(plan.room)}{each}"
    if plan.short_of:
        return [f"does not fit: {gib(plan.short_of)} more than {room}"]
    if plan.best is None or plan.best == plan.now:
        return [f"fits in {room}, and is the fastest way to take these windows that does"]
    faster = ""
    if plan.seconds_of is not None and plan.seconds is not None:
        faster = f", {duration(plan.seconds_of(plan.best))} a step"
    return [
        f"fits in {room}",
        f"the fastest that fits, the same step: {plan.best.flags()}{faster}; dcrnn-fast train --fit chooses it",
    ]
