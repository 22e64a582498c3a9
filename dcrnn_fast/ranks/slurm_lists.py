"""Slurm's short forms: lists of hosts (``n[01-03,7]``) and of numbers of tasks (``4(x2),3``)."""

import re
from collections.abc import Iterator
from itertools import product

_MOST = 65_536
_ITEM = re.compile(r"((?:[^\[\],\s]|\[[^\[\]]*\])+)(?:,+|$)")
_RANGE = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?")
_TASKS = re.compile(r"([0-9]{1,9})(?:\(x([0-9]{1,9})\))?")


def host_names(short: str) -> list[str]:
    """The hosts of a list, in its order: ``scontrol show hostnames`` prints the same.

    Raises:
        ValueError: it is no such list, or has more than 65,536 hosts.
    """
    names: list[str] = []
    position, short = 0, short.strip().lstrip(",")
    while position < len(short):
        if not (item := _ITEM.match(short, position)):
            raise ValueError(f"no list of hosts: {short!r:.80}")
        # Of several brackets the last counts fastest.
        parts = [_numbers(part) if part[0] == "[" else [part] for part in re.findall(r"\[[^\]]*\]|[^\[]+", item[1])]
        for one in product(*parts):
            names.append("".join(one))
            if len(names) > _MOST:
                raise ValueError(f"a list of more than {_MOST} hosts: {short!r:.80}")
        position = item.end()
    return names


def tasks_per_node(short: str) -> list[int]:
    """Tasks of each node: ``2(x3),1`` is 2, 2, 2, 1.

    Raises:
        ValueError: it is no such list, or has more than 65,536 nodes.
    """
    tasks: list[int] = []
    for item in short.strip().split(","):
        if not (found := _TASKS.fullmatch(item)) or (times := int(found[2] or 1)) + len(tasks) > _MOST:
            raise ValueError(f"no list of numbers of tasks: {short!r:.80}")
        tasks += [int(found[1])] * times
    return tasks


def _numbers(brackets: str) -> list[str]:
    return [number for part in brackets[1:-1].split(",") for number in _range(part, brackets)]


def _range(part: str, brackets: str) -> Iterator[str]:
    found = _RANGE.fullmatch(part)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if found is None or not first <= last < first + _MOST:
        raise ValueError(f"no numbers of hosts: {brackets!r:.80}")
    for number in range(first, last + 1):
        yield f"{number:0{len(found[1])}}"
