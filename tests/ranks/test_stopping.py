"""Signals ask to stop while a run listens, and do what they did before once it is over."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from dcrnn_fast.ranks.stopping import StopRequest, stop_on_signals


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_a_signal_asks_and_the_first_one_is_named(name: str) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
    with stop_on_signals() as stop:
        assert not stop.requested
        os.kill(os.getpid(), getattr(signal, name))
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested
        assert stop.signal_name == name
    assert {number: signal.getsignal(number) for number in before} == before


def test_released_in_the_middle_the_handlers_from_before_are_back() -> None:
    # A shell starts its background jobs with SIGINT ignored, and Python then leaves it so.
    at_start = signal.signal(signal.SIGINT, signal.default_int_handler)
    before = signal.getsignal(signal.SIGINT)
    with stop_on_signals() as stop:
        stop.release()
        assert signal.getsignal(signal.SIGINT) is before
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert not stop.requested
        own = signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert own is before
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN, "released handlers are not put back a second time"
    signal.signal(signal.SIGINT, at_start)


def test_a_second_ctrl_c_interrupts_only_seconds_later(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("dcrnn_fast.ranks.stopping.time.monotonic", lambda: now[0])
    stop = StopRequest()
    stop.handle(signal.SIGINT, None)
    now[0] += 1.0  # torchrun passes the terminal's Ctrl-C on
    stop.handle(signal.SIGINT, None)
    now[0] += 5.0
    stop.handle(signal.SIGTERM, None)
    with pytest.raises(KeyboardInterrupt):
        stop.handle(signal.SIGINT, None)
    assert stop.signal_name == "SIGINT"


def test_outside_the_main_thread_nothing_is_changed() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def listen() -> None:
        with stop_on_signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == [before]


RANK = """
import time
from dcrnn_fast.ranks.stopping import stop_on_signals
with stop_on_signals() as stop:
    print(stop.requested, flush=True)
    while not stop.requested:
        time.sleep(0.01)
    print(stop.signal_name, flush=True)
"""
TORCHRUN = """
import subprocess, sys
subprocess.Popen([*sys.argv[2:], sys.executable, "-c", sys.argv[1]], start_new_session=True).wait()
"""


@pytest.mark.parametrize("between", [[], ["sh", "-c", '"$@"; true', "sh"]])
@pytest.mark.parametrize(
    ("passed_on", "said"),
    [("SIGTERM,SIGINT", "SIGUSR1 or SIGKILL to torchrun"), ("SIGTERM,SIGUSR1", "SIGKILL to torchrun")],
)
def test_the_end_of_torchrun_asks_to_stop(passed_on: str, said: str, between: list[str]) -> None:
    """Also if a script stands between torchrun and the rank."""
    variables = {"TORCHELASTIC_RUN_ID": "x", "TORCHELASTIC_SIGNALS_TO_HANDLE": passed_on}
    torchrun = subprocess.Popen(
        [sys.executable, "-c", TORCHRUN, RANK, *between],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | variables,
    )
    assert torchrun.stdout is not None
    assert torchrun.stdout.readline() == "False\n"
    os.kill(torchrun.pid, signal.SIGUSR1)
    assert torchrun.stdout.read() == f"{said}\n"
    assert torchrun.wait() == -signal.SIGUSR1
