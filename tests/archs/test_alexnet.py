"""AlexNet: the layers of the paper at 224 and 227, its towers, and the same function as torchvision's in one tower."""

from functools import partial
from pathlib import Path

import pytest
import torch
import torchvision
from omegaconf import OmegaConf
from torch import nn
from torch.nn.functional import pad

from convarium.archs.alexnet import AlexNet
from convarium.layers import Parts
from convarium.layers.init import normal
from convarium.layers.norm import LocalResponse, none

CONF = Path(__file__).parents[2] / "conf"
WEIGHTED = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")


def without_values(**arguments: object) -> AlexNet:
    with torch.device("meta"):
        return AlexNet(**arguments).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("image_size", [224, 227])
def test_the_layers_are_those_of_the_paper(image_size: int) -> None:
    net = without_values(image_size=image_size)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, module in net.named_children():
        module.register_forward_hook(
            lambda module, inputs, output, name=name: shapes.update({name: tuple(output.shape[1:])})
        )
    net(torch.empty(1, 3, image_size, image_size, device="meta"))
    assert shapes == {
        "conv1": (96, 55, 55),
        "pool1": (96, 27, 27),
        "conv2": (256, 27, 27),
        "pool2": (256, 13, 13),
        "conv3": (384, 13, 13),
        "conv4": (384, 13, 13),
        "conv5": (256, 13, 13),
        "pool5": (256, 6, 6),
        "fc6": (4096,),
        "fc7": (4096,),
        "fc8": (1000,),
    }


@pytest.mark.parametrize(
    ("towers", "parameters", "multiply_adds"),
    [
        (
            2,
            (34_944, 307_456, 885_120, 663_936, 442_624, 37_752_832, 16_781_312, 4_097_000),
            (105_415_200, 223_948_800, 149_520_384, 112_140_288, 74_760_192),
        ),
        (
            1,
            (23_296, 307_392, 663_936, 884_992, 590_080, 37_752_832, 16_781_312, 4_097_000),
            (70_276_800, 223_948_800, 112_140_288, 149_520_384, 99_680_256),
        ),
    ],
)
@pytest.mark.parametrize("image_size", [224, 227])
def test_every_layer_has_the_published_parameters_and_multiply_adds(
    towers: int, parameters: tuple[int, ...], multiply_adds: tuple[int, ...], image_size: int
) -> None:
    net = without_values(towers=towers, image_size=image_size)
    costs: list[int] = []
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda module, inputs, output: costs.append(module.weight.numel() * output[0, 0].numel())
            )
    net(torch.empty(1, 3, image_size, image_size, device="meta"))
    assert tuple(costs) == multiply_adds
    layers = [net.get_submodule(name) for name in WEIGHTED]
    assert tuple(sum(parameter.numel() for parameter in layer.parameters()) for layer in layers) == parameters


def test_at_224_the_first_convolution_sees_what_it_sees_at_227_with_a_black_margin() -> None:
    at_224, at_227 = (without_values(image_size=size).conv1.to_empty(device="cpu") for size in (224, 227))
    normal(at_224, std=0.1)
    at_227.load_state_dict(at_224.state_dict())
    images = torch.rand(1, 3, 224, 224)
    torch.testing.assert_close(at_224(images), at_227(pad(images, (2, 1, 2, 1))))


@pytest.mark.parametrize("image_size", [65, 66, 67, 68, *range(220, 232)])
def test_the_first_convolution_leaves_out_no_pixel(image_size: int) -> None:
    conv = without_values(image_size=image_size).conv1.conv
    positions = conv(torch.empty(1, 3, image_size, image_size, device="meta")).shape[-1]
    assert positions == -(-(image_size - 11) // 4) + 1  # the rule of cuda-convnet, which rounds up
    assert conv.padding[0] <= 2


def test_the_towers_meet_in_the_third_convolution_only() -> None:
    net = without_values(parts=Parts(norm=none))
    seen = {}
    for name, channels in (("conv2", 96), ("conv3", 256), ("conv4", 384), ("conv5", 384)):
        layer = net.get_submodule(name).to_empty(device="cpu")
        for parameter in layer.parameters():
            nn.init.ones_(parameter)
        maps = torch.ones(1, channels, 3, 3, requires_grad=True)
        first_tower, _ = layer(maps).chunk(2, dim=1)
        (gradient,) = torch.autograd.grad(first_tower.sum(), maps)
        seen[name] = [bool(half.any()) for half in gradient.chunk(2, dim=1)]
    assert seen == {name: [True, name == "conv3"] for name in seen}


@pytest.mark.parametrize(("towers", "alpha"), [(1, 2e-5), (2, 1e-4)])
def test_the_first_two_convolutions_are_normalized_after_the_relu(towers: int, alpha: float) -> None:
    net = without_values(towers=towers)
    for name in ("conv1", "conv2"):
        layers = list(net.get_submodule(name))
        assert [type(layer) for layer in layers] == [nn.Conv2d, nn.ReLU, LocalResponse]
        assert (layers[2].n, layers[2].k, layers[2].alpha, layers[2].beta) == (5, 2.0, alpha, 0.75)
    assert sum(isinstance(module, LocalResponse) for module in net.modules()) == 2


def test_in_one_tower_it_computes_the_same_function_as_torchvisions_with_the_authors_normalization() -> None:
    """At 96 pixels, where torchvision's net, which stretches any maps to 6x6, gets a smaller first linear layer.

    It has no local response normalization: the author's (alpha divided by n there) is put into it.
    """
    ours = AlexNet(towers=1, image_size=96, num_classes=10).double().eval()
    theirs = torchvision.models.alexnet(weights=None, num_classes=10)
    theirs.avgpool = nn.Identity()
    theirs.classifier[1] = nn.Linear(256 * 2 * 2, 4096)
    theirs = theirs.double().eval()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    for relu in (1, 4):
        theirs.features[relu] = nn.Sequential(nn.ReLU(), nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2))
    images = torch.randn(2, 3, 96, 96, dtype=torch.float64) * 20
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-9, atol=1e-12)


def test_the_recipes_initialization_is_the_papers() -> None:
    chosen = OmegaConf.load(CONF / "init" / "recipe" / "alexnet_2012.yaml")
    init = partial(normal, std=chosen.std, ones=chosen.ones)
    net = AlexNet(image_size=15, in_channels=1, parts=Parts(init=init))
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    biases = {name: layer.bias.unique().tolist() for name, layer in zip(WEIGHTED, layers, strict=True)}
    assert biases == {name: [float(name in ("conv2", "conv4", "conv5", "fc6", "fc7"))] for name in WEIGHTED}
    assert [layer.weight.std().item() for layer in layers] == pytest.approx([0.01] * 8, rel=0.1)


@pytest.mark.parametrize(("image_size", "side"), [(15, 1), (28, 2), (32, 3), (64, 7)])
def test_the_small_stem_leaves_fc6_maps_to_see(image_size: int, side: int) -> None:
    net = without_values(image_size=image_size, in_channels=1)
    assert net.fc6[0].in_features == 256 * side**2
    assert net(torch.empty(2, 1, image_size, image_size, device="meta")).shape == (2, 1000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 63, "stem": "paper"}, r"image_size=63: too small for pool5 .* images of 64 \(or stem=small\)"),
        ({"image_size": 14}, "image_size=14: too small for pool5 .* images of 15"),
    ],
)
def test_what_it_cannot_be_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        without_values(**arguments)
