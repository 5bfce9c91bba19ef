"""A convolution or linear layer with its norm and activation: order, bias, and norms on units."""

import pytest
import torch
from torch import nn

from convarium.layers import Layers, NormFactory, norm
from convarium.layers.init import he
from convarium.layers.pooling import max_pool

WITHOUT_BIAS: list[NormFactory] = [norm.none, norm.LocalResponse]
WITH_BIAS: list[NormFactory] = [norm.batch, norm.sync_batch, norm.Group, norm.layer, norm.instance]


def layers(norm: NormFactory, activation: type[nn.Module] = nn.ReLU) -> Layers:
    return Layers(norm=norm, activation=activation, pool=max_pool, init=he)


def test_the_norm_stands_before_the_activation_but_local_response_behind() -> None:
    before, after = layers(norm.batch), layers(norm.LocalResponse)
    blocks = [before.conv(3, 8, 3), before.linear(3, 8), after.conv(3, 8, 3), after.linear(3, 8)]
    orders = [[name for name, _ in block.named_children()] for block in blocks]
    assert orders == [
        *(["conv", "norm", "activation"], ["linear", "norm", "activation"]),
        *(["conv", "activation", "norm"], ["linear", "activation", "norm"]),
    ]
    assert [name for name, _ in after.conv(3, 8, 3, linear=True).named_children()] == ["conv", "norm"]


@pytest.mark.parametrize("factory", WITHOUT_BIAS + WITH_BIAS)
def test_there_is_one_bias_per_channel(factory: NormFactory) -> None:
    for block in (layers(factory).conv(3, 8, 3), layers(factory).linear(3, 8)):
        assert sum(name.endswith("bias") for name, _ in block.named_parameters()) == 1
        assert (block[0].bias is None) == (factory in WITH_BIAS)


def test_a_norm_of_maps_normalizes_units() -> None:
    x = torch.randn(16, 3, dtype=torch.float64)
    y = layers(norm.batch, nn.Identity).linear(3, 8).double()(x)
    assert y.shape == (16, 8)
    torch.testing.assert_close(y.mean(0), torch.zeros(8, dtype=torch.float64), atol=1e-12, rtol=0)


def test_strides_groups_and_uneven_kernels_reach_the_convolution() -> None:
    block = layers(norm.none).conv(4, 8, (1, 7), stride=2, groups=2)
    assert block(torch.zeros(1, 4, 9, 9)).shape == (1, 8, 5, 5)
    assert block[0].weight.shape == (8, 2, 1, 7)
