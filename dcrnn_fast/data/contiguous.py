"""The order of ``--reading contiguous``: the windows of a batch lie in stretches that all go forward together.

The training windows are divided into 64 stretches of equal length. Each is gone through from a random place on,
shuffled within a buffer of 64 windows, and the epoch takes one window of each stretch in turn. A batch is divided over
the ranks in time order. So each rank reads its own part of the series, and of that the same rows again soon: they come
from memory, not from the disk. The order knows nothing of ranks, like the shuffled one: any number of them may go on.
"""

import numpy as np

STRETCHES = 64
"""a power of two"""
BUFFER = 64
"""windows"""


def contiguous_order(num_windows: int, seed: int, epoch: int) -> np.ndarray:
    """(num_windows,) int64: a permutation that is a pure function of its arguments.

    Within any 64 places of the order from a multiple of 64 on, but the last, each stretch comes once; within any 2^k
    from a multiple of 2^k on, each 2^k-th part of the windows.
    """
    draws = np.random.PCG64(np.random.SeedSequence([seed, epoch, STRETCHES]))
    borders = num_windows * np.arange(STRETCHES + 1) // STRETCHES
    rounds = int(np.diff(borders).max(initial=0))
    order_RL = np.full((rounds, STRETCHES), -1, dtype=np.int64)
    for stretch in range(STRETCHES):
        first, count = int(borders[stretch]), int(borders[stretch + 1] - borders[stretch])
        if count:
            start = int(draws.random_raw()) % count
            place_W = np.arange(count) + _fractions(draws, count) * BUFFER
            order_RL[:count, stretch] = first + (start + place_W.argsort(kind="stable")) % count
    # The stretches' numbers with their bits reversed: neighbours in a round lie far apart. Each round flips other bits.
    turn_RL = _reversed_bits()[None, :] ^ (draws.random_raw(rounds).astype(np.int64) % STRETCHES)[:, None]
    order = np.take_along_axis(order_RL, turn_RL, axis=1).ravel()
    return order[order >= 0]


def _fractions(draws: np.random.PCG64, count: int) -> np.ndarray:
    """Numbers in [0, 1)."""
    return (draws.random_raw(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _reversed_bits() -> np.ndarray:
    bits = STRETCHES.bit_length() - 1
    numbers = np.arange(STRETCHES)
    return np.sum([((numbers >> bit) & 1) << (bits - 1 - bit) for bit in range(bits)], axis=0)
