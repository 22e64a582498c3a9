"""Slurm's lists of hosts and tasks; what ``scontrol`` itself makes of them stands beside."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcrnn_fast.ranks.slurm_lists import host_names, tasks_per_node

# (list, what Slurm 22.05's `scontrol show hostnames` prints)
OF_SLURM = [
    ("n[1-2]", "n1 n2"),
    ("a[1-2]b[3-4]", "a1b3 a1b4 a2b3 a2b4"),
    ("rack[0-1]node[08-09,11]", "rack0node08 rack0node09 rack0node11 rack1node08 rack1node09 rack1node11"),
    ("a[1,3-4]", "a1 a3 a4"),
    ("a,,b", "a b"),
    ("a[9-11]", "a9 a10 a11"),
    ("a[09-11]", "a09 a10 a11"),
    ("", ""),
    ("tux[0-1][2-3]", "tux02 tux03 tux12 tux13"),
    ("a[1-2],a1", "a1 a2 a1"),
    ("a[01,1]", "a01 a1"),
    ("login-1.site.org,gpu[007-008]", "login-1.site.org gpu007 gpu008"),
]


@pytest.mark.parametrize(("short", "names"), OF_SLURM)
def test_hosts_are_those_that_slurm_prints(short: str, names: str) -> None:
    assert host_names(short) == names.split()


def test_newer_slurms_have_a_suffix() -> None:
    assert host_names("a[1-2]-ib0,b") == ["a1-ib0", "a2-ib0", "b"]


@pytest.mark.parametrize(
    "short", ["a[3-1]", "a[1-2", "a1]", "a[]", "a[x]", "a[0-99999999]", "a[1-300][1-300]", "a b", "a[1-2-3]"]
)
def test_a_list_that_is_none_is_refused(short: str) -> None:
    with pytest.raises(ValueError, match="host"):
        host_names(short)


@given(st.lists(st.tuples(st.from_regex(r"[a-z]{1,5}", fullmatch=True), st.integers(0, 200), st.integers(0, 20))))
def test_ranges_count_up(parts: list[tuple[str, int, int]]) -> None:
    short = ",".join(f"{name}[{first:03}-{first + more:03}]" for name, first, more in parts)
    assert host_names(short) == [
        f"{name}{number:03}" for name, first, more in parts for number in range(first, first + more + 1)
    ]


@given(st.text(alphabet="ab[]0129-,x() ", max_size=12))
def test_any_text_is_a_list_or_refused(text: str) -> None:
    for read in (host_names, tasks_per_node):
        with suppress(ValueError):
            assert read(text) is not None


@pytest.mark.parametrize(("short", "tasks"), [("4", [4]), ("2(x3),1", [2, 2, 2, 1]), ("3,1", [3, 1])])
def test_tasks_of_each_node(short: str, tasks: list[int]) -> None:
    assert tasks_per_node(short) == tasks


@pytest.mark.parametrize("short", ["", "x", "2(x", "2(x99999)", "-1", "2,,3"])
def test_numbers_of_tasks_that_are_none_are_refused(short: str) -> None:
    with pytest.raises(ValueError, match="tasks"):
        tasks_per_node(short)
