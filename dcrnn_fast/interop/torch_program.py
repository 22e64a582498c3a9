"""A trained model as a ``torch.export`` program of PyTorch's own operators alone, with a dynamic batch.

Shape legend: B batch, P past steps, F future steps, S steps, N nodes, C value channels, O target channels, K known
channels, H units, M diffusion terms, E stored entries.
"""

import io
import warnings

import numpy as np
import torch
from torch import Tensor, nn

from dcrnn_fast.interop.portable import Cell, Diffusion, PortableModel
from dcrnn_fast.interop.raw_form import DAY, THURSDAY, RawForm, scaled_inputs


class _Diffuse(nn.Module):
    """(B, N, C) -> (B, N, M * C), ordered by term."""

    def __init__(self, diffusion: Diffusion) -> None:
        super().__init__()
        self.num_terms, self.steps = diffusion.num_terms, diffusion.steps
        self.dense = diffusion.dense_NMN is not None
        if diffusion.dense_NMN is not None:
            self.register_buffer("matrix", torch.from_numpy(diffusion.dense_NMN))
        for index, support in enumerate(diffusion.supports):
            entries = support.tocoo()
            for name, numbers in (("row", entries.row), ("column", entries.col)):
                self.register_buffer(f"{name}_{index}", torch.from_numpy(numbers.astype(np.int64)))
            self.register_buffer(f"value_{index}", torch.from_numpy(entries.data.astype(np.float32)))

    def forward(self, x_BNC: Tensor) -> Tensor:
        B, N, C = x_BNC.shape
        if self.dense:
            return (self.get_buffer("matrix") @ x_BNC).reshape(B, N, self.num_terms * C)
        terms = {0: x_BNC}
        for step in self.steps:
            row_E, column_E, value_E = (
                self.get_buffer(f"{name}_{step.support}") for name in ("row", "column", "value")
            )
            gathered_BEC = terms[step.source].index_select(1, column_E) * value_E[:, None]
            term = torch.zeros_like(x_BNC).index_add(1, row_E, gathered_BEC)
            if step.scale != 1:
                term = term * step.scale
            terms[step.target] = term if step.minus < 0 else term - terms[step.minus]
        return torch.cat([terms[m] for m in range(self.num_terms)], dim=-1)


