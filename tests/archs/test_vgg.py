"""VGG: every column of Table 1, the same function as torchvision's, and the memory its images take."""

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from convarium.archs.vgg import CONFIGURATIONS, VGG
from convarium.layers import Parts
from convarium.layers.norm import LocalResponse, batch

PUBLISHED = {
    "A": (132_863_336, 7_609_090_048),
    "A-LRN": (132_863_336, 7_609_090_048),
    "B": (133_047_848, 11_308_466_176),
    "C": (133_638_952, 11_770_888_192),
    "D": (138_357_544, 15_470_264_320),
    "E": (143_667_240, 19_632_062_464),
}


def without_values(configuration: str, parts: Parts | None = None) -> tuple[nn.Module, Tensor]:
    with torch.device("meta"):
        return VGG(configuration=configuration, parts=parts or Parts()).eval(), torch.empty(1, 3, 224, 224)


def test_every_column_of_the_table_is_there() -> None:
    assert list(CONFIGURATIONS) == list(PUBLISHED)


@pytest.mark.parametrize("configuration", PUBLISHED)
def test_a_column_has_the_published_parameters_and_multiply_adds(configuration: str) -> None:
    net, image = without_values(configuration)
    with FlopCounterMode(display=False) as counter:
        net(image)
    parameters = sum(parameter.numel() for parameter in net.parameters())
    assert (parameters, counter.get_total_flops() / 2) == PUBLISHED[configuration]


def test_batch_norm_adds_a_scale_per_channel_and_replaces_the_bias() -> None:
    net, _ = without_values("D", Parts(norm=batch))
    assert sum(parameter.numel() for parameter in net.parameters()) == 138_357_544 + 4_224


def test_a_lrn_normalizes_once_after_the_first_convolution() -> None:
    net, _ = without_values("A-LRN")
    assert [type(module) for module in net.stages[0][0]] == [nn.Conv2d, nn.ReLU, LocalResponse]
    assert sum(isinstance(module, LocalResponse) for module in net.modules()) == 1


def test_the_stages_halve_the_image() -> None:
    net, x = without_values("D")
    shapes = []
    for stage in net.stages:
        x = stage(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [(64, 112, 112), (128, 56, 56), (256, 28, 28), (512, 14, 14), (512, 7, 7)]


def test_the_maps_of_one_image_take_61_megabytes() -> None:
    net, image = without_values("D")
    counts = [image.numel()]
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.Linear):
            module.register_forward_hook(lambda module, inputs, output: counts.append(output.numel()))
    net(image)
    assert sum(counts) == 15_237_608


@pytest.mark.parametrize(("configuration", "name"), [("D", "vgg16"), ("A", "vgg11")])
def test_it_computes_the_same_function_as_torchvisions(configuration: str, name: str) -> None:
    """At 64 pixels, where torchvision's net, which stretches any maps to 7x7, gets a smaller first linear layer."""
    ours = VGG(configuration=configuration, image_size=64, num_classes=10).double().eval()
    theirs = torchvision.models.get_model(name, weights=None, init_weights=False, num_classes=10)
    theirs.avgpool = nn.Identity()
    theirs.classifier[0] = nn.Linear(512 * 2 * 2, 4096)
    theirs = theirs.double().eval()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    images = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-9, atol=1e-12)


def test_an_unknown_configuration_is_refused() -> None:
    with pytest.raises(ValueError, match="configuration=F: accepted are A, A-LRN, B, C, D, E"):
        VGG(configuration="F")


def test_an_image_below_32_is_refused() -> None:
    with pytest.raises(ValueError, match="image_size=31: too small for the last pooling"):
        VGG(image_size=31)
