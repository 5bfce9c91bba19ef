"""The networks of patterns: published counts and sizes, the same function as layer by layer, how to ask for one."""

import re
import shlex
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from archs.catalog import stated
from archs.networks import make
from convarium.archs.convnet import ConvNet
from convarium.config.compose import Conf
from convarium.config.instantiate import build
from convarium.config.overrides import readable
from convarium.errors import ConfigError
from convarium.layers import NormFactory, Parts
from convarium.layers.norm import batch, none
from convarium.layers.pooling import StridedConv, max_pool

CONF = Path(__file__).parents[2] / "conf"
KAGGLE = "INPUT -> [{}]*2 -> FC128 -> RELU{} -> FC"
BEST = KAGGLE.format("(CONV3x3 -> RELU -> BN)*2 -> CONV5x5s2p2 -> RELU -> BN -> DROPOUT40", " -> BN -> DROPOUT40")
STUDIED = {"widths": (32, 64), "padding": "valid"}
KERAS = (
    "INPUT -> [(CONV32 -> RELU)*2 -> POOL -> BN -> DROPOUT20]*2 -> [(CONV64 -> RELU)*3 -> POOL -> BN -> DROPOUT20] -> "
    "FC64 -> RELU -> DROPOUT20 -> FC"
)


def parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def multiply_adds(net: nn.Module, channels: int, image_size: int) -> int:
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        net.eval()(torch.empty(1, channels, image_size, image_size))
    return counter.get_total_flops() // 2


def mnist(**arguments: object) -> ConvNet:
    with torch.device("meta"):
        return ConvNet(**{"in_channels": 1, "image_size": 28, **arguments})  # type: ignore[arg-type]


def sizes(net: nn.Module, kinds: type[nn.Module] | tuple[type[nn.Module], ...], image: Tensor) -> list[int]:
    """The sides of the maps that the modules of these kinds give."""
    found: list[int] = []
    for module in net.modules():
        if isinstance(module, kinds):
            module.register_forward_hook(lambda module, inputs, output: found.append(output.shape[-1]))
    net.eval()(image)
    return found


# the counts of the literature -----------------------------------------------------------------------------------------


def of_maps(*widths: int, units: int = 256, padding: str = "valid") -> dict[str, object]:
    """The arguments of a network of the MNIST design study."""
    return {"widths": widths, "hidden": (units,) if units else (), "padding": padding, "num_convs": 1, "kernel_size": 5}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (of_maps(24, padding="same"), 1_207_674),
        (of_maps(24, 48, padding="same"), 634_410),
        (of_maps(24, 48, 64, padding="same"), 371_306),
        *((of_maps(8, 16), 71_786), (of_maps(16, 32), 147_146), (of_maps(24, 48), 228_906), (of_maps(32, 64), 317_066)),
        *((of_maps(40, 80), 411_626), (of_maps(48, 96), 512_586), (of_maps(64, 128), 733_706)),
        *((of_maps(32, 64, units=0), 62_346), (of_maps(32, 64, units=32), 85_226)),
        *((of_maps(32, 64, units=64), 118_346), (of_maps(32, 64, units=128), 184_586)),
        *((of_maps(32, 64, units=512), 582_026), (of_maps(32, 64, units=1024), 1_111_946)),
        (of_maps(32, 64, units=2048), 2_171_786),
        (of_maps(32, 64, units=128, padding="same"), 454_922),
        (of_maps(32, 64, units=256, padding="same"), 857_738),
        ({"pattern": KAGGLE.format("CONV5x5 -> RELU -> POOL", ""), **STUDIED}, 184_586),
        ({"pattern": KAGGLE.format("(CONV3x3 -> RELU)*2 -> POOL", ""), **STUDIED}, 197_482),
        ({"pattern": KAGGLE.format("CONV5x5 -> RELU -> CONV5x5s2p2 -> RELU", ""), **STUDIED}, 312_682),
        ({"pattern": BEST.replace("FC128 -> RELU -> BN", "FC128 -> RELU"), **STUDIED}, 326_154),
        ({"pattern": BEST, **STUDIED}, 326_410),
    ],
)
def test_the_studies_have_the_published_parameters(arguments: dict[str, object], expected: int) -> None:
    assert parameters(mnist(**arguments)) == expected


def test_the_studys_maps_shrink_from_28_to_4() -> None:
    net = mnist(**of_maps(32, 64, units=128))
    assert sizes(net, (nn.Conv2d, nn.MaxPool2d), torch.empty(1, 1, 28, 28, device="meta")) == [24, 12, 8, 4]


