"""The steps over the supports make the operators, and the transposed steps their transposes."""

import numpy as np
import pytest
import scipy.sparse as sp

from dcrnn_fast.config.data import Recursion
from dcrnn_fast.graph import diffusion_operators
from dcrnn_fast.graph.recursion import Step, diffusion_recursion


def follow(steps: list[Step], supports: list[sp.csr_array], x_N: np.ndarray) -> dict[int, np.ndarray]:
    """All panels after the steps; a panel may be made only once, of panels that are there."""
    panels = {0: x_N}
    for step in steps:
        assert step.target not in panels
        panels[step.target] = step.scale * (supports[step.support] @ panels[step.source])
        if step.minus >= 0:
            panels[step.target] = panels[step.target] - panels[step.minus]
    return panels


@pytest.mark.parametrize("recursion", ["released", "chebyshev", "powers"])
@pytest.mark.parametrize("hops", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_steps_make_the_operators(count: int, hops: int, recursion: Recursion) -> None:
    generator = np.random.default_rng(count)
    supports = [sp.random_array((9, 9), density=0.4, rng=generator, format="csr") for _ in range(count)]
    operators = diffusion_operators(supports, hops=hops, recursion=recursion)
    plan = diffusion_recursion(supports, hops=hops, recursion=recursion)
    x_N = generator.standard_normal(9)
    terms = follow(plan.steps, supports, x_N)
    transposed = follow(plan.transposed_steps, [sp.csr_array(support.T) for support in supports], x_N)
    assert set(terms) == set(range(len(operators)))
    for m, operator in enumerate(operators):
        np.testing.assert_allclose(terms[m], operator @ x_N, rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(transposed[m], operator.T @ x_N, rtol=1e-11, atol=1e-11)


def test_the_published_case_takes_four_steps_and_six_back() -> None:
    plan = diffusion_recursion([sp.eye_array(3), sp.eye_array(3)], hops=2, recursion="released")
    assert (len(plan.steps), len(plan.transposed_steps)) == (4, 6)
