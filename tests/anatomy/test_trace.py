"""What a network does to an image, against torch's own counts and the modules' own shapes."""

from collections.abc import Callable
from math import prod
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from anatomy.traces import OTHER, image, layers_of, network
from archs.catalog import EACH_TRACED, stated
from archs.networks import images, make, member
from convarium.anatomy.trace import IMAGE, Layer, trace
from convarium.layers import Parts

Shapes = dict[str, list[tuple[int, ...]]]


def shapes_of(net: nn.Module, run: Callable[[], Any]) -> Shapes:
    """What each module that has no children gives, call by call."""
    shapes: Shapes = {}

    def note(name: str) -> Any:
        return lambda module, inputs, output: shapes.setdefault(name, []).append(tuple(output.shape[1:]))

    leaves = [(name, module) for name, module in net.named_modules() if not list(module.children())]
    handles = [module.register_forward_hook(note(name)) for name, module in leaves]
    run()
    for handle in handles:
        handle.remove()
    return shapes


def compare_shapes(layers: tuple[Layer, ...], shapes: Shapes) -> None:
    for layer in layers:
        name, _, call = layer.name.partition(" #")
        if name in shapes:
            assert layer.outputs == shapes[name][int(call or 1) - 1], layer.name


@pytest.mark.parametrize("size", ["published", "other"])
@pytest.mark.parametrize("name", EACH_TRACED)
def test_each_layers_counts_and_shapes_are_those_of_torchs_counter_and_of_the_modules(name: str, size: str) -> None:
    pixels = stated(name).image_size if size == "published" else OTHER
    net, layers = network(name, pixels).train(), layers_of(name, pixels)
    with FlopCounterMode(display=False) as counter:
        shapes = shapes_of(net, lambda: net(torch.empty(2, *image(name, pixels), device="meta")))
    compare_shapes(layers, shapes)
    counts = counter.get_flop_counts()
    assert sum(layer.macs for layer in layers) * 2 * 2 == sum(counts["Global"].values())
    prefix = f"{type(net).__name__}."
    for module, of_functions in counts.items():
        if module.startswith(prefix):
            inside = module.removeprefix(prefix)
            macs = sum(layer.macs for layer in layers if f"{layer.name.partition(' #')[0]}.".startswith(f"{inside}."))
            assert macs * 2 * 2 == sum(of_functions.values()), module
    assert sum(layer.parameters for layer in layers) == sum(value.numel() for value in net.parameters())
    own = {name: sum(value.numel() for value in module.parameters()) for name, module in net.named_modules()}
    assert all(layer.parameters == own[layer.name] for layer in layers if layer.name in shapes)
    if size == "published":
        main = [layer for layer in layers if not layer.is_auxiliary]
        assert sum(layer.parameters for layer in main) == stated(name).parameters
        assert stated(name).multiply_adds in (None, sum(layer.macs for layer in main))


@pytest.mark.parametrize("name", ["lenet5_1998", "resnet20", "inception_v1", "efficientnet_b0", "kaggle_mnist"])
def test_shapes_are_those_of_a_run_with_values(name: str) -> None:
    net = make(name).train()
    batch = images(name, 2)
    compare_shapes(trace(net, tuple(batch.shape[1:])), shapes_of(net, lambda: net(batch)))  # type: ignore[arg-type]


def test_a_network_with_values_is_left_as_it_is() -> None:
    net = make("resnet20")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert trace(net, (1, 32, 32))[0].sources == (IMAGE,)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    trace(net.eval(), (1, 32, 32))
    assert not net.training


def test_the_mode_of_each_module_stays_and_a_transposed_convolution_is_counted() -> None:
    with torch.device("meta"):
        net = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 6, 3, stride=2))
    net[1].eval()
    layers = trace(net, (1, 27, 27))
    assert [module.training for module in net.modules()] == [True, True, False, True]
    assert [layer.macs for layer in layers if layer.macs] == [13 * 13 * 4 * 9, 13 * 13 * 4 * 6 * 9]