def test_a_learnt_pooling_comes_as_the_part_pool() -> None:
    learnt = mnist(**of_maps(32, 64, units=128), parts=Parts(pool=StridedConv))
    assert parameters(learnt) == 184_586 + (32 * 32 * 4 + 32) + (64 * 64 * 4 + 64)
    odd = mnist(**of_maps(24, 48, 64, padding="same"), parts=Parts(pool=StridedConv))
    assert sizes(odd, StridedConv, torch.empty(1, 1, 28, 28, device="meta")) == [14, 7, 4]


VGG = "INPUT -> [(CONV64 -> RELU)*2 -> POOL] -> [(CONV128 -> RELU)*2 -> POOL] -> [(CONV256 -> RELU)*3 -> POOL] -> "
ALEXNET = (
    "INPUT -> CONV11x11-64s4p2 -> RELU -> POOL3x3s2 -> CONV5x5-192p2 -> RELU -> POOL3x3s2 -> CONV384p1 -> RELU -> "
    "(CONV256p1 -> RELU)*2 -> POOL3x3s2 -> [DROPOUT50 -> FC4096 -> RELU]*2 -> FC"
)


@pytest.mark.parametrize(
    ("pattern", "shape", "classes", "counts"),
    [
        ("INPUT -> FC", (1, 28), 10, (7_850, 7_840)),
        ("INPUT -> [FC300 -> RELU] -> FC", (1, 28), 10, (238_510, 238_200)),
        (
            "INPUT -> [CONV5x5-20 -> RELU -> POOL] -> [CONV5x5-50 -> RELU -> POOL] -> FC500 -> RELU -> FC",
            (1, 28),
            10,
            (431_080, 2_293_000),
        ),
        (
            "INPUT -> [CONV5x5-6 -> RELU -> POOL] -> [CONV5x5-16 -> RELU -> POOL] -> CONV5x5-120 -> RELU -> FC84"
            " -> RELU -> FC",
            (1, 32),
            10,
            (61_706, 416_520),
        ),
        (
            VGG + "[(CONV512 -> RELU)*3 -> POOL]*2 -> [FC4096 -> RELU]*2 -> FC",
            (3, 224),
            1000,
            (138_357_544, 15_470_264_320),
        ),
        (ALEXNET, (3, 224), 1000, (61_100_840, 714_188_480)),
        (KERAS, (3, 128), 1, (616_993, 276_075_968)),
    ],
)
def test_a_known_network_written_as_a_pattern_has_its_counts(
    pattern: str, shape: tuple[int, int], classes: int, counts: tuple[int, int]
) -> None:
    channels, image_size = shape
    padding = "same" if pattern.startswith(VGG) else "valid"
    with torch.device("meta"):
        net = ConvNet(
            pattern=pattern, in_channels=channels, image_size=image_size, num_classes=classes, padding=padding
        )
    assert (parameters(net), multiply_adds(net, channels, image_size)) == counts


@pytest.mark.parametrize(
    ("num_convs", "widths", "hidden"),
    [(0, (), ()), (0, (), (300,)), (1, (6, 16), (120, 84)), (2, (32, 64, 128), (256,))],
)
def test_the_arguments_and_the_numbers_in_the_pattern_mean_the_same(
    num_convs: int, widths: Sequence[int], hidden: Sequence[int]
) -> None:
    written = (
        ["INPUT"]
        + [f"[(CONV{width} -> RELU)*{num_convs} -> POOL]*1" for width in widths]
        + [f"FC{units} -> RELU" for units in hidden]
        + ["FC"]
    )
    ours = mnist(num_convs=num_convs, widths=widths, hidden=hidden)
    theirs = mnist(pattern=" -> ".join(written))
    assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]
    assert str(ours.blocks) == str(theirs.blocks)


# the examples of the tutorials ----------------------------------------------------------------------------------------


def test_the_maps_of_the_keras_network_have_the_published_sizes() -> None:
    with torch.device("meta"):
        net = ConvNet(pattern=KERAS, image_size=128, num_classes=1, padding="auto")
    kinds = (nn.Conv2d, nn.MaxPool2d)
    assert sizes(net, kinds, torch.empty(1, 3, 128, 128, device="meta")) == [126, 124, 62, 60, 58, 29, 27, 25, 23, 11]
    assert net.get_submodule("hidden.0.0").in_features == 7_744
    assert parameters(net) + 2 * (32 + 32 + 64) == 617_249  # as Keras counts, with the means and variances


