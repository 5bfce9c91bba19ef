"""Poolings: the size they give, and the one that learns."""

from io import BytesIO

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from convarium.archs.lenet import LeNet5
from convarium.archs.vgg import VGG
from convarium.layers import Parts, PoolFactory, output_size
from convarium.layers.init import he
from convarium.layers.pooling import StridedConv, average_pool, max_pool


@given(
    size=st.integers(1, 30),
    kernel_size=st.integers(1, 7),
    stride=st.integers(1, 5),
    padding_share=st.floats(0, 1),
    ceil_mode=st.booleans(),
)
def test_every_pooling_gives_maps_of_one_size(
    size: int, kernel_size: int, stride: int, padding_share: float, ceil_mode: bool
) -> None:
    padding = int(padding_share * (kernel_size // 2))
    expected = output_size(size, kernel_size, stride, padding, ceil_mode=ceil_mode)
    if expected < 1:
        return
    with torch.device("meta"):
        pools: tuple[PoolFactory, ...] = (max_pool, average_pool, StridedConv)
        for pool in pools:
            layer = pool(kernel_size, stride, channels=3, padding=padding, ceil_mode=ceil_mode)
            assert layer(torch.empty(2, 3, size, size)).shape == (2, 3, expected, expected)


@pytest.mark.parametrize(("size", "padding", "ceil_mode"), [(8, 0, False), (7, 0, True), (7, 1, True), (6, 1, False)])
def test_a_strided_convolution_can_learn_to_average(size: int, padding: int, ceil_mode: bool) -> None:
    """Of each map by itself, where all windows lie inside or zeros are counted."""
    learnt = StridedConv(3, 2, channels=2, padding=padding, ceil_mode=ceil_mode)
    with torch.no_grad():
        learnt.weight.copy_(torch.eye(2)[:, :, None, None].expand(2, 2, 3, 3) / 9)
        learnt.bias.zero_()  # type: ignore[union-attr]
    images = torch.randn(1, 2, size, size)
    average = nn.AvgPool2d(3, 2, padding)(images)
    rows, columns = average.shape[2:]
    torch.testing.assert_close(learnt(images)[:, :, :rows, :columns], average)


def test_a_window_over_the_edge_sees_zeros() -> None:
    learnt = StridedConv(2, 2, channels=1, ceil_mode=True)
    nn.init.ones_(learnt.weight)
    nn.init.zeros_(learnt.bias)  # type: ignore[arg-type]
    assert learnt(torch.ones(1, 1, 3, 3))[0, 0].tolist() == [[4.0, 2.0], [2.0, 1.0]]


def test_a_strided_convolution_in_lenet_has_its_parameters_and_is_counted_and_initialized() -> None:
    with torch.device("meta"):
        paper, learnt = LeNet5(), LeNet5(parts=Parts(pool=StridedConv))
        with FlopCounterMode(display=False) as counter:
            learnt(torch.empty(1, 1, 32, 32))
    more = sum(p.numel() for p in learnt.parameters()) - sum(p.numel() for p in paper.parameters())
    assert more == (6 * 6 * 4 + 6) + (16 * 16 * 4 + 16)
    assert counter.get_total_flops() == 2 * (416_520 + 6 * 6 * 4 * 14 * 14 + 16 * 16 * 4 * 5 * 5)
    assert LeNet5(parts=Parts(pool=StridedConv, init=he)).s2.bias.tolist() == [0.0] * 6


def test_a_strided_convolution_takes_the_network_through_export() -> None:
    net = LeNet5(parts=Parts(pool=StridedConv)).eval()
    images = torch.randn(2, 1, 32, 32)
    file = BytesIO()
    torch.export.save(torch.export.export(net, (images,)), file)
    file.seek(0)
    torch.testing.assert_close(torch.export.load(file).module()(images), net(images))


def test_the_maps_of_vgg_keep_their_sizes() -> None:
    with torch.device("meta"):
        net = VGG(parts=Parts(pool=StridedConv))
        assert net.stages(torch.empty(1, 3, 224, 224)).shape == (1, 512, 7, 7)
