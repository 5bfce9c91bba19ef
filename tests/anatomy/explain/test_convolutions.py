"""What convolutions cost, beside torch's own layers and its counter of operations."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

Answer = Callable[..., dict[str, Any]]


def parameters(layer: nn.Module) -> int:
    return sum(parameter.numel() for parameter in layer.parameters())


def multiply_adds(layer: nn.Module, *shape: int) -> int:
    with FlopCounterMode(display=False) as counter:
        layer.to("meta")(torch.empty(1, *shape, device="meta"))
    return counter.get_total_flops() // 2


def test_the_convolution_of_the_tutorial_has_6_filters_and_456_parameters(answer: Answer) -> None:
    found = answer("convolution")
    layer = nn.Conv2d(3, 6, 5)
    assert (layer.weight.shape[0], found["parameters"], parameters(layer)) == (6, 456, 456)


@settings(deadline=None, max_examples=15)
@given(
    size=st.integers(1, 40),
    channels=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3)),
    kernel_size=st.integers(1, 7),
    stride=st.integers(1, 4),
    padding=st.integers(0, 4),
    bias=st.booleans(),
)
def test_a_convolution_costs_what_torch_counts(
    answer: Answer,
    size: int,
    channels: tuple[int, int, int],
    kernel_size: int,
    stride: int,
    padding: int,
    bias: bool,
) -> None:
    size = max(size, kernel_size)
    ins, outs, groups = channels[0] * channels[2], channels[1] * channels[2], channels[2]
    layer = nn.Conv2d(ins, outs, kernel_size, stride, padding, groups=groups, bias=bias)
    keys = {"size": size, "in_channels": ins, "out_channels": outs, "kernel_size": kernel_size, "groups": groups}
    found = answer("convolution", **keys, stride=stride, padding=padding, bias=bias)
    assert found["parameters"] == parameters(layer)
    assert found["multiply_adds"] == multiply_adds(layer, ins, size, size)
    assert found["output_size"] == layer(torch.empty(1, ins, size, size, device="meta")).shape[2]


def test_three_small_windows_have_27_of_49_weights_and_two_18_of_25(answer: Answer) -> None:
    three, two = answer("stack"), answer("stack", layers=2)
    assert (three["stack_per_c2"], three["single_per_c2"], three["receptive_field"]) == (27, 49, 7)
    assert (round(three["fewer_percent"], 1), round(three["more_percent"])) == (44.9, 81)
    assert (two["stack_per_c2"], two["single_per_c2"], round(two["fewer_percent"]), two["receptive_field"]) == (
        18,
        25,
        28,
        5,
    )


@pytest.mark.parametrize(("layers", "kernel_size"), [(2, 3), (3, 3), (2, 4)])
def test_a_stack_sees_what_gradients_reach_and_has_torchs_weights(
    answer: Answer, layers: int, kernel_size: int
) -> None:
    found = answer("stack", layers=layers, kernel_size=kernel_size, channels=3)
    net = nn.Sequential(*(nn.Conv2d(3, 3, kernel_size, bias=False) for _ in range(layers)))
    side = found["receptive_field"]
    image = torch.zeros(1, 3, side + 4, side + 4, requires_grad=True)
    net(image)[0, 0, 0, 0].backward()
    assert image.grad is not None
    reached = image.grad.abs().sum((0, 1)) > 0
    assert (reached[:side, :side].all(), reached.sum()) == (True, side**2)
    single = nn.Conv2d(3, 3, side, bias=False)
    assert (found["stack_weights"], found["single_weights"]) == (parameters(net), parameters(single))


def test_the_bottleneck_is_21_times_cheaper(answer: Answer) -> None:
    found = answer("bottleneck")
    counts = ("direct", "reduction", "after_reduction", "with_bottleneck", "direct_weights", "bottleneck_weights")
    assert [found[name] for name in counts] == [112_896_000, 1_505_280, 3_763_200, 5_268_480, 576_000, 26_880]
    assert round(found["ratio"], 1) == 21.4
    wide = nn.Conv2d(480, 48, 5, padding=2, bias=False)
    both = nn.Sequential(nn.Conv2d(480, 16, 1, bias=False), nn.Conv2d(16, 48, 5, padding=2, bias=False))
    for name, layer in (("direct", wide), ("bottleneck", both)):
        assert found[f"{name}_weights"] == parameters(layer)
        count = found["with_bottleneck" if name == "bottleneck" else "direct"]
        assert count == multiply_adds(layer, 480, 14, 14)


def test_a_separable_convolution_costs_what_torch_counts(answer: Answer) -> None:
    found = answer("depthwise", size=9, in_channels=6, kernel_size=5, out_channels=10, multiplier=2)
    depthwise = nn.Conv2d(6, 12, 5, padding=2, groups=6, bias=False)
    net = nn.Sequential(depthwise, nn.Conv2d(12, 10, 1, bias=False))
    assert (found["depthwise_weights"], found["weights"]) == (parameters(depthwise), parameters(net))
    assert found["multiply_adds"] == multiply_adds(net, 6, 9, 9)
    assert found["dense_weights"] == parameters(nn.Conv2d(6, 10, 5, bias=False))


def test_googlenets_printed_2_7k_are_those_of_a_separable_convolution(answer: Answer) -> None:
    found = answer("depthwise", size=112, in_channels=3, kernel_size=7, out_channels=64, multiplier=8)
    assert (found["weights"], found["dense_weights"]) == (2_712, 9_408)
    assert round(found["multiply_adds"] / 1e6, 1) == 34.0
