"""The plan as people read it."""

from dcrnn_fast.messages import sized
from dcrnn_fast.planning.memory import MARGIN
from dcrnn_fast.planning.parts import Part
from dcrnn_fast.planning.plan import Plan
from dcrnn_fast.planning.words import duration, memory_lines


def plan_lines(plan: Plan) -> list[str]:
    """The plan for people."""
    shapes, now, part = plan.shapes, plan.now, plan.part
    replicas = plan.ranks if part is None else plan.ranks // len(part.account.nodes_G)
    copies = f"{replicas} process(es)" if part is None else f"{replicas} group(s) of {len(part.account.nodes_G)}"
    per_step = f"{now.batch_size} x {copies} x {now.accumulate} = {now.windows * replicas}"
    whole = plan.source.graph
    lines = [
        f"graph: {whole.num_nodes} sensors, {whole.num_edges} links; windows of {shapes.past_steps} + "
        f"{shapes.future_steps} steps, {shapes.input_channels} input and {shapes.output_channels} output channel(s)",
        f"model: {shapes.num_layers} layer(s) of {shapes.hidden_units} units, {shapes.num_terms} diffusion terms, "
        f"{shapes.parameters} parameters; {plan.precision}, backend {plan.backend}, {plan.threads} thread(s)",
        f"step: {per_step} windows, save {now.save}",
        *plan.source.notes,
        *([] if part is None else [_part_line(part)]),
        "",
        *memory_lines(plan.need, "by item" if not plan.on_gpu else "by item; a model of a GPU, not run on one"),
    ]
    if plan.local_ranks > 1:
        lines.append(
            f"memory of a machine with {plan.local_ranks} processes: {sized(plan.need.peak * plan.local_ranks)}"
        )
    if plan.source.mapped:
        lines.append(f"page cache that the series can use beside that: {sized(plan.source.mapped)} (never needed)")
    lines += ["", *_time_lines(plan), *_network_lines(plan)]
    lines.append(f"a checkpoint: {sized(plan.checkpoint_bytes)} and the graph")
    return [*lines, "", *_advice(plan)]


def _part_line(part: Part) -> str:
    account = part.account
    return (
        f"a process has {account.nodes_G.min()} to {account.nodes_G.max()} sensors ({part.how}) and reads up to "
        f"{part.halo_rows} of the others; the largest share of work is {account.balance:.3f} x the mean"
    )


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
    lines = [f"network: a process sends {sized(network.gradients)} of gradients in a step"]
    if network.halo:
        lines[0] += f" and {sized(network.halo)} of rows that its partners read"
    if network.seconds is not None:
        lines[0] += f": {duration(network.seconds)} at the stated rate (a model, not measured)"
    return lines


def _advice(plan: Plan) -> list[str]:
    if plan.room is None:
        return ["how much memory there is: not known; give --memory-gib"]
    each = f" for each of {plan.local_ranks} processes" if plan.local_ranks > 1 else ""
    room = f"{sized(plan.room)}{each}"
    if plan.short_of:
        return [f"does not fit: {sized(plan.short_of)} more than {room}"]
    if plan.need.peak > plan.room / MARGIN:
        nearest = "nothing does" if plan.best is None else f"{plan.best.flags()} does"
        return [
            f"fits in {room}, but without the {MARGIN - 1:.0%} to spare by which a plan may be wrong; with as many "
            f"windows in a step, {nearest}"
        ]
    if plan.best is None or plan.best == plan.now:
        return [f"fits in {room}, and is the fastest way to take these windows that does"]
    faster = ""
    if plan.seconds_of is not None and plan.seconds is not None:
        faster = f", {duration(plan.seconds_of(plan.best))} a step"
    return [
        f"fits in {room}",
        f"the fastest that fits, the same step: {plan.best.flags()}{faster}; dcrnn-fast train --fit chooses it",
    ]
