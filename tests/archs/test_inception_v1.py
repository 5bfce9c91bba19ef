"""GoogLeNet: the modules of Table 1, its auxiliary heads, its stems, the same function as torchvision's."""

from functools import partial

import pytest
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from convarium.archs.inception_v1 import AUX_PAPER, IN_CHANNELS, MODULES, PAPER, AuxiliaryHead, Inception, InceptionV1
from convarium.layers import Parts
from convarium.layers.norm import LocalResponse, batch
from convarium.layers.pooling import StridedConv, average_pool, max_pool


@pytest.mark.parametrize(
    ("name", "in_channels", "width", "size", "parameters", "millions"),
    [
        ("3a", 192, 256, 28, 163_696, 128.0),
        ("3b", 256, 480, 28, 388_736, 304.3),
        ("4a", 480, 512, 14, 376_176, 73.6),
        ("4b", 512, 512, 14, 449_160, 87.9),
        ("4c", 512, 512, 14, 510_104, 99.9),
        ("4d", 512, 528, 14, 605_376, 118.5),
        ("4e", 528, 832, 14, 868_352, 170.0),
        ("5a", 832, 832, 7, 1_043_456, 51.1),
        ("5b", 832, 1024, 7, 1_444_080, 70.7),
    ],
)
def test_a_module_is_its_row_of_table_1(
    name: str, in_channels: int, width: int, size: int, parameters: int, millions: float
) -> None:
    assert IN_CHANNELS[name] == in_channels
    with torch.device("meta"):
        module = Inception(in_channels, MODULES[name], PAPER)
        with FlopCounterMode(display=False) as counter:
            y = module(torch.empty(1, in_channels, size, size))
    assert y.shape == (1, width, size, size)
    assert sum(parameter.numel() for parameter in module.parameters()) == parameters
    assert counter.get_total_flops() / 2e6 == pytest.approx(millions, abs=0.1)


def test_reducing_first_makes_the_5x5_of_4a_21_times_as_cheap() -> None:
    with torch.device("meta"):
        maps = torch.empty(1, 480, 14, 14)
        with FlopCounterMode(display=False) as reduced:
            Inception(480, MODULES["4a"], PAPER).branch5(maps)
        with FlopCounterMode(display=False) as direct:
            nn.Conv2d(480, 48, 5, padding=2)(maps)
    assert reduced.get_total_flops() == 2 * (1_505_280 + 3_763_200)
    assert direct.get_total_flops() == 2 * 112_896_000


@pytest.mark.parametrize(("aux_heads", "parameters"), [(True, 13_378_280), (False, 6_998_552)])
def test_the_auxiliary_heads_are_an_option(aux_heads: bool, parameters: int) -> None:
    with torch.device("meta"):
        net = InceptionV1(aux_heads=aux_heads)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters


@pytest.mark.parametrize(("aux_heads", "parameters"), [(True, 13_004_888), (False, 6_624_904)])
def test_with_3x3_for_5x5_and_batch_norm_it_is_of_torchvisions_size(aux_heads: bool, parameters: int) -> None:
    with torch.device("meta"):
        net = InceptionV1(aux_heads=aux_heads, parts=Parts(norm=batch), last_pool=2).eval()
        with FlopCounterMode(display=False) as counter:
            net(torch.empty(1, 3, 224, 224))
    margins = positions = 0
    for name, size in {"3a": 28, "3b": 28, "4a": 14, "4b": 14, "4c": 14, "4d": 14, "4e": 14, "5a": 7, "5b": 7}.items():
        margin = MODULES[name].reduce5 * MODULES[name].conv5 * (5 * 5 - 3 * 3)
        margins += margin
        positions += margin * size**2
    assert sum(parameter.numel() for parameter in net.parameters()) - margins == parameters
    assert counter.get_total_flops() // 2 - positions == 1_498_376_192


def test_each_auxiliary_head_has_the_published_parameters() -> None:
    with torch.device("meta"):
        heads = InceptionV1().aux
    assert [sum(parameter.numel() for parameter in head.parameters()) for head in heads] == [3_188_840, 3_190_888]


@pytest.mark.parametrize(
    ("image_size", "sizes"), [(224, (28, 14, 7)), (299, (37, 18, 9)), (64, (32, 16, 8)), (32, (16, 8, 4))]
)
def test_the_modules_see_maps_of(image_size: int, sizes: tuple[int, int, int]) -> None:
    with torch.device("meta"):
        net = InceptionV1(image_size=image_size).eval()
        seen: list[int] = []
        for stage in (net.to_4a[0], net.to_4d[0], net.to_5b[-1]):
            stage.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[-1]))
        net(torch.empty(1, 3, image_size, image_size))
    assert tuple(seen) == sizes


def test_local_response_normalization_stands_twice_in_the_stem() -> None:
    with torch.device("meta"):
        net = InceptionV1()
    assert [name for name, module in net.named_modules() if isinstance(module, LocalResponse)] == ["stem.2", "stem.5"]


def test_the_paper_drops_40_and_70_percent() -> None:
    with torch.device("meta"):
        net = InceptionV1()
    assert net.dropout.p == 0.4
    assert [head.dropout.p for head in net.aux] == [0.7, 0.7]


def test_another_pooling_reaches_the_auxiliary_heads() -> None:
    with torch.device("meta"):
        nets = [InceptionV1(parts=Parts(pool=pool)) for pool in (max_pool, average_pool, StridedConv)]
    kinds = (nn.MaxPool2d, nn.AvgPool2d, StridedConv)
    for net, kind in zip(nets, kinds, strict=True):
        poolings = [type(module) for module in net.modules() if isinstance(module, kinds)]
        assert poolings == [kind] * 15


def test_an_auxiliary_head_computes_the_same_function_as_torchvisions_on_what_it_pooled() -> None:
    """Of 14x14 maps torchvision's averages 4x4 windows of changing size; the paper's are 5x5 with stride 3."""
    ours = AuxiliaryHead(512, 14, 10, AUX_PAPER._replace(norm=partial(batch, eps=1e-3))).double().eval()
    theirs = torchvision.models.get_model("googlenet", weights=None, init_weights=False, num_classes=10).aux1
    theirs = theirs.double().eval()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    maps = torch.randn(2, 512, 14, 14, dtype=torch.float64)
    with torch.no_grad():
        pooled = ours.pool(maps)
        assert pooled.shape == (2, 512, 4, 4)
        torch.testing.assert_close(ours(maps), theirs(pooled), rtol=1e-9, atol=1e-12)


def test_an_image_too_small_for_the_auxiliary_heads_is_refused() -> None:
    with torch.device("meta"), pytest.raises(ValueError, match="image_size=16: too small for the auxiliary heads"):
        InceptionV1(image_size=16)
    with torch.device("meta"):
        assert InceptionV1(image_size=16, aux_heads=False)(torch.empty(2, 3, 16, 16)).shape == (2, 1000)


def test_the_last_pooling_has_a_window_of_3_or_as_torchvisions_of_2() -> None:
    with torch.device("meta"):
        nets = {window: InceptionV1(last_pool=window) for window in (2, 3)}
        assert [net.to_5b[1].kernel_size for net in nets.values()] == [2, 3]
        assert all(net.eval()(torch.empty(1, 3, 224, 224)).shape == (1, 1000) for net in nets.values())
