"""The members of the groups norm, activation, pool and init: each builds its layer, and what it computes."""

import pytest
import torch
from torch import Tensor, nn

from archs.networks import member
from convarium.archs.mlp import MLP
from convarium.config.catalog import members
from convarium.layers import Parts
from convarium.layers.activation import ScaledTanh, Step


def test_the_groups_have_every_member_of_the_design() -> None:
    assert {"paper", "none", "lrn", "batch", "sync_batch", "group", "layer", "instance"} <= set(members("norm"))
    assert {"relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "scaled_tanh", "sigmoid", "step"} <= set(
        members("activation")
    )
    assert {"max", "average", "strided_conv"} <= set(members("pool"))
    assert {"he", "xavier", "lecun", "orthogonal", "normal"} <= set(members("init"))


@pytest.mark.parametrize("group", ["norm", "activation", "pool", "init"])
def test_paper_means_nothing_chosen(group: str) -> None:
    assert member(group, "paper") is None


@pytest.mark.parametrize("name", [name for name in members("norm") if name != "paper"])
def test_a_norm_keeps_the_shape(name: str) -> None:
    x = torch.randn(2, 12, 4, 4)
    assert member("norm", name)(12)(x).shape == x.shape


@pytest.mark.parametrize(
    ("name", "at_minus_one", "at_two"),
    [
        ("relu", 0.0, 2.0),
        ("leaky_relu", -0.01, 2.0),
        ("elu", -0.632121, 2.0),
        ("gelu", -0.158655, 1.954500),
        ("silu", -0.268941, 1.761594),
        ("tanh", -0.761594, 0.964028),
        ("scaled_tanh", -0.999997, 1.492939),
        ("sigmoid", 0.268941, 0.880797),
        ("step", 0.0, 1.0),
    ],
)
def test_an_activation_takes_its_known_values(name: str, at_minus_one: float, at_two: float) -> None:
    y = member("activation", name)()(torch.tensor([-1.0, 2.0]))
    torch.testing.assert_close(y, torch.tensor([at_minus_one, at_two]), atol=1e-6, rtol=0)


def test_an_activation_leaves_its_input_alone() -> None:
    for name in members("activation"):
        if factory := member("activation", name):
            x = torch.tensor([-1.0, 2.0])
            factory()(x)
            assert x.tolist() == [-1.0, 2.0]


def test_the_squashing_of_lenet_maps_one_to_one() -> None:
    y = ScaledTanh()(torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(y, torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64), atol=4e-6, rtol=0)


def test_the_squashing_of_lenet_bends_most_close_to_one() -> None:
    x = torch.linspace(0.9, 1.1, 201, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(ScaledTanh()(x).sum(), x, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), x)
    assert x[curvature.abs().argmax()].item() == pytest.approx(0.988, abs=1e-3)


def test_the_step_fires_above_zero_only_and_has_a_gradient_of_zero() -> None:
    x = torch.tensor([-3.0, -0.0, 0.0, 1e-30, 5.0], requires_grad=True)
    y = Step()(x)
    y.sum().backward()
    assert y.tolist() == [0.0, 0.0, 0.0, 1.0, 1.0]
    assert x.grad is not None
    assert x.grad.tolist() == [0.0] * 5


def test_a_network_of_steps_learns_above_the_last_of_them_only() -> None:
    net = MLP(image_size=4, hidden=[8, 6], parts=Parts(activation=Step))
    net(torch.randn(5, 1, 4, 4)).square().sum().backward()
    learns = {name for name, parameter in net.named_parameters() if parameter.grad is not None and parameter.grad.any()}
    assert learns == {"classifier.weight", "classifier.bias"}


PIXELS = torch.tensor([[29.0, 15, 28, 184], [0, 100, 70, 38], [12, 12, 7, 2], [12, 12, 45, 6]])[None, None]


@pytest.mark.parametrize(("name", "expected"), [("max", [[100.0, 184], [12, 45]]), ("average", [[36.0, 80], [12, 15]])])
def test_pooling_gives_the_worked_example(name: str, expected: list[list[float]]) -> None:
    assert member("pool", name)(2, 2, channels=1)(PIXELS)[0, 0].tolist() == expected


@pytest.mark.parametrize("name", ["max", "average"])
def test_pooling_ignores_padding(name: str) -> None:
    pool: nn.Module = member("pool", name)(3, 1, channels=1, padding=1)
    constant: Tensor = -torch.ones(1, 1, 4, 4)
    assert torch.equal(pool(constant), constant)


@pytest.mark.parametrize("name", ["max", "average", "strided_conv"])
def test_pooling_takes_ceil_mode(name: str) -> None:
    assert member("pool", name)(3, 2, channels=1, ceil_mode=True)(torch.zeros(1, 1, 14, 14)).shape == (1, 1, 7, 7)


@pytest.mark.parametrize("name", [name for name in members("init") if name != "paper"])
def test_an_initialization_changes_every_weight(name: str) -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    before = [parameter.detach().clone() for parameter in net.parameters()]
    member("init", name)(net)
    assert not any(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