@pytest.mark.parametrize(
    ("image_size", "padding", "expected"),
    [
        (28, "same", [14, 7, 4]),
        (28, "valid", [14, 7, 3]),
        (64, "same", [32, 16, 8, 4]),
        (256, "valid", [128, 64, 32, 16, 8]),
    ],
)
def test_poolings_halve_and_same_rounds_up(image_size: int, padding: str, expected: list[int]) -> None:
    image = torch.empty(1, 3, image_size, image_size, device="meta")
    with torch.device("meta"):
        net = ConvNet(pattern=f"INPUT -> [POOL]*{len(expected)} -> FC", image_size=image_size, padding=padding)
    assert sizes(net, nn.MaxPool2d, image) == expected


def test_a_pooling_of_2x2_discards_three_quarters() -> None:
    assert mnist(pattern="INPUT -> POOL -> FC").classifier.in_features == 28 * 28 // 4


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_a_stack_of_3x3_convolutions_sees_as_far_as_one_larger_window(depth: int) -> None:
    """1 + 2 L pixels; two are a 5x5 of 18 instead of 25 C^2 weights, three a 7x7 of 27 instead of 49 C^2."""
    net = ConvNet(
        pattern=f"INPUT -> (CONV4 -> RELU)*{depth} -> FC",
        in_channels=4,
        image_size=15,
        parts=Parts(activation=nn.Softplus),
    )
    image = torch.randn(1, 4, 15, 15, requires_grad=True)
    net.blocks(image)[0, :, 7, 7].sum().backward()
    assert image.grad is not None
    seen = image.grad.abs().sum((0, 1, 3)) > 0
    assert seen.sum() == 1 + 2 * depth
    weights = sum(p.numel() for p in net.blocks.parameters() if p.ndim == 4)
    assert weights == 9 * depth * 4**2


# the same function as layer by layer ----------------------------------------------------------------------------------


def best_of_the_study() -> list[nn.Module]:
    def block(before: int, maps: int) -> list[nn.Module]:
        convs = [nn.Conv2d(before, maps, 3), nn.Conv2d(maps, maps, 3), nn.Conv2d(maps, maps, 5, 2, 2)]
        layers = [layer for conv in convs for layer in (conv, nn.ReLU(), nn.BatchNorm2d(maps))]
        return [*layers, nn.Dropout(0.4)]

    hidden = [nn.Linear(1024, 128), nn.ReLU(), nn.BatchNorm1d(128), nn.Dropout(0.4)]
    return [*block(1, 32), *block(32, 64), nn.Flatten(), *hidden, nn.Linear(128, 10)]


def of_the_tutorial() -> list[nn.Module]:
    def block(*maps: int) -> list[nn.Module]:
        convs = [nn.Conv2d(before, after, 3) for before, after in pairwise(maps)]
        layers = [layer for conv in convs for layer in (conv, nn.ReLU())]
        return [*layers, nn.MaxPool2d(2), nn.BatchNorm2d(maps[-1]), nn.Dropout(0.2)]

    hidden = [nn.Linear(7_744, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 1)]
    return [*block(3, 32, 32), *block(32, 32, 32), *block(32, 64, 64, 64), nn.Flatten(), *hidden]


@pytest.mark.parametrize(
    ("name", "written", "size"), [("kaggle_mnist", best_of_the_study, 28), ("keras_cnn_128", of_the_tutorial, 128)]
)
def test_a_network_of_the_literature_computes_what_its_layers_do(
    name: str, written: Callable[[], list[nn.Module]], size: int
) -> None:
    theirs, shape = nn.Sequential(*written()).double(), stated(name)
    ours = make(name, channels=shape.channels, num_classes=shape.num_classes, image_size=size).double()
    order = (nn.Conv2d, nn.Linear, nn.ReLU, nn.MaxPool2d, nn.BatchNorm1d, nn.BatchNorm2d, nn.Dropout)
    kinds, expected = ([type(m) for m in net.modules() if isinstance(m, order)] for net in (ours, theirs))
    assert kinds == [nn.BatchNorm2d if kind is nn.BatchNorm1d else kind for kind in expected]
    rates, of_theirs = ([m.p for m in net.modules() if isinstance(m, nn.Dropout)] for net in (ours, theirs))
    assert rates == of_theirs
    images = torch.randn(2, shape.channels, size, size, dtype=torch.float64)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.uniform_(-0.3, 0.3)
        ours(images)  # fills the running statistics
        theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
        torch.testing.assert_close(ours.eval()(images), theirs.eval()(images), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [9, 28])
