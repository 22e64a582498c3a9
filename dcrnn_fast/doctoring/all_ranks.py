"""``dcrnn-fast doctor --all-ranks``, under any launcher."""

import json
import time
from contextlib import suppress
from typing import Any

from dcrnn_fast.device import choose_device, choose_threads
from dcrnn_fast.doctoring.clocks import skew_of
from dcrnn_fast.doctoring.compare import details, findings, notes, table
from dcrnn_fast.doctoring.network import own_address_of, port_words, reach
from dcrnn_fast.doctoring.one_rank import facts_of_rank
from dcrnn_fast.errors import ToldElsewhereError, UserError
from dcrnn_fast.ranks.environment import Launch, enter
from dcrnn_fast.ranks.group import Ranks, join_ranks
from dcrnn_fast.ranks.stopping import StopRequest, stop_on_signals


def examine_all(timeout: int, *, as_json: bool) -> int:
    """Prints all ranks' facts on rank 0, and returns the exit code of every rank: 1 if something is broken.

    Args:
        timeout: seconds to wait for the other ranks.
    Raises:
        UserError: the launcher's variables cannot be.
    """
    with stop_on_signals() as stop:  # a launcher ends all ranks once one has ended, and rank 0 must live to print
        return _examine_all(timeout, stop, as_json=as_json)


def _examine_all(timeout: int, stop: StopRequest, *, as_json: bool) -> int:
    launch = enter()
    own = facts_of_rank(launch) | {"clock": {"ahead": 0.0, "round_trip": 0.0}}
    began = time.monotonic()
    try:
        ranks = join_ranks(timeout, lambda: stop.requested, launch)
    except ToldElsewhereError:
        return 1
    except UserError as error:
        own["broken"] += [str(error), *_why_alone(launch)]
        _show([own], [], "the ranks did not meet; this is what one of them finds", as_json=as_json)
        return 1
    met = "one process: start it under srun, mpirun or torchrun to see them all"
    if launch.world > 1:
        met = f"{launch.world} ranks, started by {launch.launcher}, met in {time.monotonic() - began:.1f} s"
    with ranks.reporting_failure():
        return 1 if _compare(ranks, own, met, as_json=as_json) else 0


def _compare(ranks: Ranks, own: dict[str, Any], met: str, *, as_json: bool) -> list[str]:
    own["clock"] = skew_of(ranks)._asdict()
    if ranks.cores is not None:
        threads = choose_threads(None, ranks.cores, launcher_sets_one=ranks.launcher_sets_one_thread)
        own |= {"cores": ranks.cores, "threads": threads}
    broken_here = own["broken"]
    first_look = ranks.exchange("telling each other what they are", broken_here)
    if not any(first_look) and (problem := _sum_once(ranks)):
        broken_here.append(problem)
    everything = ranks.exchange("comparing what they are", own)
    broken = findings(everything)
    if ranks.is_first:
        _show(everything, broken, met, as_json=as_json)
    ranks.exchange("reading what rank 0 prints", "")
    return broken


def _sum_once(ranks: Ranks) -> str:
    """Opens the connections that gradients travel over, and sums once; what is wrong, or ""."""
    try:
        ranks.connect(choose_device("auto", ranks.local_rank), int(ranks.patience))
        ones = ranks.sum_integers(1)[0]
    except UserError as error:
        return str(error)
    return "" if ones == ranks.world else f"a sum over {ranks.world} ranks gave {ones}"


def _why_alone(launch: Launch) -> list[str]:
    """What this rank sees of the meeting place."""
    port = launch.ports[0]
    if launch.rank == 0 and not launch.agent_serves:
        host = launch.hosts[0]
        if len(launch.hosts) == 1 and not own_address_of(host):
            return [f"MASTER_ADDR {host} is none of this machine's addresses: it must be the machine of rank 0"]
        return []
    said = [sentence for host in launch.hosts[:4] if (sentence := reach(host, port))]
    if any(own_address_of(host) for host in launch.hosts):
        said.append(port_words(port))
    return said


def _show(everything: list[dict[str, Any]], broken: list[str], met: str, *, as_json: bool) -> None:
    broken = broken or findings(everything)
    said = notes(everything)
    if as_json:
        print(json.dumps({"met": met, "ranks": everything, "notes": said, "broken": broken}, indent=1), flush=True)
        return
    lines = [met, "", *table(everything), ""]
    shown: dict[str, list[str]] = {}
    for one in everything:
        shown.setdefault("\n".join(f"  {line}" for line in details(one)), []).append(str(one["rank"]))
    for words, those in shown.items():
        lines += [f"rank {', '.join(those[:8])}{' and more' if len(those) > 8 else ''}:", words]
    lines += ["", *(f"note: {note}" for note in said)] if said else []
    lines += ["", *(f"BROKEN: {sentence}" for sentence in broken)] if broken else ["", "nothing is broken"]
    with suppress(BrokenPipeError):
        print("\n".join(lines), flush=True)
