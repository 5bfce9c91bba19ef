"""Which layers have maps, which is the last of them, and what excites a filter."""

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from archs.catalog import NAMES, asked
from archs.networks import fill_with_ramps, images, make, small_size
from convarium.anatomy.feature_maps import (
    exciting_inputs,
    feature_maps,
    first_kernels,
    map_layers,
    strongest,
)

LAST = {
    "lenet5": "c3, 16 maps of 10x10",
    "lenet5_1998": "s4, 16 maps of 5x5",
    "alexnet": "conv5, 256 maps of 7x7",
    "vgg11": "stages.4.1, 512 maps of 2x2",
    "vgg16": "stages.4.2, 512 maps of 2x2",
    "vgg19": "stages.4.3, 512 maps of 2x2",
    "inception_v1": "to_5b.3, 1024 maps of 4x4",
    "bn_inception": "inception.5b, 1024 maps of 4x4",
    "inception_v3": "to_7c.7c, 2048 maps of 3x3",
    "resnet18": "stages.3.1, 512 maps of 4x4",
    "plain18": "stages.3.1, 512 maps of 4x4",
    "resnet50": "stages.3.2, 2048 maps of 4x4",
    "resnet20": "stages.2.2, 64 maps of 8x8",
    "resnet110": "stages.2.17, 64 maps of 8x8",
    "efficientnet_b0": "head, 1280 maps of 4x4",
    "convnet": "blocks.2.1, 128 maps of 8x8",
    "kaggle_mnist": "blocks.1.5, 64 maps of 5x5",
    **dict.fromkeys(("mlp", "mlp_500_150", "logistic_regression", "perceptron")),
}
"""At 32 pixels; None: no maps."""
CHEAP = {*LAST, "keras_cnn_128", "alexnet_one_tower", "vgg11_lrn", "resnet34"} - {"resnet110"}


@pytest.mark.parametrize("name", asked(NAMES, CHEAP))
def test_the_last_maps_of_every_architecture_are_those_that_its_answer_is_made_of(name: str) -> None:
    with torch.device("meta"):
        net = make(name, channels=3).eval()
        blocks, every = map_layers(net, torch.empty(1, 3, small_size(name), small_size(name)))
    last = str(blocks[-1]) if blocks else None
    if name in LAST:
        assert last == LAST[name]
    assert (last is None) == (not any(isinstance(module, nn.Conv2d) for module in net.modules()))
    assert {block.name for block in blocks} <= {layer.name for layer in every}
    if blocks:
        assert min(blocks[-1][2:]) == min(min(block[2:]) for block in blocks)
        assert not isinstance(net.get_submodule(blocks[-1].name), nn.MaxPool2d | nn.AvgPool2d)


@pytest.mark.parametrize("name", ["vgg16", "alexnet", "resnet18"])
def test_at_224_pixels_it_is_the_last_convolutional_layer_of_grad_cam_s_paper(name: str) -> None:
    with torch.device("meta"):
        blocks, _ = map_layers(make(name, channels=3, image_size=224).eval(), torch.empty(1, 3, 224, 224))
    at_224 = {"vgg16": "stages.4.2, 512 maps of 14x14", "alexnet": "conv5, 256 maps of 13x13"}
    assert str(blocks[-1]) == (at_224 | {"resnet18": "stages.3.1, 512 maps of 7x7"})[name]


def test_a_sum_and_a_relu_in_place_belong_to_the_block_and_not_to_the_norm_that_they_reuse() -> None:
    from torchvision.models import resnet18

    with torch.device("meta"):
        blocks, every = map_layers(resnet18().eval(), torch.empty(1, 3, 64, 64))
    assert blocks[-1].name == "layer4.1"
    assert "maxpool" in {layer.name for layer in every} - {block.name for block in blocks}


def test_the_maps_are_those_of_the_layers_own_forward_pass() -> None:
    net, x = make("lenet5").eval(), images("lenet5", 2)
    found = feature_maps(net, x, ["c1", "c3"])
    with torch.no_grad():
        assert_close(found["c1"], net.c1(x), rtol=0, atol=0)
        assert_close(found["c3"], net.c3(net.s2(net.c1(x))), rtol=0, atol=0)
    assert not any(module._forward_hooks for module in net.modules())


class Backwards(nn.ModuleDict):
    """Names its last layer first."""

    def forward(self, x: Tensor) -> Tensor:
        return self["head"](self["stem"](x)).mean((2, 3))


def test_kernels_are_the_first_convolution_s_or_images_of_what_a_linear_layer_looks_for() -> None:
    net = make("lenet5")
    kernels = first_kernels(net, (1, 32, 32))
    assert kernels is not None
    assert (kernels.name, kernels.weights.shape, kernels.are_classes) == ("c1.conv", (6, 1, 5, 5), False)
    templates = first_kernels(make("logistic_regression", channels=3), (3, 32, 32))
    assert templates is not None
    assert (templates.weights.shape, templates.are_classes) == ((10, 3, 32, 32), True)
    units = first_kernels(make("mlp"), (1, 32, 32))
    assert units is not None
    assert (units.weights.shape, units.are_classes) == ((300, 1, 32, 32), False)
    first = first_kernels(Backwards({"head": nn.Conv2d(4, 2, 1), "stem": nn.Conv2d(1, 4, 3)}), (1, 8, 8))
    assert first is not None
    assert first.name == "stem"


def test_the_strongest_images_are_those_of_the_whole_split_at_once() -> None:
    net, x = make("lenet5").eval(), images("lenet5", 20)
    maps = feature_maps(net, x, ["c3"])["c3"][:, [2, 5]].flatten(2)

    def batches() -> Iterable[tuple[Tensor, Tensor]]:
        yield from zip(x.split(3), (torch.arange(20) + 100).split(3), strict=True)

    peaks = strongest(net, "c3", [2, 5], batches(), most=4)
    values, places = maps.max(2)
    order = values.T.topk(4).indices
    assert_close(peaks.values, values.T.gather(1, order))
    assert peaks.samples.tolist() == (order + 100).tolist()
    assert peaks.places.tolist() == places.T.gather(1, order).tolist()


def test_an_input_made_for_a_filter_excites_it_more_than_noise_does_and_the_same_each_time() -> None:
    net = make("lenet5").eval()
    fill_with_ramps(net)
    made = exciting_inputs(net, lambda pixels: pixels, "c3", [1, 4], (1, 32, 32))
    assert made.shape == (2, 1, 32, 32)
    assert 0 <= float(made.min()) < float(made.max()) <= 1
    noise = torch.rand(50, 1, 32, 32)
    for row, number in enumerate((1, 4)):
        own = feature_maps(net, made, ["c3"])["c3"][row, number].mean()
        assert own > feature_maps(net, noise, ["c3"])["c3"][:, number].mean((1, 2)).max()
    assert torch.equal(made, exciting_inputs(net, lambda pixels: pixels, "c3", [1, 4], (1, 32, 32)))
    assert all(parameter.grad is None for parameter in net.parameters())
