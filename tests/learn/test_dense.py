"""Dense evaluation against windows cut by hand, and against linear layers rewritten as convolutions."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archs.catalog import EACH_WITHOUT_VALUES
from archs.networks import make, small_size
from convarium.learn.dense import dense_logits


def unpadded() -> nn.Module:
    """For images of 12 pixels; its stride is 2."""
    return nn.Sequential(
        nn.Conv2d(1, 5, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(5, 6, 3),
        nn.Flatten(),
        nn.Linear(6 * 3 * 3, 8),
        nn.ReLU(),
        nn.Linear(8, 4),
    ).eval()


def over_windows(net: nn.Module, pictures: Tensor, size: int, stride: int) -> Tensor:
    """The mean of the plain scores of every image in the pictures, cut out one by one."""
    height, width = pictures.shape[2:]
    scores = [
        net(pictures[:, :, top : top + size, left : left + size])
        for top in range(0, height - size + 1, stride)
        for left in range(0, width - size + 1, stride)
    ]
    return torch.stack(scores).mean(0)


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(12, 12), (12, 14), (16, 18), (20, 12), (17, 15)])
def test_the_scores_are_those_of_the_windows_of_a_network_without_padding(height: int, width: int) -> None:
    net, pictures = unpadded(), torch.randn(3, 1, height, width)
    torch.testing.assert_close(dense_logits(net, pictures), over_windows(net, pictures, 12, 2))


@torch.no_grad()
def test_lenet_5_slides_in_steps_of_its_two_poolings() -> None:
    net, pictures = make("lenet5").eval(), torch.randn(2, 1, 44, 41)
    torch.testing.assert_close(dense_logits(net, pictures), over_windows(net, pictures, 32, 4))


@torch.no_grad()
@pytest.mark.parametrize("name", ["lenet5", "lenet5_1998", "convnet", "vgg11", "alexnet", "resnet20", "inception_v1"])
def test_at_the_size_of_its_images_a_network_says_what_it_always_says(name: str) -> None:
    net, size = make(name).eval(), small_size(name)
    images = torch.randn(2, 1, size, size)
    assert torch.equal(dense_logits(net, images), net(images))


@torch.no_grad()
@pytest.mark.parametrize("shape", [(64, 64), (96, 128), (100, 70)])
def test_vgg_is_its_linear_layers_as_convolutions(shape: tuple[int, int]) -> None:
    net = make("vgg11", channels=3, image_size=64).eval()  # maps of 2x2
    pictures = torch.randn(2, 3, *shape)
    fc6, fc7, fc8 = net.fc6[0], net.fc7[0], net.fc8
    x = net.stages(pictures)
    x = F.conv2d(x, fc6.weight.view(4096, 512, 2, 2), fc6.bias).relu()
    x = F.conv2d(x, fc7.weight[:, :, None, None], fc7.bias).relu()
    scores = F.conv2d(x, fc8.weight[:, :, None, None], fc8.bias)
    assert scores.shape[2:] == (shape[0] // 32 - 1, shape[1] // 32 - 1)
    expected = scores.mean((2, 3))
    torch.testing.assert_close(dense_logits(net, pictures), expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


@torch.no_grad()
@pytest.mark.parametrize("name", EACH_WITHOUT_VALUES)
def test_every_architecture_with_maps_takes_larger_pictures_and_no_other(name: str) -> None:
    size = small_size(name)
    with torch.device("meta"):
        net, picture = make(name).eval(), torch.zeros(2, 1, size + 16, 2 * size)
        if any(isinstance(layer, nn.Conv2d) for layer in net.modules()):
            assert dense_logits(net, picture).shape == (2, 10)
        else:
            with pytest.raises(ValueError, match="has no maps over which its linear layers could slide"):
                dense_logits(net, picture)


@torch.no_grad()
def test_a_network_that_averages_its_maps_is_given_larger_ones() -> None:
    net, pictures = make("resnet20").eval(), torch.randn(2, 1, 40, 48)
    assert torch.equal(dense_logits(net, pictures), net(pictures))


@torch.no_grad()
def test_the_network_is_left_as_it_was() -> None:
    net, pictures = unpadded(), torch.randn(1, 1, 16, 16)
    dense_logits(net, pictures)
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in net.modules())
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        net(pictures)
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in net.modules())