class _Cell(nn.Module):
    """A DCGRU step; the diffusion is handed over, to be stored once."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        for name in ("input_weight", "input_bias", "gate_weight", "candidate_weight"):
            self.register_parameter(name, nn.Parameter(torch.from_numpy(getattr(cell, name)), requires_grad=False))

    def forward(self, x_BNC: Tensor, h_BNH: Tensor, diffuse: _Diffuse) -> Tensor:
        H = h_BNH.shape[-1]
        drive_BNG = diffuse(x_BNC) @ self.get_parameter("input_weight") + self.get_parameter("input_bias")
        gates = torch.sigmoid(drive_BNG[..., : 2 * H] + diffuse(h_BNH) @ self.get_parameter("gate_weight"))
        r_BNH, u_BNH = gates[..., :H], gates[..., H:]
        reset = diffuse(r_BNH * h_BNH) @ self.get_parameter("candidate_weight")
        c_BNH = torch.tanh(drive_BNG[..., 2 * H :] + reset)
        return c_BNH + u_BNH * (h_BNH - c_BNH)


class ScaledForecast(nn.Module):
    """Scaled inputs (B, P, N, C), and known ones (B, F, N, K) if there are any, to the scaled forecast (B, F, N, O)."""

    def __init__(self, model: PortableModel) -> None:
        super().__init__()
        self.future_steps, self.hidden_units = model.future_steps, model.hidden_units
        self.output_channels = model.output_channels
        self.diffuse = _Diffuse(model.diffusion)
        self.encoder = nn.ModuleList(_Cell(cell) for cell in model.encoder)
        self.decoder = nn.ModuleList(_Cell(cell) for cell in model.decoder)
        self.projection = nn.Parameter(torch.from_numpy(model.projection_HO), requires_grad=False)
        self.projection_bias = nn.Parameter(torch.from_numpy(model.projection_bias_O), requires_grad=False)

    def forward(self, scaled_inputs: Tensor, known: Tensor | None = None) -> Tensor:
        B, _, N, _ = scaled_inputs.shape
        states = [scaled_inputs.new_zeros(B, N, self.hidden_units) for _ in self.encoder]
        for x_BNC in scaled_inputs.unbind(1):
            states = self._step(self.encoder, x_BNC, states)
        prediction_BNO = scaled_inputs.new_zeros(B, N, self.output_channels)
        predictions = []
        for t in range(self.future_steps):
            x_BNC = prediction_BNO if known is None else torch.cat([prediction_BNO, known[:, t]], dim=-1)
            states = self._step(self.decoder, x_BNC, states)
            prediction_BNO = states[-1] @ self.projection + self.projection_bias
            predictions.append(prediction_BNO)
        return torch.stack(predictions, dim=1)

    def _step(self, cells: nn.ModuleList, x_BNC: Tensor, states: list[Tensor]) -> list[Tensor]:
        after = []
        for cell, h_BNH in zip(cells, states, strict=True):
            x_BNC = cell(x_BNC, h_BNH, self.diffuse)
            after.append(x_BNC)
        return after


class RawForecast(nn.Module):
    """The same from readings and times to original units, with the inputs of ``RawForm.inputs``."""

    def __init__(self, model: PortableModel, raw: RawForm) -> None:
        super().__init__()
        self.scaled, self.raw = ScaledForecast(model), raw
        for name, numbers in (("mean", raw.mean), ("std", raw.std)):
            self.register_buffer(name, torch.from_numpy(np.asarray(numbers, dtype=np.float32)))

    def forward(
        self,
        readings: Tensor,
        times: Tensor | None = None,
        known: Tensor | None = None,
        future_times: Tensor | None = None,
    ) -> Tensor:
        raw = self.raw
        every = list(range(raw.mean.shape[-1]))
        x_BPNC, last_BNC = self._filled(readings, every, torch.zeros_like(readings[:, 0]))
        if times is not None:
            x_BPNC = torch.cat([x_BPNC, self._time_channels(times)], dim=-1)
        parts = []
        if known is not None:
            parts.append(self._filled(known, list(raw.known), last_BNC[..., list(raw.known)])[0])
        if future_times is not None:
            parts.append(self._time_channels(future_times))
        scaled_BFNO = self.scaled(x_BPNC, torch.cat(parts, dim=-1) if parts else None)
        targets = list(raw.targets)
        forecast = scaled_BFNO * self.get_buffer("std")[..., targets] + self.get_buffer("mean")[..., targets]
        return forecast if raw.at_least is None else forecast.clamp(min=raw.at_least)

    def _filled(self, values: Tensor, channels: list[int], before_BNC: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled readings (B, S, N, C) with the rule for missing ones, and the last observed ones (B, N, C)."""
        raw = self.raw
        mean, std = self.get_buffer("mean")[..., channels], self.get_buffer("std")[..., channels]
        if raw.missing == "none":
            return (values - mean) / std, before_BNC
        gaps = values.isnan()
        for value in (*((0.0,) if raw.missing == "zero" else ()), *raw.missing_value):
            gaps = gaps | (values == value)
        if raw.missing_input == "zero":
            return (torch.where(gaps, torch.zeros_like(values), values) - mean) / std, before_BNC
        scaled = (values - mean) / std
        if raw.missing_input == "mean":
            return torch.where(gaps, torch.zeros_like(scaled), scaled), before_BNC
        filled = []
        for t in range(values.shape[1]):
            before_BNC = torch.where(gaps[:, t], before_BNC, scaled[:, t])
            filled.append(before_BNC)
        return torch.stack(filled, dim=1), before_BNC

    def _time_channels(self, seconds_BS: Tensor) -> Tensor:
        """(B, S, N, D): the fraction of the day, then one-hot days from Monday."""
        raw, parts = self.raw, []
        second_BS = seconds_BS % DAY
        if raw.time_of_day:
            parts.append((second_BS.double() / DAY).float()[..., None])
        if raw.day_of_week:
            weekday_BS = ((seconds_BS - second_BS) // DAY + THURSDAY) % 7
            parts.append((weekday_BS[..., None] == torch.arange(7)).float())
        channels_BSD = torch.cat(parts, dim=-1)
        return channels_BSD[:, :, None, :].expand(-1, -1, raw.num_nodes, -1)


def torch_program(model: PortableModel, raw: RawForm | None, metadata: dict[str, str]) -> bytes:
    """The file of ``torch.export.save``; ``metadata`` are texts beside the program (``extra_files``)."""
    wanted = scaled_inputs(model) if raw is None else raw.inputs()
    module: nn.Module = ScaledForecast(model) if raw is None else RawForecast(model, raw)
    batch = torch.export.Dim("batch", min=1)
    examples, shapes = {}, {}
    for name, (kind, (_, *shape)) in wanted.items():
        examples[name] = torch.zeros(2, *shape, dtype=getattr(torch, kind))  # of one, a batch would stay one
        shapes[name] = {0: batch}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch about its own parts
        program = torch.export.export(module.eval(), (), kwargs=examples, dynamic_shapes=shapes)
        stream = io.BytesIO()
        torch.export.save(program, stream, extra_files=dict(metadata))
    return stream.getvalue()
