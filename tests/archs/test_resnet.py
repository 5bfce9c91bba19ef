"""ResNet: every depth and shortcut of the paper, both families, the same function as torchvision's."""

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from convarium.archs.resnet import CifarResNet, ResNet, ZeroPadded
from convarium.layers import Parts
from convarium.layers.pooling import average_pool


def size(net: nn.Module, image: Tensor) -> tuple[int, int]:
    """Parameters and multiply-adds."""
    with FlopCounterMode(display=False) as counter:
        net.eval()(image)
    return sum(parameter.numel() for parameter in net.parameters()), counter.get_total_flops() // 2


@pytest.mark.parametrize(
    ("depth", "shortcut", "downsample_in", "parameters", "multiply_adds"),
    [
        (18, "none", "1x1", 11_515_688, 1_794_805_760),
        (18, "A", "1x1", 11_515_688, 1_794_805_760),
        (18, "B", "1x1", 11_689_512, 1_814_073_344),
        (18, "C", "1x1", 12_043_816, 1_878_298_624),
        (34, "none", "1x1", 21_623_848, 3_644_493_824),
        (34, "A", "1x1", 21_623_848, 3_644_493_824),
        (34, "B", "1x1", 21_797_672, 3_663_761_408),
        (34, "C", "1x1", 22_716_840, 3_830_747_136),
        (50, "B", "1x1", 25_557_032, 3_857_973_248),
        (50, "B", "3x3", 25_557_032, 4_089_184_256),
        (101, "B", "1x1", 44_549_160, 7_570_194_432),
        (101, "B", "3x3", 44_549_160, 7_801_405_440),
        (152, "B", "1x1", 60_192_808, 11_282_415_616),
        (152, "B", "3x3", 60_192_808, 11_513_626_624),
    ],
)
def test_an_imagenet_network_has_the_published_size(
    depth: int, shortcut: str, downsample_in: str, parameters: int, multiply_adds: int
) -> None:
    with torch.device("meta"):
        net = ResNet(depth=depth, shortcut=shortcut, downsample_in=downsample_in)
        assert size(net, torch.empty(1, 3, 224, 224)) == (parameters, multiply_adds)


@pytest.mark.parametrize(
    ("depth", "shortcut", "parameters", "multiply_adds"),
    [
        (20, "A", 269_722, 40_551_040),
        (20, "none", 269_722, 40_551_040),
        (20, "B", 272_474, None),
        (32, "A", 464_154, 68_862_592),
        (32, "B", 466_906, None),
        (44, "A", 658_586, 97_174_144),
        (44, "B", 661_338, None),
        (56, "A", 853_018, 125_485_696),
        (56, "B", 855_770, None),
        (110, "A", 1_727_962, 252_887_680),
        (110, "B", 1_730_714, None),
    ],
)
def test_a_cifar_network_has_the_published_size(
    depth: int, shortcut: str, parameters: int, multiply_adds: int | None
) -> None:
    with torch.device("meta"):
        net = CifarResNet(depth=depth, shortcut=shortcut)
        measured = size(net, torch.empty(1, 3, 32, 32))
    assert measured == (parameters, multiply_adds or measured[1])


@pytest.mark.slow
def test_the_1202_layers_have_the_published_size() -> None:
    with torch.device("meta"):
        assert size(CifarResNet(depth=1202), torch.empty(1, 3, 32, 32)) == (19_421_274, 2_829_238_912)


def stage_shapes(net: ResNet | CifarResNet, image: Tensor) -> list[tuple[int, ...]]:
    x = net.stem(image)
    shapes = [tuple(x.shape[1:])]
    for stage in net.stages:
        x = stage(x)
        shapes.append(tuple(x.shape[1:]))
    return shapes


def test_the_stages_are_those_of_table_1() -> None:
    with torch.device("meta"):
        shapes = stage_shapes(ResNet(), torch.empty(1, 3, 224, 224))
    assert shapes == [(64, 56, 56), (256, 56, 56), (512, 28, 28), (1024, 14, 14), (2048, 7, 7)]


def test_a_small_image_keeps_its_size_through_the_stem() -> None:
    with torch.device("meta"):
        shapes = stage_shapes(ResNet(image_size=32), torch.empty(1, 3, 32, 32))
    assert shapes == [(64, 32, 32), (256, 32, 32), (512, 16, 16), (1024, 8, 8), (2048, 4, 4)]


def test_the_stages_of_a_cifar_network_are_those_of_section_4_2() -> None:
    with torch.device("meta"):
        shapes = stage_shapes(CifarResNet(), torch.empty(1, 3, 32, 32))
    assert shapes == [(16, 32, 32), (16, 32, 32), (32, 16, 16), (64, 8, 8)]


@pytest.mark.parametrize("depth", [18, 50])
def test_it_computes_the_same_function_as_torchvisions(depth: int) -> None:
    ours = ResNet(depth=depth, downsample_in="3x3", stem="paper", image_size=64, num_classes=10).double()
    theirs = torchvision.models.get_model(f"resnet{depth}", weights=None, num_classes=10).double()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        ours(images)  # moves the running statistics
        theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(ours.eval()(images), theirs.eval()(images), rtol=1e-9, atol=1e-12)


def test_shortcut_a_subsamples_and_pads_with_zeros() -> None:
    x = torch.arange(32.0).view(1, 2, 4, 4)
    y = ZeroPadded(2, 4, stride=2)(x)
    assert y.shape == (1, 4, 2, 2)
    assert torch.equal(y[:, :2], x[:, :, ::2, ::2])
    assert not y[:, 2:].any()


def test_a_block_whose_body_gives_nothing_passes_its_input_on() -> None:
    net = CifarResNet()
    block = net.stages[0][1]
    nn.init.zeros_(block.body[-1].norm.weight)
    x = torch.rand(2, 16, 8, 8)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 51}, "depth=51: accepted are 18, 34, 50, 101, 152"),
        ({"shortcut": "D"}, "shortcut=D: accepted are none, A, B, C"),
        ({"downsample_in": "5x5"}, "downsample_in=5x5: accepted are 1x1, 3x3"),
        ({"stem": "tiny"}, "stem=tiny: accepted are auto, paper, small"),
    ],
)
def test_an_unknown_variant_is_refused(arguments: dict[str, str | int], message: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        ResNet(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("depth", [2, 18, 21])
def test_a_cifar_depth_that_is_not_6n_plus_2_is_refused(depth: int) -> None:
    with pytest.raises(ValueError, match=rf"depth={depth}: accepted are 6n\+2"):
        CifarResNet(depth=depth)


def test_pooling_is_refused_only_where_the_stem_has_none() -> None:
    parts = Parts(pool=average_pool)
    with torch.device("meta"):
        assert any(isinstance(module, nn.AvgPool2d) for module in ResNet(parts=parts).modules())
        with pytest.raises(ValueError, match="pool: the small stem"):
            ResNet(parts=parts, image_size=32)