def test_global_average_pooling_leaves_the_mean_of_each_map_whatever_their_size(size: int) -> None:
    net = ConvNet(pattern="INPUT -> CONV8 -> RELU -> GAP -> DROPOUT50 -> FC", in_channels=1, image_size=size).eval()
    images = torch.randn(2, 1, size, size)
    conv, means = net.get_submodule("blocks.0.0"), net.classifier.in_features
    assert means == 8
    torch.testing.assert_close(net(images), net.classifier(conv(images).mean((2, 3))))


# parts and places -----------------------------------------------------------------------------------------------------


def test_dropout_of_the_study_sits_after_each_block_and_the_dense_layer() -> None:
    net = mnist(**of_maps(32, 64, units=128), parts=Parts(dropout=0.4))
    assert [name for name, module in net.named_modules() if isinstance(module, nn.Dropout)] == [
        "blocks.0.2",
        "blocks.1.2",
        "hidden.1",
    ]
    assert [type(module) for module in net.blocks[0]] == [nn.Sequential, nn.MaxPool2d, nn.Dropout]


@pytest.mark.parametrize(
    ("pattern", "places"),
    [
        ("INPUT -> FC", ["hidden.0"]),
        ("INPUT -> POOL -> FC", ["blocks.0.1"]),
        ("INPUT -> FC9 -> RELU -> BN -> FC", ["hidden.1"]),
        ("INPUT -> DROPOUT20 -> [FC9 -> RELU]*2 -> FC", ["blocks.0.0"]),
    ],
)
def test_dropout_has_a_place_in_any_pattern(pattern: str, places: list[str]) -> None:
    net = mnist(pattern=pattern)
    assert [name for name, module in net.named_modules() if isinstance(module, nn.Dropout)] == places


def test_another_norm_drops_the_patterns_own() -> None:
    net = mnist(pattern=BEST, widths=(32, 64), padding="valid", parts=Parts(norm=batch))
    assert sum(isinstance(module, nn.BatchNorm2d) for module in net.modules()) == 6
    assert parameters(net) == 326_410 - 2 * 128 - 3 * (32 + 64)  # the biases, too, of what it follows


@pytest.mark.parametrize(("norm", "norms"), [(none, 0), (batch, 7)])  # none; after each of the seven convolutions
def test_of_the_tutorials_network_norm_and_dropout_can_be_exchanged(norm: NormFactory, norms: int) -> None:
    with torch.device("meta"):
        net = make("keras_cnn_128", image_size=128, parts=Parts(norm=norm, dropout=0.5))
    assert sum(isinstance(module, nn.BatchNorm2d) for module in net.modules()) == norms
    assert [module.p for module in net.modules() if isinstance(module, nn.Dropout)] == [0.5] * 4


def test_a_pattern_without_convolutions_is_an_mlp_to_a_norm() -> None:
    net = mnist(pattern="INPUT -> [FC300 -> RELU]*2 -> FC", parts=Parts(norm=batch))
    assert sum(isinstance(module, nn.BatchNorm2d) for module in net.modules()) == 2


