"""Receptive fields, against the pixels that have a gradient."""

import copy
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

from archs.catalog import NAMES, asked, stated
from archs.networks import make, member, small_size
from convarium.anatomy.trace import Span, trace
from convarium.archs.efficientnet import SqueezeExcite, StochasticDepth
from convarium.layers import Parts
from convarium.layers.norm import LocalResponse

CHEAP = {"lenet5_1998", "kaggle_mnist", "resnet20", "inception_v1"}  # branches, paddings, residuals
HUSHED = (
    *(nn.BatchNorm2d, nn.BatchNorm1d, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d, LocalResponse, nn.Dropout),
    *(SqueezeExcite, StochasticDepth),
)


def linear(net: nn.Module) -> nn.Module:
    """A copy in which nothing cancels and nothing is cut off: positive weights, means in the place of maxima, neither
    norms nor gates nor activations."""
    net = copy.deepcopy(net).double().to_empty(device="cpu").requires_grad_(False)
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d):
                mean = nn.AvgPool2d(child.kernel_size, child.stride, child.padding, child.ceil_mode)
                setattr(module, name, mean)
            elif isinstance(child, HUSHED) or "activation" in type(child).__module__:
                setattr(module, name, nn.Identity())
    with torch.no_grad():
        for value in net.parameters():
            value.fill_(1 / max(1, value[0].numel()) if value.ndim > 1 else 1.0)
        for buffer in net.buffers():
            buffer.fill_(1.0 if buffer.is_floating_point() else 0)
    return net.train()


def seen(span: Span, unit: int, size: int) -> tuple[int, int]:
    """The first and last pixel that a unit sees inside an image."""
    return max(0, span.low + unit * span.stride), min(size - 1, span.high + unit * span.stride)


