"""The yardstick computes what the public PyTorch port computed, in every golden file."""

import numpy as np
import pytest
import torch

from bench.reference import masked_mae
from tests.checkout import GOLDEN
from tests.golden.supports import build_reference_supports
from tests.golden.vectors import GoldenCase, read_golden
from tests.models import relative_error

FILES = sorted(GOLDEN.glob("*.npz"))


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def case(request: pytest.FixtureRequest) -> GoldenCase:
    return read_golden(request.param)


def test_there_are_golden_files() -> None:
    assert len(FILES) == 9


def test_reference_supports_match(case: GoldenCase) -> None:
    built = build_reference_supports(case.arrays["adjacency"], case.config["filter_type"], case.config["edge_order"])
    assert len(built) == len(case.supports)
    for got, wanted in zip(built, case.supports, strict=True):
        assert np.abs(got - wanted).max() <= 1e-6 * np.abs(wanted).max()


def test_reference_predicts_in_both_modes(case: GoldenCase) -> None:
    model = case.reference()
    with torch.no_grad():
        evaluated = model(case.tensor("x"))
        trained = model(case.tensor("x"), case.labels_scaled, case.feed_label)
    assert relative_error(evaluated, case.tensor("prediction_eval_scaled")) <= 1e-5
    assert relative_error(trained, case.tensor("prediction_scaled")) <= 1e-5


def test_reference_loss_and_gradients(case: GoldenCase) -> None:
    model = case.reference()
    prediction = model(case.tensor("x"), case.labels_scaled, case.feed_label)
    loss = masked_mae(case.unscale(prediction), case.tensor("y"))
    loss.backward()
    assert abs(loss.item() - float(case.arrays["loss"])) <= 1e-5 * float(case.arrays["loss"])
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert gradients.keys() == case.gradients.keys()
    for name, wanted in case.gradients.items():
        got = gradients[name]
        assert got is not None, name
        assert relative_error(got, wanted) <= 1e-4, name


def test_the_bound_notices_supports_in_the_wrong_edge_order() -> None:
    wrong = next(read_golden(path) for path in FILES if path.stem == "edge_order_pytorch_port_k2_l2")
    correct = build_reference_supports(wrong.arrays["adjacency"], "dual_random_walk", "correct")
    with torch.no_grad():
        got = wrong.reference(correct)(wrong.tensor("x"))
    assert relative_error(got, wrong.tensor("prediction_eval_scaled")) > 1e-3