def test_auto_pads_small_images_only() -> None:
    with torch.device("meta"):
        nets = [ConvNet(pattern=KERAS, image_size=size, padding="auto") for size in (32, 64, 65)]
    assert [net.get_submodule("blocks.0.0.conv").padding for net in nets] == [(1, 1), (1, 1), (0, 0)]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"image_size": 7, "padding": "valid"}, r"image_size=7: too small for .* 3x3 convolution gets maps of 1x1"),
        ({"image_size": 1, "num_convs": 0, "padding": "valid"}, "image_size=1: too .* 2x2 pooling gets maps of 1x1"),
        ({"padding": "full"}, "padding=full: accepted are same, valid, auto"),
        ({"kernel_size": 4}, "padding=same: not with windows of 4x4"),
        ({"pattern": "INPUT -> [(CONV8 -> RELU)*99]*99 -> FC"}, "has 9,801 layers, accepted are up to 5,000"),
        ({"pattern": "INPUT -> [CONV -> RELU]*3 -> FC", "widths": (8, 16)}, r"widths=\[8, 16\]: too few"),
        ({"pattern": "INPUT -> [FC -> RELU]*2 -> FC", "hidden": (9,)}, r"hidden=\[9\]: too few"),
        ({"pattern": "INPUT -> CONV -> RELU -> FC", "num_convs": 3}, "num_convs=3: has no effect, for the pattern"),
        ({"pattern": "INPUT -> CONV8 -> RELU -> FC", "widths": [5]}, r"widths=\[5\]: has no effect"),
        ({"pattern": "INPUT -> FC9 -> RELU -> FC", "hidden": [5]}, r"hidden=\[5\]: has no effect"),
        ({"pattern": "INPUT -> CONV3x3-8 -> RELU -> FC", "kernel_size": 5}, "kernel_size=5: has no effect"),
        ({"pattern": "INPUT -> POOL -> FC", "pooled": False}, "pooled=false: has no effect, for the pattern"),
        ({"pattern": "INPUT -> POOL -> FC", "parts": Parts(norm=batch)}, "norm: a pattern with neither"),
        ({"pooled": False, "parts": Parts(pool=max_pool)}, "pool: there is no POOL"),
        ({"pattern": "INPUT -> GAP -> FC", "parts": Parts(pool=max_pool)}, "pool: there is no POOL"),
        ({"pattern": "INPUT -> GAP -> POOL -> FC", "padding": "valid"}, "2x2 pooling gets maps of 1x1"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(arguments: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        mnist(**arguments)


# how to ask for one ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def conf() -> Conf:
    return Conf()


@pytest.mark.parametrize(
    "pattern",
    [
        "INPUT -> [(CONV -> RELU)*2 -> POOL]*2 -> [FC -> RELU]*1 -> FC",
        "INPUT -> [[CONV -> RELU]*N -> POOL?]*M -> [FC -> RELU]*K -> FC",
        "INPUT->[CONV5x5-32s2p2->RELU->BN->DROPOUT40]*2->FC128->RELU->FC",
        "INPUT -> [(CONV -> RELU)^{*3} -> POOL]^{*2} -> GAP -> FC",
        "INPUT -> FC",
        ALEXNET,
    ],
)
def test_a_pattern_needs_the_shells_quotes_only(conf: Conf, pattern: str) -> None:
    """shlex reads as a shell does: arch.pattern="..." arrives without its quotes."""
    for quoted in (f'arch.pattern="{pattern}"', f"arch.pattern='{pattern}'", f"\"arch.pattern='{pattern}'\""):
        (word,) = shlex.split(quoted)
        assert conf.compose(["arch=convnet", word]).config["arch"]["pattern"] == pattern


def test_the_override_that_the_yaml_shows_is_taken(conf: Conf) -> None:
    shown = re.search(r'arch\.pattern="INPUT.*?"', (CONF / "arch/convnet.yaml").read_text())
    assert shown is not None
    config = conf.compose(["arch=convnet", "data=mnist", "data.image_size=28", *shlex.split(shown[0])]).config
    with torch.device("meta"):
        net = build(config["arch"], "arch")
    assert parameters(net) == 832 + 25_632 + (7 * 7 * 32 * 128 + 128) + 1_290


def test_several_patterns_are_a_sweep_if_each_is_quoted_within() -> None:
    (word,) = shlex.split("\"arch.pattern='INPUT -> [FC9 -> RELU]*2 -> FC','INPUT -> FC'\"")
    assert readable([word]) == [word]
    override = OverridesParser.create().parse_override(word)
    assert [value.text for value in override.value().list] == ["INPUT -> [FC9 -> RELU]*2 -> FC", "INPUT -> FC"]


def test_a_mistake_in_an_override_is_one_line_that_points_at_it(conf: Conf) -> None:
    config = conf.compose(["arch=convnet", "arch.pattern=INPUT -> [CONV -> POOL]*2 -> FC"]).config
    with pytest.raises(ConfigError) as caught:
        build(config["arch"], "arch")
    assert str(caught.value) == (
        "arch.pattern=INPUT -> [CONV -> POOL]*2 -> FC: at character 19: expected RELU, found 'POOL'"
    )


def test_the_yamls_write_the_patterns_that_are_tested_here(conf: Conf) -> None:
    assert conf.compose(["arch=kaggle_mnist"]).config["arch"]["pattern"] == BEST
    assert conf.compose(["arch=keras_cnn_128"]).config["arch"]["pattern"] == KERAS
