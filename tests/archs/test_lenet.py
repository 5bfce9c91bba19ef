"""LeNet-5: the layers of Figure 2, the sizes of its table, and images it was not made for."""

import pytest
import torch
from torch import nn

from convarium.archs.lenet import LeNet5
from convarium.archs.lenet5_1998 import LeNet5Of1998


@pytest.mark.parametrize(
    ("layer", "shape", "parameters"),
    [
        ("c1", (6, 28, 28), 156),
        ("s2", (6, 14, 14), 0),
        ("c3", (16, 10, 10), 2_416),  # 1,516 with the paper's sparse table
        ("s4", (16, 5, 5), 0),
        ("c5", (120, 1, 1), 48_120),
        ("f6", (84,), 10_164),
        ("output", (10,), 850),
    ],
)
def test_a_layer_is_the_papers(layer: str, shape: tuple[int, ...], parameters: int) -> None:
    net = LeNet5()
    module = net.get_submodule(layer)
    shapes: list[tuple[int, ...]] = []
    module.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[1:])))
    net(torch.zeros(1, 1, 32, 32))
    assert shapes == [shape]
    assert sum(parameter.numel() for parameter in module.parameters()) == parameters


NETWORKS = pytest.mark.parametrize("network", [LeNet5, LeNet5Of1998])


@NETWORKS
@pytest.mark.parametrize("image_size", [33, 64])
def test_larger_images_give_f6_more_to_see(network: type[nn.Module], image_size: int) -> None:
    net = network(image_size=image_size, in_channels=3)
    assert net(torch.zeros(2, 3, image_size, image_size)).shape == (2, 10)


@NETWORKS
def test_an_image_below_32_is_refused_and_the_layer_named(network: type[nn.Module]) -> None:
    with pytest.raises(ValueError, match="image_size=28: too small for c5"):
        network(image_size=28)