def test_layers_say_what_they_read() -> None:
    layers = trace(make("resnet20"), (1, 32, 32))
    number = {layer.name: k for k, layer in enumerate(layers)}
    added = layers[number["stages.1.0.add"]]
    assert {layers[k].name for k in added.sources} == {"stages.1.0.body.1.norm", "stages.1.0.shortcut"}
    assert (added.kind, added.inputs, added.outputs) == ("add", (32, 16, 16), (32, 16, 16))


@pytest.mark.parametrize("parts", ["norm=batch", "norm=lrn", "norm=group", "pool=strided_conv", "activation=gelu"])
def test_layers_of_other_parts_are_counted_as_their_modules_and_by_torchs_counter(parts: str) -> None:
    group, _, choice = parts.partition("=")
    with torch.device("meta"):
        net = make("vgg11", channels=3, parts=Parts(**{group: member(group, choice)})).train()
    layers = trace(net, (3, 32, 32))
    with FlopCounterMode(display=False) as counter:
        shapes = shapes_of(net, lambda: net(torch.empty(2, 3, 32, 32, device="meta")))
    compare_shapes(layers, shapes)
    assert sum(layer.macs for layer in layers) * 2 * 2 == counter.get_total_flops()
    assert sum(layer.parameters for layer in layers) == sum(value.numel() for value in net.parameters())
    kinds = {layer.kind for layer in layers}
    assert kinds >= ({"conv", "linear", "norm"} if group == "norm" else {"conv", "linear"})
    assert ("max_pool" in kinds) == (group != "pool")


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1", "convnext_tiny"])
def test_networks_of_torchvision_are_traced_as_ours_are(name: str) -> None:
    with torch.device("meta"):
        net = getattr(torchvision.models, name)(num_classes=7).train()
    layers = trace(net, (3, 96, 96))
    with FlopCounterMode(display=False) as counter:
        shapes = shapes_of(net, lambda: net(torch.empty(2, 3, 96, 96, device="meta")))
    compare_shapes(layers, shapes)
    assert sum(layer.macs for layer in layers) * 2 * 2 == counter.get_total_flops()
    assert sum(layer.parameters for layer in layers) == sum(value.numel() for value in net.parameters())
    assert not any(layer.is_auxiliary for layer in layers)


def test_named_outputs_of_another_kind_are_read_and_nameless_ones_refused() -> None:
    with torch.device("meta"):
        net = torchvision.models.googlenet(num_classes=7, init_weights=False)
    layers = trace(net, (3, 64, 64))
    assert sum(layer.is_auxiliary for layer in layers) == 16
    assert [layer.name for layer in layers if layer.kind == "linear" and not layer.is_auxiliary] == ["fc"]
    net.transform_input, net.forward = False, lambda x: (x, x)
    with pytest.raises(ValueError, match="gives a tuple; accepted: logits"):
        trace(net, (3, 64, 64))


def test_vgg16_keeps_what_autograd_saves_of_each_map_once() -> None:
    layers = layers_of("vgg16", 224)
    maps = {
        kind: sum(prod(layer.outputs) for layer in layers if layer.kind == kind) for kind in ("activation", "max_pool")
    }
    hidden = 2 * 4096
    # activations, for both their neighbours; pooled maps and 8 bytes of index each; what dropout gives, and its mask
    assert sum(layer.kept for layer in layers) == 4 * maps["activation"] + (4 + 8) * maps["max_pool"] + 8 * hidden
    assert not any(layer.kept for layer in layers if layer.kind == "conv")


@pytest.mark.parametrize("name", ["lenet5", "resnet20", "inception_v1"])
def test_what_is_kept_is_what_autograd_saves_of_one_more_image(name: str) -> None:
    net = make(name).train()

    def saved(count: int) -> int:
        known = {value.untyped_storage().data_ptr() for value in (*net.parameters(), *net.buffers())}
        sizes: dict[int, int] = {}
        held: list[Tensor] = []

        def keep(tensor: Tensor) -> Tensor:
            held.append(tensor)
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in known:
                sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            outputs = net(images(name, count))
        del outputs
        return sum(sizes.values())

    side = images(name, 1).shape[-1]
    one_image = 4 * side**2  # which the first convolution keeps
    assert sum(layer.kept for layer in trace(net, (1, side, side))) + one_image == saved(3) - saved(2)
