"""A process is told apart from others with its number, on this machine and on others."""

import os
import socket
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcrnn_fast.process import Process, parent_of, this_process


def test_this_process_lives_and_one_with_its_number_does_not() -> None:
    me = this_process()
    assert (me.pid, me.host) == (os.getpid(), socket.gethostname())
    assert me.can_be_seen
    assert me.lives()
    assert Process.from_dict(me.to_dict()) == me
    assert not replace(me, started=me.started - 1).lives(), "an earlier process that had this number"
    assert not replace(me, pid=0).lives()
    assert not replace(me, pid=-1).lives(), "a number that would be all processes"
    assert str(me) == f"process {os.getpid()} on {socket.gethostname()}"


def test_elsewhere_nothing_is_seen() -> None:
    me = this_process()
    assert not replace(me, host="elsewhere").can_be_seen
    assert not replace(me, system=me.system + "x").can_be_seen, "restarted since, or another container"


def test_a_process_that_has_ended_does_not_live_even_if_its_parent_has_not_noticed() -> None:
    code = "from dcrnn_fast.process import this_process; print(this_process().to_dict(), flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    found = Process.from_dict(eval(child.stdout.readline()))
    assert found.lives()
    assert parent_of(found.pid) == os.getpid()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended; this parent has not taken its exit code yet
    assert not found.lives()
    child.communicate()
    assert not found.lives()
    assert parent_of(found.pid) == 0


VALUES = st.none() | st.integers() | st.text(max_size=4) | st.lists(st.integers(), max_size=2) | st.booleans()


@given(st.dictionaries(st.sampled_from(["host", "system", "pid", "started"]), VALUES) | VALUES)
def test_any_other_content_is_no_process(content: object) -> None:
    try:
        found = Process.from_dict(content)
    except ValueError:
        return
    assert found.to_dict() == content
    with pytest.raises(ValueError, match="no process"):
        Process.from_dict({**found.to_dict(), "pid": True})
