"""Public function of the DCRNN encoder-decoder.

Shape legend: B batch, P past steps, F future steps, N nodes, C input channels, O output channels, K known channels,
H units, L layers, M diffusion terms.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dcrnn_fast.kernels.checks import require_layers, require_nodes, require_shape
from dcrnn_fast.kernels.dcrnn_seq2seq.cpu import dcrnn_seq2seq_cpu
from dcrnn_fast.kernels.dcrnn_seq2seq.gpu import dcrnn_seq2seq_cuda, dcrnn_seq2seq_triton
from dcrnn_fast.kernels.dcrnn_seq2seq.manual import dcrnn_seq2seq_manual
from dcrnn_fast.kernels.dcrnn_seq2seq.specification import dcrnn_seq2seq_specification
from dcrnn_fast.kernels.operator import in_order_of_speed, run
from dcrnn_fast.kernels.terms import DiffusionTerms
from dcrnn_fast.kernels.weights import CellWeights

IMPLEMENTATIONS = in_order_of_speed(
    cpu=dcrnn_seq2seq_cpu,
    triton=dcrnn_seq2seq_triton,
    cuda=dcrnn_seq2seq_cuda,
    manual=dcrnn_seq2seq_manual,
    specification=dcrnn_seq2seq_specification,
)


def dcrnn_seq2seq(
    x_BPNC: Tensor,
    terms: DiffusionTerms,
    encoder: Sequence[CellWeights],
    decoder: Sequence[CellWeights],
    projection_weight_OH: Tensor,
    projection_bias_O: Tensor,
    *,
    future_steps: int,
    labels_BFNO: Tensor | None = None,
    feed_label_F: Tensor | None = None,
    known_BFNK: Tensor | None = None,
    backend: str = "auto",
    save: str = "all",
    precision: str = "exact",
) -> Tensor:
    """The DCRNN encoder-decoder (Li et al. 2018, section 2.3, as the released code has it).

    The encoder starts from zeros; its last states start the decoder, whose first input is zeros and whose next inputs
    are its own predictions, or labels if scheduled sampling chose them. Gradients go through fed-back predictions.
    Beside these, the decoder can read what is known of the forecast's steps, which the released code has not.

    Args:
        x_BPNC: scaled inputs.
        terms: the graph's M operators, float32, or float64 when x is.
        encoder, decoder: L cells each, in x's dtype; the encoder's first takes C channels, the decoder's first O+K:
            what is fed back, then what is known.
        projection_weight_OH, projection_bias_O: from the last layer's state to the prediction.
        future_steps: F.
        labels_BFNO: scaled labels; needed with ``feed_label_F``.
        feed_label_F: bool, on x's device; if [t] is true, step t+1 reads label t, not prediction t. If omitted, never.
        known_BFNK: scaled known inputs; the decoder's step t reads [:, t], the first step too. Without channels, or
            omitted: the decoder reads what is fed back alone.
        backend: "auto", or one to insist on.
        save: what the forward keeps for the backward. "all": h, r, u and c of every step; "h": the states alone, a
            quarter of that; "segments:K": the states after every K-th step. The backward computes the rest again, to
            the same bits, unless PyTorch multiplies many steps at once on a GPU; there, weights' gradients are
            summed in another order. ``manual`` and ``specification`` take "all" only.
        precision: "exact", or "bf16x3": float32 products are made of three to six bfloat16 ones if the CPU has AMX
            (max error at most 1e-5 of max value; elsewhere exact, as ``dcrnn_fast.explain`` then prints).

    Returns:
        Scaled prediction_BFNO in x's dtype (under autocast: in autocast's).

    Raises:
        ValueError: shapes disagree, labels or coins without the other, or an unknown backend, save or
            precision.
        TypeError: dtypes disagree.
        NotImplementedError: the named backend cannot run here, or not with this ``save``; the message gives the reason.
    """
    op = "dcrnn_seq2seq"
    require_nodes(op, "x", x_BPNC, 4, terms)
    B, P, N, C = x_BPNC.shape
    if P == 0 or future_steps < 1:
        raise ValueError(f"{op}: needs at least one past and one future step, got {P} and {future_steps}")
    H = require_layers(op, "encoder", encoder, C, terms)
    O = projection_bias_O.shape[-1]  # noqa: E741
    require_shape(op, "projection_weight", projection_weight_OH, (O, H))
    require_shape(op, "projection_bias", projection_bias_O, (O,))
    K = 0
    if known_BFNK is not None:
        require_shape(op, "known", known_BFNK, (B, future_steps, N, None))
        K = known_BFNK.shape[3]
    if require_layers(op, "decoder", decoder, O + K, terms) != H or len(decoder) != len(encoder):
        raise ValueError(f"{op}: the decoder must have the encoder's {len(encoder)} layers of {H} units")
    if (labels_BFNO is None) != (feed_label_F is None):
        raise ValueError(f"{op}: labels and feed_label go together, got only one of them")
    if labels_BFNO is None or feed_label_F is None:
        labels_BFNO = x_BPNC.new_zeros(()).expand(B, future_steps, N, O)
        feed_label_F = x_BPNC.new_zeros(future_steps, dtype=torch.bool)
    require_shape(op, "labels", labels_BFNO, (B, future_steps, N, O))
    require_shape(op, "feed_label", feed_label_F, (future_steps,))
    if feed_label_F.dtype != torch.bool:
        raise TypeError(f"{op}: feed_label must be torch.bool, got {feed_label_F.dtype}")
    known = {} if known_BFNK is None or K == 0 else {"known": known_BFNK}
    prediction_BFNO: Tensor = run(
        op,
        IMPLEMENTATIONS,
        backend,
        x_BPNC,
        terms,
        {
            "encoder": encoder,
            "decoder": decoder,
            "projection_weight": projection_weight_OH,
            "projection_bias": projection_bias_O,
            "labels": labels_BFNO,
            "feed_label": feed_label_F,
            **known,
        },
        channels=max(C, O + K),
        units=H,
        precision=precision,
        save=save,
    )
    return prediction_BFNO
