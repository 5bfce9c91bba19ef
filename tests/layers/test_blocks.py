"""A convolution or linear layer with its norm and activation: order, bias, and norms on units."""

import pytest
import torch
from torch import nn

from convarium.layers import NormFactory, linear_norm, norm
from convarium.layers.blocks import conv_norm

WITHOUT_BIAS: list[NormFactory] = [norm.none, norm.LocalResponse]
WITH_BIAS: list[NormFactory] = [norm.batch, norm.sync_batch, norm.Group, norm.layer, norm.instance]


def names(block: nn.Sequential) -> list[str]:
    return [name for name, _ in block.named_children()]


def test_the_norm_stands_before_the_activation() -> None:
    assert names(conv_norm(3, 8, 3, norm=norm.batch, activation=nn.ReLU)) == ["conv", "norm", "activation"]
    assert names(linear_norm(3, 8, norm=norm.batch, activation=nn.ReLU)) == ["linear", "norm", "activation"]


def test_local_response_stands_after_the_activation() -> None:
    assert names(conv_norm(3, 8, 3, norm=norm.LocalResponse, activation=nn.ReLU)) == ["conv", "activation", "norm"]
    assert names(linear_norm(3, 8, norm=norm.LocalResponse, activation=nn.ReLU)) == ["linear", "activation", "norm"]


def test_without_an_activation_the_norm_is_last() -> None:
    assert names(conv_norm(3, 8, 3, norm=norm.LocalResponse, activation=None)) == ["conv", "norm"]


@pytest.mark.parametrize("factory", WITHOUT_BIAS + WITH_BIAS)
def test_there_is_one_bias_per_channel(factory: NormFactory) -> None:
    for block in (conv_norm(3, 8, 3, norm=factory, activation=None), linear_norm(3, 8, norm=factory, activation=None)):
        assert sum(name.endswith("bias") for name, _ in block.named_parameters()) == 1
        assert (block[0].bias is None) == (factory in WITH_BIAS)


def test_a_norm_of_maps_normalizes_units() -> None:
    x = torch.randn(16, 3, dtype=torch.float64)
    y = linear_norm(3, 8, norm=norm.batch, activation=None).double()(x)
    assert y.shape == (16, 8)
    torch.testing.assert_close(y.mean(0), torch.zeros(8, dtype=torch.float64), atol=1e-12, rtol=0)


def test_six_filters_of_5x5_on_three_channels_are_456_parameters() -> None:
    block = conv_norm(3, 6, 5, norm=norm.none, activation=None)
    assert sum(parameter.numel() for parameter in block.parameters()) == 456


@pytest.mark.parametrize(("count", "one_kernel"), [(2, 5), (3, 7)])
def test_a_stack_of_3x3_sees_as_far_as_one_larger_kernel_with_fewer_weights(count: int, one_kernel: int) -> None:
    channels = 4
    stack = nn.Sequential(*(nn.Conv2d(channels, channels, 3, bias=False) for _ in range(count)))
    assert stack(torch.zeros(1, channels, one_kernel, one_kernel)).shape == (1, channels, 1, 1)
    weights = sum(parameter.numel() for parameter in stack.parameters())
    assert weights == 9 * count * channels**2 < one_kernel**2 * channels**2


def test_strides_groups_and_uneven_kernels_reach_the_convolution() -> None:
    block = conv_norm(4, 8, (1, 7), stride=2, padding=(0, 3), groups=2, norm=norm.none, activation=None)
    assert block(torch.zeros(1, 4, 9, 9)).shape == (1, 8, 5, 5)
    assert block[0].weight.shape == (8, 2, 1, 7)
