"""What ``save`` lets the Triton backend allocate, by the operators' own allocations; no kernel runs."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bench.cases import Case, make_seq2seq, make_terms
from dcrnn_fast.kernels.gpu.launch import observed

pytestmark = pytest.mark.gpu_kernels


class _Storages(TorchDispatchMode):
    """Holds whatever is made, inside this package's operators too."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[int, int] = {}
        self.held: list[torch.Tensor] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func.namespace == "dcrnn_fast":
            with self:
                return func.redispatch(torch._C.DispatchKeySet(torch._C.DispatchKey.CPU), *args, **(kwargs or {}))
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and not func.is_view:
            self.held.append(made)
            self.sizes[made.untyped_storage().data_ptr()] = made.untyped_storage().nbytes()
        return made

    def of_at_least(self, size: int) -> list[int]:
        return sorted(found for found in self.sizes.values() if found >= size)


@pytest.mark.parametrize("words", ["tile,hoist", "tile,inline"])
@pytest.mark.parametrize(("save", "states"), [(1, 29), (3, 9)])
def test_nothing_but_kept_states_is_as_long_as_the_run(words: str, save: int, states: int) -> None:
    case = Case(B=2, P=30, F=30, N=16, C=1, O=1, H=16, L=1, M=2)
    inputs, terms = make_seq2seq(case).to(torch.float32), make_terms(case, torch.float32)
    encoder, decoder = ([t for cell in cells for t in cell] for cells in (inputs.encoder, inputs.decoder))
    initial = torch.zeros(case.L, case.B, case.N, case.H)
    state = case.B * case.N * case.H * 4
    grad_BTNH, grad_BFNO = torch.ones(case.B, case.P, case.N, case.H), torch.ones(case.B, case.F, case.N, case.O)
    with observed(lambda launch: False), _Storages() as sequence:
        states_BTNH, *_ = torch.ops.dcrnn_fast.dcgru_sequence_triton(
            inputs.x_BPNC, initial, terms.tensors, case.M, encoder, words, save
        )
        torch.autograd.grad(states_BTNH, encoder, grad_BTNH)
    # The result, and the states; the workspaces of a segment of three steps are 18 of them at most.
    assert sequence.of_at_least(20 * state) == sorted(n * state for n in (30, states) if n >= 20)
    with observed(lambda launch: False), _Storages() as seq2seq:
        prediction, *_ = torch.ops.dcrnn_fast.seq2seq_triton(
            inputs.x_BPNC, terms.tensors, case.M, encoder, decoder, inputs.projection_weight_OH,
            inputs.projection_bias_O, inputs.labels_BFNO, inputs.feed_label_F, words, save,
        )  # fmt: skip
        torch.autograd.grad(prediction, [*encoder, *decoder], grad_BFNO)
    assert seq2seq.of_at_least(19 * state) == [(2 * states + 1) * state]
