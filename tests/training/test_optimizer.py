"""Gradients in one buffer, clipping, and the optimisers."""

import pytest
import torch
from torch import nn

from dcrnn_fast.config.training import TrainingConfig
from dcrnn_fast.training.optimizer import (
    FlatGradients,
    make_optimizer,
    optimizer_state,
    restore_optimizer,
    set_learning_rate,
)


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


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_steps_are_torchs_bit_for_bit(name: str, kind: type[torch.optim.Adam]) -> None:
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 7)) for _ in range(2))
    config = TrainingConfig(optimizer=name, weight_decay=0.1)
    optimizer = make_optimizer([ours], config)
    twin = kind([theirs], lr=config.learning_rate, eps=config.adam_eps, weight_decay=0.1, fused=True)
    for step in range(4):
        for parameter, one in ((ours, optimizer), (theirs, twin)):
            parameter.grad = (parameter.detach() - 0.3) * (step + 1)
            one.step()
        if step == 1:  # a resumed run goes on the same
            saved = optimizer_state(optimizer)
            optimizer = make_optimizer([ours], config)
            restore_optimizer(optimizer, saved)
        assert torch.equal(ours, theirs)
    assert torch.is_grad_enabled()


def test_optimizers_are_as_configured():
    parameters = [nn.Parameter(torch.zeros(2))]
    adam = make_optimizer(parameters, TrainingConfig())
    assert isinstance(adam, torch.optim.Adam)
    assert not isinstance(adam, torch.optim.AdamW)
    assert {name: adam.defaults[name] for name in ("lr", "eps", "betas")} == {
        "lr": 0.01, "eps": 1e-3, "betas": (0.9, 0.999)
    }  # fmt: skip
    adamw = make_optimizer(parameters, TrainingConfig(optimizer="adamw", weight_decay=0.1))
    assert isinstance(adamw, torch.optim.AdamW)
    assert adamw.defaults["weight_decay"] == 0.1
    set_learning_rate(adam, 0.5)
    assert adam.param_groups[0]["lr"] == 0.5
