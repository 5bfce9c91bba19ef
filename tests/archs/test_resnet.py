"""ResNet: every depth and shortcut of the paper, both families, the same function as torchvision's."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from convarium.archs.resnet import CifarResNet, ResNet, ZeroPadded
from convarium.layers import NormFactory, Parts, norm
from convarium.layers.pooling import average_pool


@pytest.mark.parametrize(
    ("depth", "shortcut", "downsample_in", "parameters", "multiply_adds"),
    [
        (18, "B", "1x1", 11_689_512, 1_814_073_344),
        (18, "C", "1x1", 12_043_816, 1_878_298_624),
        (34, "B", "1x1", 21_797_672, 3_663_761_408),
        (34, "C", "1x1", 22_716_840, 3_830_747_136),
        (50, "B", "3x3", 25_557_032, 4_089_184_256),
        (101, "B", "3x3", 44_549_160, 7_801_405_440),
        (152, "B", "3x3", 60_192_808, 11_513_626_624),
    ],
)
def test_an_imagenet_network_with_other_shortcuts_has_the_published_size(
    depth: int, shortcut: str, downsample_in: str, parameters: int, multiply_adds: int
) -> None:
    with torch.device("meta"):
        net = ResNet(depth=depth, shortcut=shortcut, downsample_in=downsample_in)
        with FlopCounterMode(display=False) as counter:
            net.eval()(torch.empty(1, 3, 224, 224))
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    assert counter.get_total_flops() == 2 * multiply_adds


@pytest.mark.parametrize(
    ("depth", "parameters"), [(20, 272_474), (32, 466_906), (44, 661_338), (56, 855_770), (110, 1_730_714)]
)
def test_a_cifar_network_with_projections_has_the_published_size(depth: int, parameters: int) -> None:
    with torch.device("meta"):
        net = CifarResNet(depth=depth, shortcut="B")
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters


def stage_shapes(net: ResNet | CifarResNet, image: Tensor) -> list[tuple[int, ...]]:
    x = net.stem(image)
    shapes = [tuple(x.shape[1:])]
    for stage in net.stages:
        x = stage(x)
        shapes.append(tuple(x.shape[1:]))
    return shapes


@pytest.mark.parametrize(("depth", "expansion"), [(18, 1), (34, 1), (50, 4), (101, 4), (152, 4)])
def test_the_stages_are_those_of_table_1(depth: int, expansion: int) -> None:
    with torch.device("meta"):
        shapes = stage_shapes(ResNet(depth=depth), torch.empty(1, 3, 224, 224))
    widths_and_sizes = [(64, 56), (128, 28), (256, 14), (512, 7)]
    assert shapes == [(64, 56, 56), *((width * expansion, size, size) for width, size in widths_and_sizes)]


@pytest.mark.parametrize(
    ("depth", "published"),
    [
        (18, [148e3, 526e3, 2.10e6, 8.39e6]),
        (34, [222e3, 1.12e6, 6.82e6, 13.1e6]),
        (50, [216e3, 1.22e6, 7.10e6, 15.0e6]),
        (101, [216e3, 1.22e6, 26.1e6, 15.0e6]),
        (152, [216e3, 2.34e6, 40.6e6, 15.0e6]),
    ],
)
def test_the_stages_have_the_published_parameters(depth: int, published: list[float]) -> None:
    with torch.device("meta"):
        stages = ResNet(depth=depth).stages
    counts = [sum(parameter.numel() for parameter in stage.parameters()) for stage in stages]
    assert [float(f"{count:.3g}") for count in counts] == published


def test_a_small_image_keeps_its_size_through_the_stem() -> None:
    with torch.device("meta"):
        shapes = stage_shapes(ResNet(image_size=32), torch.empty(1, 3, 32, 32))
    assert shapes == [(64, 32, 32), (256, 32, 32), (512, 16, 16), (1024, 8, 8), (2048, 4, 4)]


def test_the_stages_of_a_cifar_network_are_those_of_section_4_2() -> None:
    with torch.device("meta"):
        shapes = stage_shapes(CifarResNet(), torch.empty(1, 3, 32, 32))
    assert shapes == [(16, 32, 32), (16, 32, 32), (32, 16, 16), (64, 8, 8)]


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


NORMS_WITH_A_GAIN = [norm.batch, norm.Group, norm.layer, norm.instance]


@pytest.mark.parametrize("factory", NORMS_WITH_A_GAIN)
@pytest.mark.parametrize("depth", [18, 50])
def test_with_zero_init_residual_every_block_starts_as_its_shortcut(depth: int, factory: NormFactory) -> None:
    net = ResNet(depth=depth, image_size=32, parts=Parts(norm=factory), zero_init_residual=True)
    x = torch.randn(2, 64, 16, 16)
    for stage in net.stages:
        for block in stage:
            assert not block.body(x).any()
            x = block(x)


def test_with_zero_init_residual_a_block_without_a_projection_is_the_identity_before_its_activation() -> None:
    net = CifarResNet(parts=Parts(activation=nn.Identity), zero_init_residual=True)
    x = torch.randn(2, 16, 8, 8)
    assert torch.equal(net.stages[0](x), x)


def test_zero_init_residual_sets_one_gain_a_block_and_nothing_else() -> None:
    torch.manual_seed(1)
    plain = dict(CifarResNet().named_parameters())
    torch.manual_seed(1)
    zero = dict(CifarResNet(zero_init_residual=True).named_parameters())
    changed = [key for key in plain if not torch.equal(plain[key], zero[key])]
    assert changed == [f"stages.{stage}.{block}.body.1.norm.weight" for stage in range(3) for block in range(3)]


@pytest.mark.parametrize("family", [ResNet, CifarResNet])
def test_zero_init_residual_is_refused_where_there_is_nothing_to_set(family: type[ResNet | CifarResNet]) -> None:
    with torch.device("meta"):
        with pytest.raises(ValueError, match="zero_init_residual=true: this norm has no gain"):
            family(parts=Parts(norm=norm.none), zero_init_residual=True)
        with pytest.raises(ValueError, match="zero_init_residual=true: this norm has no gain"):
            family(parts=Parts(norm=norm.LocalResponse), zero_init_residual=True)
        with pytest.raises(ValueError, match="zero_init_residual=true: shortcut=none leaves no residual branch"):
            family(shortcut="none", zero_init_residual=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 51}, "depth=51: accepted are 18, 34, 50, 101, 152"),
        ({"shortcut": "D"}, "shortcut=D: accepted are none, A, B, C"),
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
