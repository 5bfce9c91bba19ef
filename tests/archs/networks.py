"""The networks of conf/arch, built without the platform around them."""

from collections.abc import Collection
from functools import cache, partial
from importlib import import_module
from math import sqrt
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from archs.catalog import stated
from convarium.archs.efficientnet import StochasticDepth
from convarium.config.catalog import conf_dir
from convarium.layers import AS_IN_PAPER, Outputs, Parts

SMALL = 32  # pixels
FRACTION = (sqrt(5) - 1) / 2  # its multiples modulo 1 are spread evenly


def node_of(group: str, name: str) -> dict[str, Any]:
    node = OmegaConf.to_container(OmegaConf.load(conf_dir() / group / f"{name}.yaml"))
    assert isinstance(node, dict)
    return node  # type: ignore[return-value]


def target_of(path: str) -> Any:
    module, _, attribute = path.rpartition(".")
    return getattr(import_module(module), attribute)


def member(group: str, name: str) -> Any:
    """The factory that a yaml stands for; None for the paper's."""
    node = node_of(group, name)
    if "_target_" not in node:
        return None
    target = target_of(node.pop("_target_"))
    return partial(target, **{key: value for key, value in node.items() if key != "_partial_"})


def make(
    name: str, *, channels: int = 1, num_classes: int = 10, image_size: int | None = None, parts: Parts = AS_IN_PAPER
) -> nn.Module:
    """The network that an architecture's yaml describes, for small digits unless told otherwise."""
    node = node_of("arch", name)
    values = {
        "${data.channels}": channels,
        "${data.num_classes}": num_classes,
        "${data.image_size}": small_size(name) if image_size is None else image_size,
        "${parts}": parts,
    }
    target = target_of(node.pop("_target_"))
    arguments = {key: values.get(value, value) if isinstance(value, str) else value for key, value in node.items()}
    net = target(**arguments)
    assert isinstance(net, nn.Module)
    return net


@cache
def small_size(name: str) -> int:
    """32 pixels, or the published size of a network that refuses so small images."""
    try:
        with torch.device("meta"):
            make(name, image_size=SMALL)
    except ValueError as error:
        if "image_size" not in str(error):
            raise
        return stated(name).image_size
    return SMALL


@cache
def make_published(name: str) -> tuple[nn.Module, Tensor]:
    """The network at its published size and one image for it, without values; to look at, not to change."""
    size = stated(name)
    with torch.device("meta"):
        net = make(name, channels=size.channels, num_classes=size.num_classes, image_size=size.image_size)
        return net.eval(), torch.empty(1, size.channels, size.image_size, size.image_size)


def images(name: str, count: int, channels: int = 1) -> Tensor:
    """Noise of the size that `make` builds for."""
    return torch.randn(count, channels, small_size(name), small_size(name))


def settled(name: str, net: nn.Module) -> nn.Module:
    """The network evaluating. If its sums overflow, as those of 1,202 layers do with the statistics that batch norms
    begin with, these get the statistics of noise.
    """
    with torch.no_grad():
        if net.eval()(images(name, 1)).isfinite().all():
            return net
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # the mean of what was seen
        net.train()(images(name, 4))
    return net.eval()


def without_chance(net: nn.Module) -> nn.Module:
    """The network training, but with all its residual branches: of two images none may be left in one of them."""
    for module in net.modules():
        if isinstance(module, StochasticDepth):
            module.eval()
    return net


def loss(outputs: Tensor | Outputs, targets: Tensor) -> Tensor:
    """The sum of the cross-entropies of all heads."""
    all_logits = (outputs.logits, *outputs.aux) if isinstance(outputs, Outputs) else (outputs,)
    return torch.stack([cross_entropy(logits, targets) for logits in all_logits]).sum()


def ramp(*shape: int) -> Tensor:
    """Values in [-1, 1), spread evenly and the same on every machine."""
    count = torch.Size(shape).numel()
    return (torch.arange(count, dtype=torch.float64) * FRACTION % 1).mul_(2).sub_(1).view(shape)


def fill_with_ramps(net: nn.Module) -> None:
    """Give every parameter values that are the same on every machine and keep the signal in range."""
    with torch.no_grad():
        for key, parameter in net.named_parameters():
            values = ramp(*parameter.shape)
            if parameter.ndim > 1:
                parameter.copy_(values.mul_(sqrt(6 / parameter[0].numel())))
            else:
                parameter.copy_(values.mul_(0.1).add_(float(key.endswith("weight"))))


def without_gradient(net: nn.Module) -> Collection[str]:
    """The parameters that the last backward pass did not reach."""
    return [key for key, parameter in net.named_parameters() if parameter.grad is None or not parameter.grad.any()]
