"""Initializations of a whole network: variances, biases, and what they leave alone."""

from functools import partial
from math import sqrt

import pytest
import torch
from torch import nn

from convarium.layers import InitFunction, init, norm

FAN_IN, FAN_OUT = 32 * 9, 64 * 9


def small_net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(32, 64, 3), norm.batch(64), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10))


@pytest.mark.parametrize(
    ("function", "std"),
    [
        (init.he, sqrt(2 / FAN_IN)),
        (init.xavier, sqrt(2 / (FAN_IN + FAN_OUT))),
        (init.lecun, sqrt(1 / FAN_IN)),
        (init.normal, 0.01),
        (partial(init.normal, std=0.1), 0.1),
        (init.uniform_fan_in, 2.4 / FAN_IN / sqrt(3)),
    ],
)
def test_weights_have_the_published_deviation(function: InitFunction, std: float) -> None:
    net = small_net()
    function(net)
    assert net[0].weight.mean().item() == pytest.approx(0, abs=0.05 * std)
    assert net[0].weight.std().item() == pytest.approx(std, rel=0.02)


@pytest.mark.parametrize("gain", [1.0, 2.0])
def test_orthogonal_filters_are_orthonormal_times_gain(gain: float) -> None:
    net = small_net()
    init.orthogonal(net, gain=gain)
    filters = net[0].weight.detach().flatten(1)
    torch.testing.assert_close(filters @ filters.T, gain**2 * torch.eye(64), atol=1e-5, rtol=0)


@pytest.mark.parametrize("function", [init.he, init.xavier, init.lecun, init.orthogonal, init.normal])
def test_biases_are_zero_and_norms_are_left_alone(function: InitFunction) -> None:
    net = small_net()
    function(net)
    for layer in (net[0], net[4]):
        assert not layer.bias.any()
    assert net[1].weight.eq(1).all()
    assert not net[1].bias.any()


def test_biases_named_start_at_one() -> None:
    net = small_net()
    init.normal(net, ones=["4"])
    assert net[4].bias.eq(1).all()
    assert not net[0].bias.any()
    assert net[4].weight.std().item() == pytest.approx(0.01, rel=0.1)


def test_ones_for_a_layer_that_is_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match="init: ones=fc6: no such layer; this network has 0, 1, 2, 3, 4"):
        init.normal(small_net(), ones=["fc6"])


def test_the_uniform_initialization_of_1998_draws_biases_too() -> None:
    net = small_net()
    init.uniform_fan_in(net)
    assert 0 < net[0].bias.abs().max() <= 2.4 / FAN_IN
    assert 0 < net[4].bias.abs().max() <= 2.4 / 64


@pytest.mark.parametrize("function", [init.he, init.xavier, init.lecun, init.orthogonal, init.normal])
def test_one_seed_gives_one_network(function: InitFunction) -> None:
    nets = []
    for _ in range(2):
        net = small_net()
        torch.manual_seed(7)
        function(net)
        nets.append(net)
    assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True))
