"""What a network does to an image, against torch's own counts and gradients."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from archs.catalog import NAMES, STATED
from archs.networks import make, make_published
from convarium.anatomy.trace import IMAGE, Layer, trace


def traced(name: str) -> tuple[Layer, ...]:
    net, image = make_published(name)
    return trace(net, (image.shape[1], image.shape[2], image.shape[3]))


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_multiply_adds_are_those_of_the_modules_and_of_torchs_counter(name: str) -> None:
    net, image = make_published(name)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(image)
    layers = traced(name)
    assert sum(layer.macs for layer in layers if not layer.is_auxiliary) == counter.get_total_flops() // 2
    assert sum(layer.parameters for layer in layers if not layer.is_auxiliary) == STATED[name].parameters
    assert sum(layer.parameters for layer in layers) == sum(value.numel() for value in net.parameters())
    assert not net.training


def test_a_network_with_values_is_left_as_it_is() -> None:
    net = make("resnet20")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert trace(net, (1, 32, 32))[0].sources == (IMAGE,)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_layers_say_what_they_read() -> None:
    layers = trace(make("resnet20"), (1, 32, 32))
    number = {layer.name: k for k, layer in enumerate(layers)}
    added = layers[number["stages.1.0.add"]]
    assert {layers[k].name for k in added.sources} == {"stages.1.0.body.1.norm", "stages.1.0.shortcut"}
    assert (added.kind, added.inputs, added.outputs) == ("add", (32, 16, 16), (32, 16, 16))
