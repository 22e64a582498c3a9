"""What differs between ranks, and what is broken on one; and the table that shows all of them."""

from collections.abc import Sequence
from typing import Any

from dcrnn_fast.messages import sized, some
from dcrnn_fast.system import MIB

_MOST_SKEW = 1.0
"""seconds; files of a shared disk are compared by their times"""

Facts = dict[str, Any]


def findings(ranks: Sequence[Facts]) -> list[str]:
    """A sentence for each thing that is broken, or differs where all ranks must be alike."""
    broken = [sentence for name in _names(ranks) for sentence in _differing(ranks, name)]
    by_sentence: dict[str, list[Facts]] = {}
    for one in ranks:
        for sentence in one["broken"]:
            by_sentence.setdefault(sentence, []).append(one)
    broken += [f"{_named(those)}: {sentence}" for sentence, those in by_sentence.items()]
    broken += _shared_devices(ranks)
    for one in ranks:
        ahead, round_trip = one["clock"]["ahead"], one["clock"]["round_trip"]
        if abs(ahead) - round_trip / 2 > _MOST_SKEW:
            side = "ahead of" if ahead > 0 else "behind"
            broken.append(f"{_named([one])}: its clock is {abs(ahead):.3g} s {side} rank 0's; set it by NTP")
    return broken


def notes(ranks: Sequence[Facts]) -> list[str]:
    """What could be better."""
    said = [
        f"{_named([one])}: {one['threads']} threads, and its share of the cores is {one['cores']}: set OMP_NUM_THREADS"
        for one in ranks
        if one["threads"] > one["cores"]
    ]
    backends = {one["kernels"]["chosen"] for one in ranks}
    if len(backends) > 1:
        users = {one: [each for each in ranks if each["kernels"]["chosen"] == one] for one in sorted(backends)}
        each = (f"{backend} on {_named(those)}" for backend, those in users.items())
        said.append(f"not all ranks compute with the same backend: {'; '.join(each)}")
    return said


def table(ranks: Sequence[Facts]) -> list[str]:
    """One line for each rank."""
    rows = [("rank", "host", "code", "torch", "numpy", "Python", "device", "kernels", "threads/cores", "clock", "trip")]
    for one in ranks:
        code, clock = one["code"], one["clock"]
        rows.append(
            (
                str(one["rank"]),
                one["host"],
                f"{code.get('dcrnn_fast', '?')} {code.get('sources', '?')[:8]} {code.get('commit', '?')[:8]}",
                code.get("torch", "?"),
                code.get("numpy", "?"),
                code.get("Python", "?"),
                one["device"] or "CPU",
                one["kernels"]["chosen"],
                f"{one['threads']}/{one['cores']}",
                f"{clock['ahead'] * 1e3:+.1f} ms" if one["rank"] else "0",
                f"{clock['round_trip'] * 1e3:.1f} ms" if one["rank"] else "",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def details(one: Facts) -> list[str]:
    """A rank's network, disks and reasons."""
    limit = one["limits"]
    bounds = [f"{limit['cores']:g} cores"] if limit["cores"] is not None else []
    bounds += [f"{limit['memory_mib']:.0f} MiB"] if limit["memory_mib"] is not None else []
    found = "; ".join(f"{name} {', '.join(addresses) or '–'}" for name, addresses in one["interfaces"].items())
    disks = [f"{what} {sized(free * MIB)} in {folder}" for what, (folder, free) in one["free_mib"].items()]
    lines = [
        f"gradients travel over {one['collectives']}",
        f"kernels: {one['kernels']['chosen']}"
        + "".join(f"; not {name}: {why_not}" for name, why_not in one["kernels"]["not"].items()),
        f"CUDA of PyTorch {one['cuda']['torch'] or 'none'}, of the driver {one['cuda']['driver'] or 'none'}",
        f"interfaces: {found}",
        f"free: {'; '.join(disks)}",
        f"limits of the control group: {', '.join(bounds) or 'none'}",
    ]
    if one["variables"]:
        lines.append("variables: " + ", ".join(f"{name}={value}" for name, value in one["variables"].items()))
    return lines


def _names(ranks: Sequence[Facts]) -> list[str]:
    return list(dict.fromkeys(name for one in ranks for name in one["code"]))


def _differing(ranks: Sequence[Facts], name: str) -> list[str]:
    first = ranks[0]["code"].get(name)
    others: dict[Any, list[Facts]] = {}
    for one in ranks:
        if (value := one["code"].get(name)) != first:
            others.setdefault(value, []).append(one)
    return [f"{_named(those)}: {name} is {value}, rank 0 has {first}" for value, those in others.items()]


def _shared_devices(ranks: Sequence[Facts]) -> list[str]:
    users: dict[str, list[Facts]] = {}
    for one in ranks:
        if one["device"]:
            users.setdefault(one["device"], []).append(one)
    return [f"{_named(those)}: they share a device: {name}" for name, those in users.items() if len(those) > 1]


def _named(those: Sequence[Facts]) -> str:
    hosts = list(dict.fromkeys(one["host"] for one in those))
    return f"rank {some([str(one['rank']) for one in those], 8)} on {some(hosts, 4)}"
