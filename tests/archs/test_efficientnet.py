"""EfficientNet: the published sizes of all nine, the scaling, each block's laws, the same function as torchvision's."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad
from torch.utils.flop_counter import FlopCounterMode

from convarium.archs.efficientnet import (
    B0,
    SCALES,
    EfficientNet,
    PadToSame,
    Residual,
    SqueezeExcite,
    StochasticDepth,
    scaled,
    widened,
)
from convarium.layers import Parts
from convarium.layers.norm import batch

CONF = Path(__file__).parents[2] / "conf" / "arch"


def multiply_adds(net: nn.Module, image: Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        net.eval()(image)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize(
    ("channels", "factor", "width"),
    [
        (32, 1.0, 32),
        (32, 1.1, 32),  # 35.2
        (16, 1.4, 24),  # 22.4
        (24, 1.1, 24),  # 26.4
        (320, 1.1, 352),
        (1280, 1.4, 1792),
        (1280, 4.3, 5504),
        (10, 1.0, 16),  # 8 would be less than 90 %
        (4, 1.0, 8),
    ],
)
def test_a_width_is_a_multiple_of_8_not_below_90_percent(channels: int, factor: float, width: int) -> None:
    assert widened(channels, factor) == width


@pytest.mark.parametrize(
    ("variant", "blocks"),
    [
        ("b0", [1, 2, 2, 3, 3, 4, 1]),
        ("b1", [2, 3, 3, 4, 4, 5, 2]),
        ("b2", [2, 3, 3, 4, 4, 5, 2]),
        ("b3", [2, 3, 3, 5, 5, 6, 2]),
        ("b4", [2, 4, 4, 6, 6, 8, 2]),
        ("b5", [3, 5, 5, 7, 7, 9, 3]),
        ("b6", [3, 6, 6, 8, 8, 11, 3]),
        ("b7", [4, 7, 7, 10, 10, 13, 4]),
    ],
)
def test_the_stages_have_the_published_numbers_of_blocks(variant: str, blocks: list[int]) -> None:
    assert [stage.blocks for stage in scaled(SCALES[variant])] == blocks


@pytest.mark.parametrize("variant", ["b0", "b3", "b7"])
def test_dropout_is_that_of_the_variant(variant: str) -> None:
    with torch.device("meta"):
        assert EfficientNet(variant=variant).dropout.p == SCALES[variant].dropout


@pytest.mark.slow
@pytest.mark.parametrize(("size", "giga"), [(600, 273.1), (800, 475.7)])
def test_l2_costs_at_other_sizes_what_is_published(size: int, giga: float) -> None:
    with torch.device("meta"):
        net = EfficientNet(variant="l2", image_size=size)
        assert round(multiply_adds(net, torch.empty(1, 3, size, size)) / 1e9, 1) == giga


def test_the_stages_have_the_published_parameters_and_shapes() -> None:
    with torch.device("meta"):
        net = EfficientNet()
        x = net.stem(torch.empty(1, 3, 224, 224))
        shapes = [tuple(x.shape[1:])]
        for stage in net.stages:
            x = stage(x)
            shapes.append(tuple(x.shape[1:]))
        shapes.append(tuple(net.head(x).shape[1:]))
    parts = [net.stem, *net.stages, net.head, net.classifier]
    counts = [sum(parameter.numel() for parameter in part.parameters()) for part in parts]
    assert counts == [928, 1_448, 16_714, 46_640, 242_930, 543_148, 2_026_348, 717_232, 412_160, 1_281_000]
    widths_and_sizes = [(32, 112), (16, 112), (24, 56), (40, 28), (80, 14), (112, 14), (192, 7), (320, 7), (1280, 7)]
    assert shapes == [(width, size, size) for width, size in widths_and_sizes]


def test_a_small_image_ends_at_an_eighth_of_its_side() -> None:
    with torch.device("meta"):
        net = EfficientNet(image_size=32)
        x = net.stem(torch.empty(1, 3, 32, 32))
        sizes = [x.shape[2]]
        for stage in net.stages:
            x = stage(x)
            sizes.append(x.shape[2])
    assert sizes == [32, 32, 32, 16, 8, 8, 4, 4]


def test_it_leaves_blocks_out_at_torchvisions_rates() -> None:
    with torch.device("meta"):
        ours = EfficientNet()
        theirs = torchvision.models.efficientnet_b0(weights=None)
    mine = [module.rate for module in ours.modules() if isinstance(module, StochasticDepth)]
    its = [block.stochastic_depth.p for stage in theirs.features[1:8] for block in stage if block.use_res_connect]
    assert mine == pytest.approx(its)
    assert all(before < after for before, after in pairwise(mine))


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("size", [7, 8])
def test_padding_as_tensorflows_puts_the_odd_row_below_and_on_the_right(kernel_size: int, size: int) -> None:
    x, weight = torch.rand(1, 1, size, size), torch.rand(1, 1, kernel_size, kernel_size)
    padded = PadToSame(kernel_size, 2)(x)
    before, odd = (kernel_size - 1) // 2, size % 2
    begin = before if odd else before - (kernel_size % 2)
    torch.testing.assert_close(padded, pad(x, (begin, before, begin, before)))
    assert conv2d(padded, weight, stride=2).shape[2] == -(-size // 2)


def test_padding_as_tensorflows_is_symmetric_for_odd_images_only() -> None:
    same = EfficientNet(num_classes=10).eval()
    symmetric = EfficientNet(num_classes=10, padding="symmetric").eval()
    symmetric.load_state_dict(same.state_dict())
    with torch.no_grad():
        odd, even = torch.rand(1, 3, 65, 65), torch.rand(1, 3, 64, 64)
        assert torch.equal(same(odd), symmetric(odd))
        assert not torch.allclose(same(even), symmetric(even))


def test_a_gate_of_zero_weights_halves_every_map() -> None:
    gate = SqueezeExcite(8, 2, nn.SiLU)
    nn.init.zeros_(gate.excite.weight)
    nn.init.zeros_(gate.excite.bias)
    x = torch.randn(2, 8, 3, 3)
    assert torch.equal(gate(x), x / 2)


def test_a_gate_keeps_its_sigmoid_and_takes_no_norm() -> None:
    with torch.device("meta"):
        net = EfficientNet(parts=Parts(activation=nn.Tanh, norm=batch))
    gates = [module for module in net.modules() if isinstance(module, SqueezeExcite)]
    assert len(gates) == sum(stage.blocks for stage in B0)
    assert all([type(layer) for layer in gate.children()] == [nn.Linear, nn.Tanh, nn.Linear] for gate in gates)
    assert not any(isinstance(module, nn.SiLU) for module in net.modules())


def test_stochastic_depth_leaves_out_whole_images_and_keeps_the_mean() -> None:
    x = torch.ones(4000, 2, 2, 2)
    y = StochasticDepth(0.2)(x)
    per_image = y.flatten(1)
    assert torch.equal(per_image.amin(1), per_image.amax(1))
    assert set(per_image[:, 0].tolist()) == {0.0, 1.25}
    assert y.mean().item() == pytest.approx(1, abs=0.03)


def test_stochastic_depth_draws_from_torchs_generator_and_only_while_training() -> None:
    depth, x = StochasticDepth(0.5), torch.ones(64, 1, 1, 1)
    torch.manual_seed(3)
    first = depth(x)
    assert not torch.equal(depth(x), first)
    torch.manual_seed(3)
    assert torch.equal(depth(x), first)
    assert depth.eval()(x) is x


def test_a_block_that_is_left_out_passes_its_input_on() -> None:
    block = Residual(nn.Conv2d(4, 4, 1), rate=0.999)
    x = torch.rand(2, 4, 5, 5)
    assert torch.equal(block(x), x)


def test_without_stochastic_depth_training_twice_gives_the_same() -> None:
    net = EfficientNet(image_size=32, num_classes=10, stochastic_depth=0.0, parts=Parts(dropout=0.0))
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(net(x), net(x))


def test_the_papers_initialization_is_the_authors_codes() -> None:
    net = EfficientNet()
    block = net.stages[6][0]  # 192 -> 1152 -> 320 maps
    expand, depthwise, gate, project = block
    for weight, variance in (
        (expand.conv.weight, 2 / 1152),
        (depthwise.conv.weight, 2 / 9),
        (gate.squeeze.weight, 2 / 48),
        (gate.excite.weight, 2 / 1152),
        (project.conv.weight, 2 / 320),
    ):
        assert weight.var().item() == pytest.approx(variance, rel=0.05)
    assert not gate.squeeze.bias.any()
    bound = 1000**-0.5
    assert 0.99 * bound < net.classifier.weight.abs().max().item() <= bound


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "b9"}, "variant=b9: accepted are b0, b1, b2, b3, b4, b5, b6, b7, l2"),
        ({"padding": "valid"}, "padding=valid: accepted are same, symmetric"),
        ({"parts": Parts(pool=nn.MaxPool2d)}, "pool: EfficientNet has no pooling but a global average"),
    ],
)
def test_what_it_cannot_be_is_refused(arguments: dict[str, str | float | Parts], message: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        EfficientNet(**arguments)  # type: ignore[arg-type]
