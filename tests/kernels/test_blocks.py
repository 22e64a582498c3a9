"""The rules of block sizes: what they come to for every kernel, and that none of them is dead."""

import csv
from pathlib import Path

import pytest

from dcrnn_fast.kernels.gpu.blocks import RULES, Blocks, rule_for

pytestmark = pytest.mark.gpu_kernels

RESOLVED = Path(__file__).parent / "block_sizes.csv"
# How terms come about: by tiles, by tiles whose unions take more than one chunk, before the kernel.
DIFFUSED = {"tile": (True, False), "chunks": (True, True), "before": (False, False)}


def test_the_rules_come_to_the_sizes_that_were_compiled_and_timed_and_each_is_reached() -> None:
    """A size that changes must be compiled offline, and timed, before its row here is changed."""
    reached = set()
    with RESOLVED.open(newline="") as file:
        for row in csv.DictReader(file):
            kernel, arch, precision, channels, units, diffused, *sizes = row.values()
            fused, chunked = DIFFUSED[diffused]
            rule = rule_for(kernel, int(arch), precision, int(channels), int(units), fused=fused, chunked=chunked)
            assert rule.blocks == Blocks(*map(int, sizes)), row
            reached.add(rule)
    assert [rule for rule in RULES if rule not in reached] == []


def test_widths_are_classes_of_channels_and_units() -> None:
    for channels, units, same_as in ((16, 1, 2), (17, 64, 64), (64, 16, 64), (2, 65, 128), (65, 64, 128)):
        for chunked in (False, True):
            got = rule_for("convolve", 80, "tf32x3", channels, units, chunked=chunked)
            wanted = rule_for("convolve", 80, "tf32x3", same_as, 128 if same_as == 128 else 64, chunked=chunked)
            assert got is wanted, (channels, units, chunked)
