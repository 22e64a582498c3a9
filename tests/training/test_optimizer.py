"""Gradients in one buffer, clipping, and the optimisers."""

import pytest
import torch
from torch import nn

from dcrnn_fast.config.sections import TrainingConfig
from dcrnn_fast.training.optimizer import FlatGradients, make_optimizer, set_learning_rate


def test_backward_writes_into_the_buffer_and_set_to_none_does_no_harm():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    gradients = FlatGradients(model.parameters())
    for _ in range(2):
        for parameter in model.parameters():
            parameter.grad = None
        gradients.zero()
        model(torch.ones(5, 3)).sum().backward()
        wanted = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
        assert torch.equal(gradients.gradient, wanted)
        assert gradients.norm() > 0
    assert gradients.error_sum == 0
    gradients.error_sum.add_(7.0)
    assert gradients.norm() == torch.linalg.vector_norm(wanted)


def test_clipping_equals_pytorchs():
    torch.manual_seed(0)
    model, twin = nn.Linear(30, 7), nn.Linear(30, 7)
    twin.load_state_dict(model.state_dict())
    x = torch.randn(10, 30) * 20
    gradients = FlatGradients(model.parameters())
    model(x).sum().backward()
    twin(x).sum().backward()
    for bound in (1e9, 5.0):
        gradients.clip(gradients.norm(), bound)
        torch.nn.utils.clip_grad_norm_(twin.parameters(), bound)
        for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-6, atol=0)
    assert float(gradients.norm()) == pytest.approx(5.0, rel=1e-5)
    before = gradients.gradient.clone()
    gradients.clip(gradients.norm(), 0.0)
    assert torch.equal(gradients.gradient, before)


def test_mixed_parameters_are_refused():
    with pytest.raises(ValueError, match="share one dtype and device"):
        FlatGradients([nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1, dtype=torch.float64))])


def test_optimizers_are_as_configured():
    parameters = [nn.Parameter(torch.zeros(2))]
    adam = make_optimizer(parameters, TrainingConfig())
    assert type(adam) is torch.optim.Adam
    assert {name: adam.defaults[name] for name in ("lr", "eps", "betas")} == {
        "lr": 0.01, "eps": 1e-3, "betas": (0.9, 0.999)
    }  # fmt: skip
    adamw = make_optimizer(parameters, TrainingConfig(optimizer="adamw", weight_decay=0.1))
    assert type(adamw) is torch.optim.AdamW
    assert adamw.defaults["weight_decay"] == 0.1
    set_learning_rate(adam, 0.5)
    assert adam.param_groups[0]["lr"] == 0.5
