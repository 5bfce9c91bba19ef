"""What networks cost, beside the networks themselves."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from convarium.archs.inception_v1 import InceptionV1
from convarium.archs.vgg import VGG

Answer = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def vgg16() -> nn.Module:
    with torch.device("meta"):
        return VGG(configuration="D").eval()


def parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def outputs(net: nn.Module, *kinds: type[nn.Module]) -> int:
    """How many values come out of the layers of these kinds."""
    counted: list[int] = []

    def count(module: nn.Module, inputs: Any, output: Tensor) -> None:
        counted.append(output.numel())

    hooks = [module.register_forward_hook(count) for module in net.modules() if isinstance(module, kinds)]
    net(torch.empty(1, 3, 224, 224, device="meta"))
    for hook in hooks:
        hook.remove()
    return sum(counted)


def test_the_network_of_the_tutorial(answer: Answer) -> None:
    found = answer("network")
    assert found["sizes"] == [126, 124, 62, 60, 58, 29, 27, 25, 23, 11]
    names = ("flattened", "parameters", "parameters_and_statistics", "multiply_adds")
    assert [found[name] for name in names] == [7_744, 616_993, 617_249, 276_075_968]
    layers: list[nn.Module] = []
    channels = 3
    for widths in ([32, 32], [32, 32], [64, 64, 64]):
        for width in widths:
            layers += [nn.Conv2d(channels, width, 3), nn.ReLU()]
            channels = width
        layers += [nn.MaxPool2d(2), nn.BatchNorm2d(channels), nn.Dropout(0.2)]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(7744, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 1)).to(
        "meta"
    )
    statistics = sum(buffer.numel() for name, buffer in net.named_buffers() if "running" in name)
    assert (parameters(net), parameters(net) + statistics) == (616_993, 617_249)
    with FlopCounterMode(display=False) as counter:
        net(torch.empty(1, 3, 128, 128, device="meta"))
    assert counter.get_total_flops() == 2 * found["multiply_adds"]


def test_one_image_takes_60_95_megabytes_in_vgg16(answer: Answer, vgg16: nn.Module) -> None:
    found = answer("memory")
    kept = 3 * 224**2 + outputs(vgg16, nn.Conv2d, nn.MaxPool2d, nn.Linear)
    assert (found["values"], kept) == (15_237_608, 15_237_608)
    assert round(found["megabytes"], 2) == 60.95
    assert found["megabytes_with_relu"] == pytest.approx((kept + outputs(vgg16, nn.ReLU)) * 4 / 1e6)
    assert round(found["megabytes_with_relu"]) == 115
    assert round(found["first_two_percent"]) == 42
    assert found["parameters"] == parameters(vgg16) == 138_357_544
    assert round(found["parameter_megabytes"]) == 553


def test_the_head_of_vgg16_is_most_of_it_and_that_of_googlenet_a_linear_layer(answer: Answer, vgg16: nn.Module) -> None:
    linear = sum(parameters(module) for module in vgg16.modules() if isinstance(module, nn.Linear))
    found = answer("global_average_pooling")
    assert (found["fully_connected"], linear) == (123_642_856, 123_642_856)
    assert found["averaged"] == parameters(nn.Linear(512, 1000))
    assert answer("global_average_pooling", maps=1024)["averaged"] == 1_025_000


@pytest.mark.parametrize(
    ("blocks", "convolutions", "layers"), [([3, 4, 6, 3], 3, 50), ([3, 8, 36, 3], 3, 152), ([3, 3, 3], 2, 20)]
)
def test_residual_networks_have_the_layers_of_their_names(
    answer: Answer, blocks: list[int], convolutions: int, layers: int
) -> None:
    assert answer("residual", blocks=blocks, convolutions=convolutions)["layers"] == layers


def test_shortcuts_carry_the_gradient_that_autograd_says(answer: Answer) -> None:
    found = answer("residual", blocks=[2, 3], slope=-0.5)
    for name, shortcut in (("plain", 0), ("residual", 1)):
        x = y = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
        for _ in range(5):
            y = shortcut * y - 0.5 * y
        y.backward()  # type: ignore[no-untyped-call]
        assert x.grad is not None
        assert found[f"{name}_gradient"] == pytest.approx(x.grad.item())


def test_auxiliary_classifiers_have_6_million_parameters_and_three_tenths_of_a_say(answer: Answer) -> None:
    with torch.device("meta"):
        net = InceptionV1()
        without = InceptionV1(aux_heads=False)
    found = answer("aux_heads")
    assert (found["parameters_1"], found["parameters_2"]) == (3_188_840, 3_190_888)
    assert (parameters(without), parameters(net)) == (6_998_552, 6_998_552 + found["parameters"])
    assert (found["training_loss"], found["test_loss"]) == (pytest.approx(2 + 0.3 * 3 + 0.3 * 2.5), 2)
