"""DCRNN: the diffusion convolutional recurrent encoder-decoder.

Shape legend: B batch, P past steps, F future steps, N nodes, C input channels, O output channels, K known channels,
H units, L layers.
"""

import torch
from torch import Tensor, nn

from dcrnn_fast.kernels import DiffusionTerms, dcrnn_seq2seq
from dcrnn_fast.model.dcgru_cell import CellParameters
from dcrnn_fast.model.graph_buffers import GraphBuffers


class DCRNN(nn.Module):
    """The model of Li et al. 2018 (section 2.3), as the released code has it.

    Args:
        terms: the graph's diffusion terms.
        input_channels, output_channels: C and O; the decoder reads the O forecast channels back.
        future_steps: F. The number of past steps is the input's.
        hidden_units, num_layers: H and L, the same in encoder and decoder.
        backend: "auto", or one to insist on.
        save, precision: as ``dcrnn_fast.kernels.dcrnn_seq2seq`` has them.
        known_channels: K, channels of the forecast's steps that the decoder reads beside what is fed back; the released
            code has none.
        dtype: of the parameters; left out: PyTorch's default. The terms must be float64 for float64, else float32.
        device: of the parameters ("meta": they are given later, and nothing is drawn); left out: PyTorch's default.
    """

    def __init__(
        self,
        terms: DiffusionTerms,
        *,
        input_channels: int,
        output_channels: int,
        future_steps: int,
        hidden_units: int = 64,
        num_layers: int = 2,
        backend: str = "auto",
        save: str = "all",
        precision: str = "exact",
        known_channels: int = 0,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.input_channels = input_channels
        self.output_channels = output_channels
        self.known_channels = known_channels
        self.future_steps = future_steps
        self.hidden_units = hidden_units
        self.num_layers = num_layers
        self.backend = backend
        self.save = save
        self.precision = precision
        self.diffusion = GraphBuffers(terms)
        M = terms.num_terms
        self.encoder = nn.ModuleList(
            CellParameters(input_channels if layer == 0 else hidden_units, hidden_units, M, dtype, device)
            for layer in range(num_layers)
        )
        self.decoder = nn.ModuleList(
            CellParameters(
                output_channels + known_channels if layer == 0 else hidden_units, hidden_units, M, dtype, device
            )
            for layer in range(num_layers)
        )
        self.projection = nn.Linear(hidden_units, output_channels, dtype=dtype, device=device)
        if device != "meta":
            nn.init.xavier_uniform_(self.projection.weight)
            nn.init.zeros_(self.projection.bias)

    def forward(
        self,
        x_BPNC: Tensor,
        labels_BFNO: Tensor | None = None,
        feed_label_F: Tensor | None = None,
        known_BFNK: Tensor | None = None,
    ) -> Tensor:
        """The scaled forecast (B, F, N, O).

        Args:
            x_BPNC: scaled inputs.
            labels_BFNO, feed_label_F: scaled labels and the coins of scheduled sampling
                (``scheduled_sampling.feed_label_coins``); left out: the decoder reads its own predictions.
            known_BFNK: scaled known inputs of the forecast's steps; a model without known channels takes none.

        Raises:
            ValueError: ``known_BFNK`` is missing, or not of K channels.
            ValueError, TypeError, NotImplementedError: as ``dcrnn_fast.kernels.dcrnn_seq2seq``.
        """
        if (got := 0 if known_BFNK is None else known_BFNK.shape[-1]) != self.known_channels:
            raise ValueError(f"known must have the model's {self.known_channels} known channels, got {got}")
        return dcrnn_seq2seq(
            x_BPNC,
            self.diffusion.terms(),
            [cell.weights() for cell in self.encoder],  # type: ignore[operator]
            [cell.weights() for cell in self.decoder],  # type: ignore[operator]
            self.projection.weight,
            self.projection.bias,
            future_steps=self.future_steps,
            labels_BFNO=labels_BFNO,
            feed_label_F=feed_label_F,
            known_BFNK=known_BFNK,
            backend=self.backend,
            save=self.save,
            precision=self.precision,
        )
