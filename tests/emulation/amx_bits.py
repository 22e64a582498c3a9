"""Digests of what the AMX units compute: equal on two machines (one may be emulated) where all bits are.

``python -m tests.emulation.amx_bits`` prints a line for each case: unit, shape, digest of the inputs, of the forecast,
of all gradients. Of the emulation in plain C++: build it (docs/contributing.md), then with its folder first on the path
``PYTHONPATH=/tmp/lib:. python -P -m tests.emulation.amx_bits``.
"""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

from bench.shapes import CORNERS, Case
from dcrnn_fast.kernels.native import library
from tests.kernels.cases import make_operators, make_seq2seq
from tests.kernels.test_bf16x3_cpu import results
from tests.kernels.test_dcrnn_seq2seq import forward_and_gradients

# What fills no tile, a width in use, a dense graph, and sums as deep as one tile configuration goes.
CASES = {
    "nothing_divides_a_tile": CORNERS["nothing_divides_a_tile"],
    "published_width": Case(B=2, P=3, F=2, N=71, C=2, O=1, H=64, L=2, M=5, density=0.05),
    "dense": Case(B=1, P=1, F=1, N=67, C=2, O=1, H=33, L=1, M=3, density=0.9),
    "deep": Case(B=1, P=1, F=1, N=5, C=2, O=1, H=240, L=2, M=5),
}


def digest(tensors: Iterable[Tensor]) -> str:
    """Of shapes and bytes."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(repr(tuple(tensor.shape)).encode())
        found.update(tensor.detach().contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def inputs_of(case: Case) -> list[Tensor]:
    """Everything random that goes in."""
    operators = [torch.from_numpy(operator.toarray()) for operator in make_operators(case)]
    return [*make_seq2seq(case).to(torch.float32).differentiable, *operators]


def main() -> None:
    """One line for each unit and case."""
    module, _, reason = library()
    if module is None:
        raise SystemExit(reason)
    if why_not := dict(module.cpu_units())["amx"]:
        raise SystemExit(f"amx: {why_not}")
    torch.set_num_threads(1)
    for name, case in CASES.items():
        taken = digest(inputs_of(case))
        forecast, gradients = forward_and_gradients(case, torch.float32, "cpu", True, autocast=True)
        print("bf16", name, taken, digest([forecast]), digest(gradients), flush=True)
        forecast, gradients = results(case, torch.float32, bf16x3=True)
        print("bf16x3", name, taken, digest([forecast]), digest(gradients), flush=True)


if __name__ == "__main__":
    main()
