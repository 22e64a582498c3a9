"""Words for times and memory by item."""

from dcrnn_fast.messages import sized
from dcrnn_fast.planning.memory import Need


def memory_lines(need: Need, of_what: str) -> list[str]:
    """The items of a process, largest first, those below a hundredth together; their sum."""
    small = need.peak / 100
    shown = sorted(((size, name) for name, size in need.items.items() if size >= small), reverse=True)
    rest = need.peak - sum(size for size, _ in shown)
    if rest:
        shown.append((rest, "all else"))
    lines = [f"  {sized(size):>9}  {name}" for size, name in shown]
    return [f"memory of a process in {need.largest}, {of_what}: {sized(need.peak)}", *lines]


def duration(seconds: float) -> str:
    """1.2 ms, 3.4 s, 12 min, 5.6 h or 3.1 days."""
    for size, unit, most in ((1e-3, "ms", 1.0), (1.0, "s", 120.0), (60.0, "min", 7200.0), (3600.0, "h", 172_800.0)):
        if seconds < most:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86_400:.3g} days"
