"""The recursion of a graph as the GPU kernels run it: one launch a hop, whose order is fixed when the plan is made.

Ready-made terms fill in: the product of two supports has an entry for every path of two edges. Hop after hop, a kernel
visits the entries of the supports only, and each hop writes one panel that later ones read.

Shape legend: N nodes, M diffusion terms, R hops.
"""

from dcrnn_fast.kernels.gpu.primitives import Hop
from dcrnn_fast.kernels.terms import DiffusionTerms

# The index of each direction's first tensor among a recursion's eight: steps, then the supports' CSR.
_SIDES = (0, 4)


def read_hops(terms: DiffusionTerms, *, transposed: bool) -> tuple[Hop, ...]:
    """The hops of one direction, on the host; none if the graph brings none. Waits for the device.

    Raises:
        ValueError: not eight tensors, steps that are not (R, 5), a hop that names a support or a panel that is not
            there yet, or a term that no hop makes.
    """
    if not terms.recursion:
        return ()
    if len(terms.recursion) != 8:
        raise ValueError(f"recursion: terms must be six tensors, or fourteen, got {6 + len(terms.recursion)}")
    at = _SIDES[transposed]
    steps, row_start = terms.recursion[at : at + 2]
    which = "transposed recursion" if transposed else "recursion"
    if steps.dim() != 2 or steps.shape[1] != 5:
        raise ValueError(f"{which}: steps must be (R, 5), got {tuple(steps.shape)}")
    supports = (row_start.shape[0] - 1) // terms.num_nodes
    hops = tuple(Hop(*row) for row in steps.tolist())
    made = {0}
    for number, hop in enumerate(hops):
        known = {hop.source} | ({hop.minus} if hop.minus != -1 else set())
        if not 0 <= hop.support < supports or not known <= made or hop.target in made or hop.target < 0:
            raise ValueError(f"{which}: step {number} names a support or a panel that is not there: {tuple(hop)}")
        made.add(hop.target)
    missing = sorted(set(range(terms.num_terms)) - made)
    if hops and missing:
        raise ValueError(f"{which}: no step makes term {missing[0]}")
    return hops


def visits_fewer(terms: DiffusionTerms) -> bool:
    """Whether the hops of both directions together visit fewer entries than the ready-made terms.

    Rows of N numbers that are written or subtracted count like entries. A direction without hops takes its terms.
    """
    N, terms_alone, by_hops = terms.num_nodes, 0, 0
    for transposed, value in ((False, terms.value), (True, terms.value_t)):
        ready = value.shape[0] + (terms.num_terms - 1) * N
        terms_alone += ready
        hops = read_hops(terms, transposed=transposed)
        if not hops:
            by_hops += ready
            continue
        ends = terms.recursion[_SIDES[transposed] + 1][::N].tolist()
        by_hops += sum(ends[hop.support + 1] - ends[hop.support] + N * (2 if hop.minus >= 0 else 1) for hop in hops)
    return by_hops < terms_alone
