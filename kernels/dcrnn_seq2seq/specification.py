"""The specification of the DCRNN encoder-decoder (Li et al. 2018, section 2.3, as the released code has it).

Shape legend: B batch, P past steps, F future steps, N nodes, C input channels, O output channels, K known channels,
H units, L layers.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dcrnn_fast.kernels.dcgru_sequence.specification import dcgru_sequence_specification, step_specification
from dcrnn_fast.kernels.terms import DiffusionTerms
from dcrnn_fast.kernels.weights import CellWeights


def dcrnn_seq2seq_specification(
    x_BPNC: Tensor,
    terms: DiffusionTerms,
    encoder: Sequence[CellWeights],
    decoder: Sequence[CellWeights],
    projection_weight_OH: Tensor,
    projection_bias_O: Tensor,
    labels_BFNO: Tensor,
    feed_label_F: Tensor,
    known_BFNK: Tensor | None = None,
) -> Tensor:
    """``dcrnn_seq2seq`` in plain PyTorch; same contract, with labels and coins given."""
    B, _, N, _ = x_BPNC.shape
    H = encoder[0].candidate_bias.shape[0]
    initial_LBNH = x_BPNC.new_zeros(len(encoder), B, N, H)
    _, states_LBNH = dcgru_sequence_specification(x_BPNC, terms, encoder, initial_LBNH)
    states = list(states_LBNH.unbind(0))
    fed_BNO = x_BPNC.new_zeros(B, N, projection_bias_O.shape[0])
    predictions = []
    for t in range(feed_label_F.shape[0]):
        x_BND = fed_BNO if known_BFNK is None else torch.cat([fed_BNO, known_BFNK[:, t]], dim=-1)
        states = step_specification(x_BND, states, terms, decoder)
        prediction_BNO = states[-1] @ projection_weight_OH.T + projection_bias_O
        predictions.append(prediction_BNO)
        # Not detached: the gradient goes on through the fed-back prediction.
        fed_BNO = torch.where(feed_label_F[t], labels_BFNO[:, t], prediction_BNO)
    return torch.stack(predictions, dim=1)
