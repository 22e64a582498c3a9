"""Reads one file of golden vectors and rebuilds the reference from it (the format is described beside the files)."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.reference.model import ReferenceDCRNN
from bench.reference.supports import sparse_support


@dataclass(frozen=True)
class GoldenCase:
    """Inputs, weights and results of the public PyTorch port on one small graph; time comes first in tensors."""

    name: str
    config: dict[str, Any]
    arrays: dict[str, NDArray[np.generic]]

    @property
    def supports(self) -> list[NDArray[np.generic]]:
        return [self.arrays[key] for key in sorted(self.arrays) if key.startswith("support/")]

    @property
    def state(self) -> dict[str, Tensor]:
        """The port's state dict."""
        return self._tensors("param/")

    @property
    def gradients(self) -> dict[str, Tensor]:
        return self._tensors("grad/")

    @property
    def labels_scaled(self) -> Tensor:
        return (self.tensor("y") - float(self.arrays["scaler_mean"])) / float(self.arrays["scaler_std"])

    @property
    def feed_label(self) -> list[bool]:
        """One decision for each decoder step."""
        draws = self.arrays["teacher_forcing_draws"]
        threshold = self.arrays["teacher_forcing_threshold"]
        return [bool(draw < threshold) for draw in draws] or [False] * int(self.config["horizon"])

    def tensor(self, key: str) -> Tensor:
        return torch.from_numpy(np.array(self.arrays[key]))

    def unscale(self, scaled: Tensor) -> Tensor:
        return scaled * float(self.arrays["scaler_std"]) + float(self.arrays["scaler_mean"])

    def reference(self, supports: list[NDArray[np.generic]] | None = None) -> ReferenceDCRNN:
        """The reference with this file's weights, on this file's supports unless others are given."""
        model = ReferenceDCRNN(
            [sparse_support(support) for support in (self.supports if supports is None else supports)],
            num_nodes=len(self.arrays["adjacency"]),
            input_channels=self.config["input_dim"],
            output_channels=self.config["output_dim"],
            future_steps=self.config["horizon"],
            hidden_units=self.config["rnn_units"],
            num_layers=self.config["num_rnn_layers"],
            hops=self.config["max_diffusion_step"],
        )
        model.load_state_dict(self.state)
        return model

    def _tensors(self, prefix: str) -> dict[str, Tensor]:
        return {key.removeprefix(prefix): self.tensor(key) for key in self.arrays if key.startswith(prefix)}


def read_golden(path: Path) -> GoldenCase:
    """Reads one ``.npz`` of golden vectors."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files if key != "config"}
        return GoldenCase(path.stem, json.loads(str(archive["config"])), arrays)
