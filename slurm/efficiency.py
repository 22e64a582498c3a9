"""The share of a job's cores and memory that was used, from sacct's rows on stdin, by any Python from 3.6 on.

sacct --noheader --parsable2 --jobs=J --format=JobIDRaw,CPUTimeRAW,TotalCPU,ReqMem,MaxRSS | python efficiency.py
"""

import re
import sys
from typing import Iterable  # noqa: UP035  (a cluster may have Python 3.6)

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def seconds(text: str) -> float:
    """[DD-[HH:]]MM:SS[.mmm] as seconds; 0 for anything else."""
    days, _, clock = text.rpartition("-")
    parts = clock.split(":")
    if not re.fullmatch(r"[0-9:.]+", clock) or len(parts) < 2:
        return 0.0
    total = 0.0
    for part in parts:
        total = 60 * total + float(part)
    return 86400 * int(days or 0) + total


def size(text: str) -> float:
    """A size such as 512M or 1.5G in bytes; 0 for anything else."""
    found = re.fullmatch(r"([0-9.]+)([KMGT]?)[nc]?", text.strip())
    return float(found.group(1)) * _UNITS[found.group(2)] if found else 0.0


def lines(rows: Iterable[str]) -> list:
    """What was used, of rows of job, steps and batch script."""
    reserved = used = asked = largest = 0.0
    for row in rows:
        cells = row.rstrip("\n").split("|")
        if len(cells) != 5:
            continue
        name, core_seconds, cpu, memory, resident = cells
        if "." not in name:  # the job itself
            reserved, used, asked = float(core_seconds or 0), seconds(cpu), size(memory)
        largest = max(largest, size(resident))
    said = []
    if reserved:
        said.append(f"cores: {100 * used / reserved:.1f} % of {reserved:.0f} reserved core seconds were used")
    if largest:
        of = f" of {asked / 2**20:.0f} MiB asked for" if asked else ""
        said.append(f"memory: the largest task used {largest / 2**20:.0f} MiB{of}")
    return said


if __name__ == "__main__":
    print("\n".join(lines(sys.stdin)))
