"""Scheduled sampling: when the decoder reads the label and when its own prediction (Li et al. 2018, section 2.3).

The coins are a pure function of (seed, optimiser step): the same on every rank, for every micro-batch of a step, and
after a resume.
"""

import math

import numpy as np
import torch
from torch import Tensor


def label_probability(step: int, decay: float) -> float:
    """k / (k + exp(i / k)) for optimiser step i and decay k: about 1 at first, 0 in the end.

    ``exp`` alone overflows past i/k = 709; divided through by it, the formula goes to 0 quietly.
    """
    return decay * math.exp(-step / decay) / (decay * math.exp(-step / decay) + 1.0)


def feed_label_coins(seed: int, step: int, future_steps: int, decay: float) -> Tensor:
    """(F) bool: after decoder step t, whether the next input is the label. One coin a batch and step, as released."""
    draws_F = np.random.Generator(np.random.Philox(key=[seed, step])).random(future_steps)
    return torch.from_numpy(draws_F < label_probability(step, decay))
