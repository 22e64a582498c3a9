"""The DCRNN encoder-decoder in the compiled CPU kernels: its schema; ``csrc/torch`` implements it.

Shape legend: B batch, P past steps, F future steps, S = P+F, N nodes, C input channels, O output channels, K known
channels, H units, L layers, M diffusion terms.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dcrnn_fast.kernels.dcrnn_seq2seq.gradients import register_gradients
from dcrnn_fast.kernels.operator import register_fake
from dcrnn_fast.kernels.saving import SAVE_ALL, SAVE_NOTHING, gradient_wanted, saved_numbers
from dcrnn_fast.kernels.terms import DiffusionTerms
from dcrnn_fast.kernels.weights import CellWeights, cells_of, flatten_cells

torch.library.define(
    "dcrnn_fast::seq2seq_cpu",
    "(Tensor x_BPNC, Tensor[] terms, SymInt num_terms, Tensor[] encoder, Tensor[] decoder, "
    "Tensor projection_weight_OH, Tensor projection_bias_O, Tensor labels_BFNO, Tensor feed_label_F, SymInt save, "
    "bool bf16x3, Tensor? known_BFNK=None)"
    " -> (Tensor, Tensor)",
)
torch.library.define(
    "dcrnn_fast::seq2seq_cpu_backward",
    "(Tensor grad_BFNO, Tensor x_BPNC, Tensor[] terms, SymInt num_terms, Tensor[] encoder, Tensor[] decoder, "
    "Tensor projection_weight_OH, Tensor labels_BFNO, Tensor feed_label_F, Tensor prediction_BFNO, Tensor saved, "
    "SymInt save, bool x_wanted, bool labels_wanted, bool bf16x3, Tensor? known_BFNK=None, bool known_wanted=False)"
    " -> (Tensor, Tensor[], Tensor[], Tensor, Tensor, Tensor, Tensor)",
)


def _fake_forward(given: dict[str, Any]) -> tuple[Tensor, Tensor]:
    x_BPNC, labels_BFNO, encoder = given["x_BPNC"], given["labels_BFNO"], given["encoder"]
    B, P, N, _ = x_BPNC.shape
    steps, units = P + labels_BFNO.shape[1], given["projection_weight_OH"].shape[1]
    saved = x_BPNC.new_empty(saved_numbers(given["save"], steps, x_BPNC.dtype, B, N, units, len(cells_of(encoder))))
    return x_BPNC.new_empty(labels_BFNO.shape), saved


register_fake("seq2seq_cpu", _fake_forward)
register_gradients("seq2seq_cpu", "grad_BFNO", lambda output: {"prediction_BFNO": output[0], "saved": output[1]})


def dcrnn_seq2seq_cpu(
    x_BPNC: Tensor,
    terms: DiffusionTerms,
    encoder: Sequence[CellWeights],
    decoder: Sequence[CellWeights],
    projection_weight_OH: Tensor,
    projection_bias_O: Tensor,
    labels_BFNO: Tensor,
    feed_label_F: Tensor,
    known_BFNK: Tensor | None = None,
    *,
    segment: int = SAVE_ALL,
    bf16x3: bool = False,
) -> Tensor:
    """``dcrnn_seq2seq`` in the compiled kernels; same contract, with labels and coins given.

    Args:
        segment: the numbers kept for the backward, as ``saving.segment_length`` has it.
        bf16x3: float32 products may be made of three to six bfloat16 ones.
    """
    encoder_flat, decoder_flat = flatten_cells(encoder), flatten_cells(decoder)
    wanted = gradient_wanted(
        x_BPNC, labels_BFNO, projection_weight_OH, projection_bias_O, known_BFNK, *encoder_flat, *decoder_flat
    )
    prediction_BFNO, _ = torch.ops.dcrnn_fast.seq2seq_cpu(
        x_BPNC,
        terms.tensors_with_recursion,
        terms.num_terms,
        encoder_flat,
        decoder_flat,
        projection_weight_OH,
        projection_bias_O,
        labels_BFNO,
        feed_label_F,
        segment if wanted else SAVE_NOTHING,
        bf16x3,
        known_BFNK,
    )
    return prediction_BFNO


def repeated_arguments(
    terms: DiffusionTerms,
    encoder: Sequence[CellWeights],
    decoder: Sequence[CellWeights],
    projection_weight_OH: Tensor,
    projection_bias_O: Tensor,
    *,
    future_steps: int,
    bf16x3: bool,
) -> tuple[Any, ...]:
    """The compiled operator's arguments between x and the known inputs, for forecasts of one window in float32 that
    save nothing and read no label: whoever calls it again and again makes them once. The operator alone checks them.
    """
    labels_BFNO = torch.zeros(()).expand(1, future_steps, terms.num_nodes, projection_bias_O.shape[0])
    feed_label_F = torch.zeros(future_steps, dtype=torch.bool)
    return (
        terms.tensors_with_recursion,
        terms.num_terms,
        flatten_cells(encoder),
        flatten_cells(decoder),
        projection_weight_OH,
        projection_bias_O,
        labels_BFNO,
        feed_label_F,
        SAVE_NOTHING,
        bf16x3,
    )