def check_fields(net: nn.Module, image: tuple[int, int, int], *, has_holes: bool = False) -> int:
    """Compare what a unit in the corner, and one in the middle, of up to eight layers see; the number of layers.

    has_holes: between the pixels that a unit sees there are others, so that none need be at the edge of the image.
    """
    layers = {layer.name: layer for layer in trace(net, image)}
    straight = linear(net)
    modules = {name: module for name, module in straight.named_modules() if name in layers}
    modules = dict(list(modules.items())[:: -max(1, len(modules) // 8)])
    number = {name: k for k, name in enumerate(modules)}
    for at in ("corner", "middle"):
        images = torch.ones(len(modules), *image, dtype=torch.float64, requires_grad=True)
        units: dict[str, Tensor] = {}

        def note(name: str, at: str = at, units: dict[str, Tensor] = units) -> Any:
            def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
                own = output[number[name]].sum(0)
                middle = tuple(0 if at == "corner" else side // 2 for side in own.shape)
                units.setdefault(name, own[middle])

            return hook

        handles = [module.register_forward_hook(note(name)) for name, module in modules.items()]
        straight(images)
        for handle in handles:
            handle.remove()
        torch.stack(list(units.values())).sum().backward()
        assert images.grad is not None
        reached = images.grad.abs().amax(1) > 0  # (layers, H, W)
        for name in units:
            layer = layers[name]
            sides = layer.outputs[1:] if len(layer.outputs) == 3 else (1, 1)
            for axis, (span, side) in enumerate(zip(layer.field, sides, strict=True)):
                pixels = reached[number[name]].any(1 - axis).nonzero()
                unit = 0 if at == "corner" else side // 2
                first, last = seen(span, unit, image[1 + axis])
                is_cut = (last - first) != span.high - span.low
                if has_holes and is_cut:
                    assert first <= int(pixels.min()) <= int(pixels.max()) <= last, (name, at, axis)
                else:
                    assert (first, last) == (int(pixels.min()), int(pixels.max())), (name, at, axis)
    return len(modules)


@pytest.mark.parametrize("name", asked(NAMES, CHEAP))
def test_units_see_the_pixels_that_have_a_gradient(name: str) -> None:
    side = small_size(name)
    with torch.device("meta"):
        net = make(name)
    assert check_fields(net, (1, side, side)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alexnet", "vgg16", "inception_v1", "inception_v3", "resnet50", "efficientnet_b1"])
def test_units_see_them_at_the_published_size_too(name: str) -> None:
    side = stated(name).image_size
    with torch.device("meta"):
        net = make(name, image_size=side)
    check_fields(net, (1, side, side))


@pytest.mark.parametrize("parts", ["norm=batch", "norm=lrn", "norm=group", "pool=strided_conv", "pool=average"])
def test_units_see_the_same_through_other_parts(parts: str) -> None:
    group, _, choice = parts.partition("=")
    check_fields(make("lenet5", parts=Parts(**{group: member(group, choice)})), (1, 32, 32))


class Branched(nn.Module):
    """What is given beside what a chain makes of it, added or concatenated."""

    def __init__(self, *chain: nn.Module, adds: bool) -> None:
        super().__init__()
        self.chain, self.merge = nn.Sequential(*chain), None if adds else nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.chain(x)
        x = x[:, :, : y.shape[2], : y.shape[3]]
        return x + y if self.merge is None else self.merge(torch.cat([x, y], dim=1))


kernels = st.tuples(st.integers(1, 4), st.integers(1, 4))


@st.composite
def windows(draw: st.DrawFn, stride: int = 2) -> nn.Module:
    kernel = draw(kernels)
    stride = draw(st.integers(1, stride))
    if draw(st.booleans()):
        padding = (draw(st.integers(0, kernel[0] - 1)), draw(st.integers(0, kernel[1] - 1)))
        return nn.Conv2d(
            2, 2, kernel, stride, padding, dilation=draw(st.integers(1, 2)), groups=draw(st.sampled_from((1, 2)))
        )
    kind = draw(st.sampled_from((nn.MaxPool2d, nn.AvgPool2d)))
    padding = (draw(st.integers(0, kernel[0] // 2)), draw(st.integers(0, kernel[1] // 2)))
    return kind(kernel, stride, padding, ceil_mode=draw(st.booleans()))  # type: ignore[no-any-return]


@st.composite
def chains(draw: st.DrawFn) -> nn.Module:
    chain: list[nn.Module] = [nn.Conv2d(1, 2, 1)]
    for _ in range(draw(st.integers(1, 3))):
        chain.append(draw(windows()))
        if draw(st.booleans()):
            odd = draw(st.sampled_from((1, 3, 5)))
            dilation = draw(st.integers(1, 2))
            same = nn.Conv2d(2, 2, odd, padding=dilation * (odd // 2), dilation=dilation)
            chain.append(Branched(same, nn.ReLU(), adds=draw(st.booleans())))
    return nn.Sequential(*chain, nn.Conv2d(2, 1, 1))


@settings(max_examples=25, derandomize=True, deadline=None)
@given(net=chains())
def test_units_of_any_chain_see_the_pixels_that_have_a_gradient(net: nn.Module) -> None:
    check_fields(net, (1, 80, 80), has_holes=True)


class Shuffled(nn.Module):
    """Channels of two groups in turns, as ShuffleNet has them."""

    def forward(self, x: Tensor) -> Tensor:
        count, channels, height, width = x.shape
        return x.view(count, 2, channels // 2, height, width).transpose(1, 2).reshape(x.shape)


class Mixed(nn.Module):
    """Channels that are mixed at each place by a linear layer, as ConvNeXt does it."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


@pytest.mark.parametrize("mixes", [Shuffled, Mixed])
def test_mixing_channels_at_each_place_lets_units_see_no_more(mixes: type[nn.Module]) -> None:
    layers = trace(nn.Sequential(nn.Conv2d(1, 4, 3), mixes(), nn.Conv2d(4, 4, 5, stride=2)), (1, 20, 20))
    assert layers[-1].field == (Span(0, 6, 2), Span(0, 6, 2))
    linear = [layer for layer in layers if layer.kind == "linear"]
    assert [(layer.outputs, layer.macs, layer.field[0]) for layer in linear] == (
        [((18, 18, 4), 18 * 18 * 4 * 4, Span(0, 2, 1))] if mixes is Mixed else []
    )
