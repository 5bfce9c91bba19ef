"""VGG: every column of Table 1, the same function as torchvision's, and the memory its images take."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from convarium.archs.vgg import VGG
from convarium.layers import Parts
from convarium.layers.init import partly_from
from convarium.layers.norm import LocalResponse, batch


def without_values(configuration: str, parts: Parts | None = None) -> tuple[nn.Module, Tensor]:
    with torch.device("meta"):
        return VGG(configuration=configuration, parts=parts or Parts()).eval(), torch.empty(1, 3, 224, 224)


@pytest.mark.parametrize(
    ("configuration", "parameters"),
    [("A", 132_868_840), ("B", 133_053_736), ("C", 133_647_400), ("D", 138_365_992), ("E", 143_678_248)],
)
def test_with_batch_norm_it_has_the_published_parameters_but_for_the_idle_biases(
    configuration: str, parameters: int
) -> None:
    net, _ = without_values(configuration, Parts(norm=batch))
    idle = sum(module.out_channels for module in net.modules() if isinstance(module, nn.Conv2d))
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters - idle


def test_the_biases_of_d_are_13416_of_its_parameters() -> None:
    net, _ = without_values("D")
    weights = sum(parameter.numel() for parameter in net.parameters() if parameter.ndim > 1)
    assert weights == 138_344_128


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


@pytest.mark.parametrize(
    ("configuration", "stage", "field"), [("A", 0, 3), ("D", 0, 5), ("A", 2, 5), ("C", 2, 5), ("D", 2, 7), ("E", 2, 9)]
)
def test_a_stack_of_3x3_convolutions_sees_as_far_as_one_larger_one(configuration: str, stage: int, field: int) -> None:
    net, _ = without_values(configuration)
    *convs, _ = net.stages[stage].to_empty(device="cpu")  # without the pooling
    stack = nn.Sequential(*convs)
    for parameter in stack.parameters():
        nn.init.constant_(parameter, 1e-3)
    maps = torch.ones(1, convs[0].conv.in_channels, 13, 13, requires_grad=True)
    (gradient,) = torch.autograd.grad(stack(maps)[0, 0, 6, 6], maps)
    seen = gradient[0, 0] != 0
    reach = field // 2
    assert seen[6 - reach : 7 + reach, 6 - reach : 7 + reach].all()
    assert seen.sum() == field**2


@pytest.mark.parametrize(("configuration", "field"), [("A", 150), ("B", 156), ("C", 156), ("D", 212), ("E", 268)])
def test_what_the_last_pooling_sees_of_the_image(configuration: str, field: int) -> None:
    net, _ = without_values(configuration)
    seen, step = 1, 1
    for module in net.stages.modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d):
            (kernel_size, stride) = (
                (module.kernel_size[0], module.stride[0])
                if isinstance(module, nn.Conv2d)
                else (module.kernel_size, module.stride)
            )
            seen, step = seen + (kernel_size - 1) * step, step * stride
    assert (seen, step) == (field, 32)


def test_an_unknown_configuration_is_refused() -> None:
    with pytest.raises(ValueError, match="configuration=F: accepted are A, A-LRN, B, C, D, E"):
        VGG(configuration="F")


def test_an_image_below_32_is_refused() -> None:
    with pytest.raises(ValueError, match="image_size=31: too small for the last pooling"):
        VGG(image_size=31)


# B to E start with what A has learnt


def started_from(weights: Path) -> Callable[[nn.Module], None]:
    file = Path(__file__).parents[2] / "conf" / "init" / "recipe" / "vgg_from_a_2014.yaml"
    node = yaml.safe_load(file.read_text())
    return partial(partly_from, weights=str(weights), modules=node["modules"], std=node["std"])


@pytest.fixture
def trained_a(tmp_path: Path) -> Path:
    save_file(VGG(image_size=32, num_classes=3, configuration="A").state_dict(), tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def test_a_deeper_network_starts_with_the_first_four_convolutions_and_the_linear_layers_of_a(trained_a: Path) -> None:
    deeper = VGG(image_size=32, num_classes=3, parts=Parts(init=started_from(trained_a)))
    taken, state = load_file(trained_a), deeper.state_dict()
    same = [key for key in state if key in taken and torch.equal(state[key], taken[key])]
    assert {key.removesuffix(".weight") for key in same if key.endswith("weight")} == {
        *("stages.0.0.conv", "stages.1.0.conv", "stages.2.0.conv", "stages.2.1.conv", "fc6.0", "fc7.0", "fc8")
    }
    assert state["stages.0.1.conv.weight"].std().item() == pytest.approx(0.1, rel=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 4}, r"fc8.weight of shape \[4, 4096\] is wanted, there is \[3, 4096\]"),
        ({"parts": Parts(norm=batch)}, "stages.0.0.norm.weight of shape .* is wanted, there is none"),
    ],
)
def test_another_a_is_refused(trained_a: Path, arguments: dict[str, Any], message: str) -> None:
    parts = replace(arguments.get("parts", Parts()), init=started_from(trained_a))
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        VGG(**{"image_size": 32, "num_classes": 3, **arguments, "parts": parts})


def test_a_missing_a_is_refused() -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=r"weights=none\.safetensors: not weights that can be"):
        VGG(parts=Parts(init=started_from(Path("none.safetensors"))))
