"""The modules: parameters, buffers, and use in other people's code."""

import copy

import pytest
import torch

from bench.cases import Case, make_terms
from dcrnn_fast.model import DCRNN, DCGRUCell

CASE = Case(N=6, M=5)


def make_model(**changes: object) -> DCRNN:
    torch.manual_seed(0)
    settings = {"input_channels": 2, "output_channels": 1, "future_steps": 3, "hidden_units": 4, **changes}
    return DCRNN(make_terms(CASE, torch.float32), **settings)  # type: ignore[arg-type]


def test_published_size() -> None:
    model = make_model(hidden_units=64)
    assert sum(parameter.numel() for parameter in model.parameters()) == 372_353


def test_initial_biases_and_xavier_bounds() -> None:
    cell = make_model(hidden_units=16).encoder[1]
    assert torch.equal(cell.gate_bias, torch.ones(32))
    assert torch.equal(cell.candidate_bias, torch.zeros(16))
    bound = (6 / sum(cell.gate_weight.shape)) ** 0.5
    assert 0.9 * bound < cell.gate_weight.abs().max() <= bound


def test_state_dict_holds_parameters_and_no_graph() -> None:
    model = make_model()
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}
    assert len([name for name in model.state_dict() if name.startswith("decoder.1.")]) == 4


def test_any_number_of_past_steps_layers_and_channels() -> None:
    model = make_model(input_channels=3, output_channels=2, num_layers=3, future_steps=5)
    assert model(torch.randn(2, 7, 6, 3)).shape == (2, 5, 6, 2)
    assert model(torch.randn(1, 1, 6, 3)).shape == (1, 5, 6, 2)


def test_known_channels_are_read_at_their_own_step() -> None:
    model = make_model(known_channels=3, output_channels=2)
    x_BPNC, known_BFNK = torch.randn(2, 4, 6, 2), torch.randn(2, 3, 6, 3)
    forecast = model(x_BPNC, known_BFNK=known_BFNK)
    later = known_BFNK.clone()
    later[:, 1] += 1
    same = (model(x_BPNC, known_BFNK=later) == forecast).flatten(2).all(dim=2).all(dim=0)
    assert same.tolist() == [True, False, False]
    with pytest.raises(ValueError, match="known must have the model's 3 known channels, got 0"):
        model(x_BPNC)
    with pytest.raises(ValueError, match="known must have the model's 0 known channels, got 3"):
        make_model(output_channels=2)(x_BPNC, known_BFNK=known_BFNK)


@pytest.mark.parametrize("backend", ["specification", "manual"])
def test_deepcopy_computes_the_same_on_its_own_tensors(backend: str) -> None:
    model = make_model(backend=backend)
    twin = copy.deepcopy(model)
    x_BPNC = torch.randn(2, 4, 6, 2)
    assert torch.equal(model(x_BPNC), twin(x_BPNC))
    with torch.no_grad():
        twin.projection.bias.add_(1)
    torch.testing.assert_close(twin(x_BPNC)[:, 0], model(x_BPNC)[:, 0] + 1)


def test_moves_to_another_dtype_with_its_graph() -> None:
    model = make_model().double()
    assert model(torch.randn(1, 2, 6, 2, dtype=torch.float64)).dtype == torch.float64


def test_teacher_forcing_reads_the_labels() -> None:
    model = make_model()
    x_BPNC, labels_BFNO = torch.randn(2, 4, 6, 2), torch.randn(2, 3, 6, 1)
    never, always = torch.zeros(3, dtype=torch.bool), torch.ones(3, dtype=torch.bool)
    assert torch.equal(model(x_BPNC, labels_BFNO, never), model(x_BPNC))
    forced = model(x_BPNC, labels_BFNO, always)
    assert torch.equal(forced[:, 0], model(x_BPNC)[:, 0])
    assert not torch.allclose(forced[:, 1], model(x_BPNC)[:, 1])
    changed_last = labels_BFNO.clone()
    changed_last[:, 2] += 1  # nothing comes after the last label
    assert torch.equal(model(x_BPNC, changed_last, always), forced)


def test_cell_module_starts_from_zeros_and_learns() -> None:
    cell = DCGRUCell(make_terms(CASE, torch.float32), input_channels=2, hidden_units=4)
    x_BNC = torch.randn(3, 6, 2)
    h_BNH = cell(x_BNC)
    assert torch.equal(h_BNH, cell(x_BNC, torch.zeros(3, 6, 4)))
    cell(x_BNC, h_BNH).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in cell.parameters())


@pytest.mark.parametrize(
    "backend", [pytest.param("specification", marks=pytest.mark.prove), pytest.param("manual", marks=pytest.mark.slow)]
)
def test_compiled_model_trains_like_the_eager_one(backend: str) -> None:
    model = make_model(backend=backend, num_layers=1)
    x_BPNC, labels_BFNO = torch.randn(2, 2, 6, 2), torch.randn(2, 3, 6, 1)
    coins_F = torch.tensor([True, False, True])
    model(x_BPNC, labels_BFNO, coins_F).square().sum().backward()
    wanted = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad()
    torch.compile(model, fullgraph=True)(x_BPNC, labels_BFNO, coins_F).square().sum().backward()
    for parameter, gradient in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("backend", ["specification", "manual", "auto"])
def test_a_model_in_half_precision_says_what_to_do_instead(backend: str, dtype: torch.dtype) -> None:
    model = make_model(backend=backend).to(dtype)
    with pytest.raises(TypeError, match=r"leave the model in float32 and call it under torch\.autocast"):
        model(torch.randn(2, 4, 6, 2).to(dtype))
