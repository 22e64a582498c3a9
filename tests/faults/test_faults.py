"""Few faults of each kind; ``python -m tests.faults`` counts many."""

from pathlib import Path

import pytest
import torch

from tests.faults import bits, disks, kills, parts, reads, scene
from tests.faults.forked import call

pytestmark = pytest.mark.prove
# Another answer: of a plausible value, which nobody can tell from a true one.
RIGHT = {"changed", "one line", "same answer", "other answer"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scene; its autograd threads live in processes that are gone."""
    folder = tmp_path_factory.mktemp("scene")
    torch.set_num_threads(1)
    scene.build(folder)
    return folder


def test_every_flipped_bit_is_noticed(files: Path) -> None:
    for name, counts in bits.measure(files, 40, 0).items():
        assert (counts["noticed"], counts["tracebacks"]) == (counts["bits"], 0), name


def test_a_checkpoint_that_is_being_replaced_is_read_whole(files: Path) -> None:
    counts = reads.measure(files, 60, 0)["latest.pt, best.pt"]
    assert (counts["called damaged"], counts["noted or older"]) == (0, 0)


def test_a_changed_part_is_refused_in_one_line_or_changes_nothing(files: Path) -> None:
    found = parts.measure(files, 60, 1)
    assert {name: counts for name, counts in found.items() if any(counts[bad] for bad in counts.keys() - RIGHT)} == {}


def test_a_hundred_killed_runs_end_in_the_same_bits() -> None:
    """Five ways of twenty; with the checkpoint of every third step being written, the one before may be the last."""
    for name, counts in kills.measure(20, 0).items():
        print(name, counts)
        assert (counts["runs with other bits"], counts["resumes that lost a saved step"]) == (0, 0), name
        assert counts["kills"] >= 20
        assert counts["most steps lost"] < 2 * kills.WAYS[name].every + 1, name


def test_a_full_disk_costs_no_file(files: Path) -> None:
    for name, counts in disks.measure(files, 1, 0).items():
        tried = counts["full disks"]
        assert (counts["one line"], counts["old files whole"], counts["temporary files left"]) == (tried, tried, 0), (
            name
        )


def test_a_command_that_hangs_is_late(tmp_path: Path) -> None:
    outcome = call(lambda: __import__("time").sleep(60), tmp_path, seconds=0.2)
    assert outcome.late
    assert not outcome.one_line
