"""Words of torchrun, PyTorch and Slurm in the output of a job that ended, explained."""

import re
from pathlib import Path
from typing import NamedTuple

from dcrnn_fast.messages import naming_file

_MOST_BYTES = 32 << 20


class Explanation(NamedTuple):
    """Words that tools print, what they mean, and what to do."""

    pattern: str
    meaning: str


EXPLANATIONS = (
    Explanation(
        r"RendezvousTimeoutError",
        "torchrun waited for the other nodes, and not all came within its join timeout (600 s unless --rdzv-conf says "
        "join_timeout=…). Start torchrun on every node, with the same --nnodes, --rdzv-id and --rdzv-endpoint; look "
        "into the output of the nodes that are missing; srun dcrnn-fast doctor --all-ranks names them.",
    ),
    Explanation(
        r"Timed out after [0-9]+ seconds waiting for clients\. ([0-9]+/[0-9]+) clients joined",
        "torchrun with --master-addr waited for the other nodes' torchruns; the numbers say how many of all came. "
        "Start one on every node with its own --node-rank and the same --nnodes, --master-addr and --master-port.",
    ),
    Explanation(
        r"RendezvousConnectionError|The connection to the C10d store has failed",
        "torchrun found nobody at --rdzv-endpoint. It must name the machine of one of the nodes, by a name or address "
        "that all others can reach, and a free port that no firewall closes.",
    ),
    Explanation(
        r"EADDRINUSE|[Aa]ddress already in use",
        "another process has the port: another job on the machine, or one that was not stopped. Leave MASTER_PORT and "
        "--rdzv-endpoint's port to be chosen (srun and mpirun: unset MASTER_PORT; one node: torchrun --standalone), or "
        "give another one. doctor --all-ranks says who has it.",
    ),
    Explanation(
        r"Duplicate GPU detected",
        "two ranks of a machine compute on one GPU: start as many ranks as there are GPUs, and give each its own "
        "LOCAL_RANK, or --gpus-per-task=1.",
    ),
    Explanation(
        r"Signal 9 \(SIGKILL\)|oom-kill event|oom_kill|Out Of Memory|OUT_OF_MEMORY",
        "a process was killed: mostly for its memory. Ask for more (--mem), or lower --batch-size; --resume auto goes "
        "on from the last checkpoint.",
    ),
    Explanation(
        r"DUE TO TIME LIMIT|CANCELLED AT .* DUE TO",
        "the time limit of the job ended it. The same command with --resume auto goes on; ask for --signal=B:USR1@120, "
        "as our scripts do, and the run saves before the end.",
    ),
    Explanation(
        r"exitcode\s*:\s*85\b|Exit(ed with exit)? code 85|exit code: 85",
        "a signal asked the run to stop, and everything was saved: the same command with --resume auto goes on.",
    ),
    Explanation(
        r"Watchdog caught collective operation timeout|collective operation timeout",
        "a rank waited for another one in a sum of gradients until --dist-timeout. The rank that is missing from the "
        "recorder's files (/tmp/nccl_trace_rank_*) or whose output ended first is the cause.",
    ),
    Explanation(
        r"Connection (reset|closed) by peer|Connection refused",
        "another rank, or rank 0's machine, went away: its own output says why. It is seldom the network.",
    ),
)


def explained(path: Path) -> list[str]:
    """For each known message of a job's output the first line that has it, and what it means; none: [].

    Of a file over 32 MiB the end is read.

    Raises:
        UserError: the file is missing or cannot be read.
    """
    with naming_file(path), open(path, "rb") as stream:
        stream.seek(0, 2)
        stream.seek(max(0, stream.tell() - _MOST_BYTES))
        text = stream.read().decode(errors="replace")
    said = []
    for one in EXPLANATIONS:
        if found := re.search(one.pattern, text):
            start, end = text.rfind("\n", 0, found.start()) + 1, text.find("\n", found.end())
            line = "".join(letter for letter in text[start : end if end >= 0 else None] if letter.isprintable())
            number = text.count("\n", 0, found.start()) + 1
            said.append(f"line {number}: {line.strip()[:160]}\n  {one.meaning}")
    return said
