"""Named shapes, which the tests of the operators and the benchmarks share.

Shape legend: B batch, P past steps, F future steps, N nodes, C input channels, O output channels, H units, L layers,
M diffusion terms, K known channels.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Case:
    """Sizes of one problem; ``density`` of the graph's operators, so that both ways to diffuse are taken."""

    B: int = 2
    P: int = 3
    F: int = 2
    N: int = 5
    C: int = 2
    O: int = 1  # noqa: E741
    H: int = 4
    L: int = 2
    M: int = 5
    density: float = 0.5
    K: int = 0

    def __str__(self) -> str:
        return "-".join(f"{name}{value}" for name, value in vars(self).items() if value or name != "K")


CORNERS = {
    "small_dense": Case(),
    "smallest": Case(B=1, P=1, F=1, N=1, C=1, O=1, H=1, L=1, M=1),
    "nothing_divides_a_tile": Case(B=3, P=4, F=3, N=33, C=3, O=2, H=17, L=3, M=3),
    "sparse_product": Case(B=2, P=2, F=3, N=71, C=2, O=1, H=9, L=2, M=5, density=0.02),
    "no_diffusion": Case(B=5, P=2, F=2, N=7, C=1, O=3, H=6, L=1, M=1),
}
"""shapes that kernels get wrong: every test of an operator runs on them"""

KNOWN = {
    "known_channel": replace(CORNERS["small_dense"], K=1),
    "known_smallest": replace(CORNERS["smallest"], B=2, K=1),
    "known_channels": replace(CORNERS["nothing_divides_a_tile"], K=3),
    "many_known_channels": replace(CORNERS["sparse_product"], K=9),
}
"""corners whose decoder reads known channels: for the encoder-decoder"""

TIMED = {
    "nothing_divides_a_tile": CORNERS["nothing_divides_a_tile"],
    "metr_la_one_window": Case(B=1, P=12, F=12, N=207, C=2, O=1, H=64, L=2, M=5, density=0.04),
    "metr_la_eight_windows": Case(B=8, P=12, F=12, N=207, C=2, O=1, H=64, L=2, M=5, density=0.04),
}
"""the shapes that single operators are timed on: METR-LA's sizes and density, and one of the corners"""
