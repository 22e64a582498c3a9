"""The DCRNN encoder-decoder in the compiled CPU kernels: schema, fakes and autograd; ``csrc/torch`` implements it.

Shape legend: B batch, P past steps, F future steps, S = P+F, N nodes, C input channels, O output channels, H units,
L layers, M diffusion terms.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dcrnn_fast.kernels.checks import refuse_second_derivatives
from dcrnn_fast.kernels.dcrnn_seq2seq.gradients import empty_gradients, input_gradients, wanted_inputs
from dcrnn_fast.kernels.operator import call_backward, keep, kept, only_for_the_backward
from dcrnn_fast.kernels.saving import SAVE_ALL, SAVE_NOTHING, gradient_wanted, saved_numbers
from dcrnn_fast.kernels.terms import DiffusionTerms
from dcrnn_fast.kernels.weights import CellWeights, cells_of, flatten_cells

OP = "dcrnn_fast::seq2seq_cpu"
BACKWARD = "dcrnn_fast::seq2seq_cpu_backward"

torch.library.define(
    OP,
    "(Tensor x_BPNC, Tensor[] terms, SymInt num_terms, Tensor[] encoder, Tensor[] decoder, "
    "Tensor projection_weight_OH, Tensor projection_bias_O, Tensor labels_BFNO, Tensor feed_label_F, SymInt save, "
    "bool bf16x3)"
    " -> (Tensor, Tensor)",
)
torch.library.define(
    BACKWARD,
    "(Tensor grad_BFNO, Tensor x_BPNC, Tensor[] terms, SymInt num_terms, Tensor[] encoder, Tensor[] decoder, "
    "Tensor projection_weight_OH, Tensor labels_BFNO, Tensor feed_label_F, Tensor prediction_BFNO, Tensor saved, "
    "SymInt save, bool x_wanted, bool labels_wanted, bool bf16x3)"
    " -> (Tensor, Tensor[], Tensor[], Tensor, Tensor, Tensor)",
)


@torch.library.register_fake(OP)
def _(
    x_BPNC: Tensor,
    terms: list[Tensor],
    num_terms: int,
    encoder: list[Tensor],
    decoder: list[Tensor],
    projection_weight_OH: Tensor,
    projection_bias_O: Tensor,
    labels_BFNO: Tensor,
    feed_label_F: Tensor,
    save: int,
    bf16x3: bool,
) -> tuple[Tensor, Tensor]:
    B, P, N, _ = x_BPNC.shape
    steps, units = P + labels_BFNO.shape[1], projection_weight_OH.shape[1]
    saved = x_BPNC.new_empty(saved_numbers(save, steps, x_BPNC.dtype, B, N, units, len(cells_of(encoder))))
    return x_BPNC.new_empty(labels_BFNO.shape), saved


@torch.library.register_fake(BACKWARD)
def _(
    grad_BFNO: Tensor,
    x_BPNC: Tensor,
    terms: list[Tensor],
    num_terms: int,
    encoder: list[Tensor],
    decoder: list[Tensor],
    projection_weight_OH: Tensor,
    labels_BFNO: Tensor,
    feed_label_F: Tensor,
    prediction_BFNO: Tensor,
    saved: Tensor,
    save: int,
    x_wanted: bool,
    labels_wanted: bool,
    bf16x3: bool,
) -> tuple[Tensor, list[Tensor], list[Tensor], Tensor, Tensor, Tensor]:
    return empty_gradients(x_BPNC, encoder, decoder, projection_weight_OH, labels_BFNO, x_wanted, labels_wanted)


def _setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    keep(ctx, "seq2seq_cpu", inputs, without=["projection_bias_O"], prediction_BFNO=output[0], saved=output[1])
    only_for_the_backward(ctx, output[1:])


def _gradient(ctx, grad_BFNO, _):  # type: ignore[no-untyped-def]
    found, wanted = kept(ctx), wanted_inputs(ctx)
    if grad_BFNO is None:
        grad_BFNO = torch.zeros_like(found["prediction_BFNO"], memory_format=torch.contiguous_format)
    gradients = call_backward("seq2seq_cpu", found, grad_BFNO=grad_BFNO, **wanted)
    return input_gradients(gradients, len(found["terms"]), **wanted)


torch.library.register_autograd(OP, _gradient, setup_context=_setup)
refuse_second_derivatives(BACKWARD)


def dcrnn_seq2seq_cpu(
    x_BPNC: Tensor,
    terms: DiffusionTerms,
    encoder: Sequence[CellWeights],
    decoder: Sequence[CellWeights],
    projection_weight_OH: Tensor,
    projection_bias_O: Tensor,
    labels_BFNO: Tensor,
    feed_label_F: Tensor,
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
    wanted = gradient_wanted(x_BPNC, labels_BFNO, projection_weight_OH, projection_bias_O, *encoder_flat, *decoder_flat)
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
    )
    return prediction_BFNO
