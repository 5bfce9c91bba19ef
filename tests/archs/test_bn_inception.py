"""BN-Inception: the modules of Figure 5, both ways to read it, its stems, and the sizes of its images."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from convarium.archs.bn_inception import BNInception, Inception
from convarium.layers import AS_IN_PAPER, Parts
from convarium.layers.pooling import average_pool, max_pool

FIGURE_5 = {  # maps, side and pooling at 224 pixels
    "3a": (256, 28, nn.AvgPool2d),
    "3b": (320, 28, nn.AvgPool2d),
    "3c": (576, 14, nn.MaxPool2d),
    "4a": (576, 14, nn.AvgPool2d),
    "4b": (576, 14, nn.AvgPool2d),
    "4c": (608, 14, nn.AvgPool2d),
    "4d": (608, 14, nn.AvgPool2d),
    "4e": (1056, 7, nn.MaxPool2d),
    "5a": (1024, 7, nn.AvgPool2d),
    "5b": (1024, 7, nn.MaxPool2d),
}


def shapes(net: BNInception, image_size: int) -> dict[str, tuple[int, ...]]:
    """What the stem and each module give, without values."""
    found: dict[str, tuple[int, ...]] = {}
    with torch.device("meta"):
        x = net.eval().stem(torch.empty(1, 3, image_size, image_size))
        found["stem"] = tuple(x.shape[1:])
        for name, module in net.inception.named_children():
            x = module(x)
            found[name] = tuple(x.shape[1:])
    return found


def test_the_modules_are_those_of_figure_5() -> None:
    with torch.device("meta"):
        found = shapes(BNInception(), 224)
    assert found == {"stem": (192, 28, 28)} | {name: (maps, side, side) for name, (maps, side, _) in FIGURE_5.items()}


def test_a_module_averages_or_takes_the_largest_as_figure_5_says() -> None:
    with torch.device("meta"):
        modules = BNInception().inception.named_children()
    assert {name: type(module["pool"][0]) for name, module in modules} == {
        name: pool for name, (_, _, pool) in FIGURE_5.items()
    }


def test_with_96_pooled_maps_the_depths_are_those_printed() -> None:
    with torch.device("meta"):
        found = shapes(BNInception(table="depths"), 224)
    assert {name: found[name][0] for name in ("4c", "4d", "4e", "5b")} == {"4c": 576, "4d": 576, "4e": 1024, "5b": 1024}


@pytest.mark.parametrize(("first_conv", "parameters"), [("dense", 11_194_984), ("separable", 11_188_288)])
def test_another_reading_of_the_figure_has_its_size(first_conv: str, parameters: int) -> None:
    with torch.device("meta"):
        net = BNInception(table="depths", first_conv=first_conv)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters


def test_a_separable_first_convolution_is_the_one_in_the_table_of_googlenet() -> None:
    """2.7K parameters and 34M operations, which a dense 7x7 has not."""
    with torch.device("meta"):
        first = BNInception(first_conv="separable").eval().stem[0]
        with FlopCounterMode(display=False) as counter:
            assert first(torch.empty(1, 3, 224, 224)).shape == (1, 64, 112, 112)
    weights = sum(module.weight.numel() for module in first.modules() if isinstance(module, nn.Conv2d))
    assert weights == 2_712
    assert counter.get_total_flops() == 2 * 34_019_328


def test_a_module_with_stride_2_passes_its_pooled_input_on() -> None:
    with torch.device("meta"):
        filters = BNInception().inception
    assert [name for name, module in filters.named_children() if "conv1" not in module] == ["3c", "4e"]
    module = BNInception().inception.get_submodule("3c")
    assert isinstance(module, Inception)
    x = torch.randn(2, 320, 8, 8)
    assert torch.equal(module(x)[:, -320:], nn.functional.max_pool2d(x, 3, 2, padding=1))
    assert [module[branch][-1].conv.stride for branch in ("conv3", "double3")] == [(2, 2), (2, 2)]


def test_batch_norm_stands_before_every_relu_and_dropout_has_no_rate() -> None:
    with torch.device("meta"):
        net = BNInception()
    blocks = [dict(module.named_children()) for module in net.modules()]
    kinds = [tuple(type(layer) for layer in block.values()) for block in blocks if "conv" in block]
    assert set(kinds) == {(nn.Conv2d, nn.BatchNorm2d, nn.ReLU)}
    assert len(kinds) == 69
    assert net.dropout.p == 0.0


@pytest.mark.parametrize(
    ("image_size", "sizes"),
    [(224, (28, 14, 7)), (237, (29, 15, 8)), (64, (32, 16, 8)), (32, (16, 8, 4)), (2, (1,) * 3)],
)
def test_the_modules_see_maps_of(image_size: int, sizes: tuple[int, int, int]) -> None:
    with torch.device("meta"):
        found = shapes(BNInception(image_size=image_size), image_size)
    assert tuple(found[name][-1] for name in ("3a", "4a", "5a")) == sizes


def test_another_pooling_replaces_both_kinds() -> None:
    kinds = (nn.MaxPool2d, nn.AvgPool2d)
    with torch.device("meta"):
        nets = [BNInception(parts=Parts(pool=pool)) for pool in (max_pool, average_pool)]
    for net, kind in zip(nets, kinds, strict=True):
        assert [type(module) for module in net.modules() if isinstance(module, kinds)] == [kind] * 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 1}, "image_size=1: too small for the pooling before the 1x1 of the stem"),
        ({"image_size": 6, "stem": "paper"}, "image_size=6: too small for the pooling before module 3a"),
    ],
)
def test_what_it_cannot_be_is_refused(arguments: dict[str, str | int], message: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        BNInception(parts=AS_IN_PAPER, **arguments)  # type: ignore[arg-type]
