"""Networks at two image sizes, and their layers: traced once for all tests."""

from functools import cache

import torch
from torch import nn

from archs.catalog import stated
from archs.networks import make
from convarium.anatomy.trace import Layer, trace

OTHER = 64  # pixels; no paper has that size, and every network takes it


@cache
def network(name: str, image_size: int) -> nn.Module:
    """With its published channels and classes, without values; to look at, not to change."""
    size = stated(name)
    with torch.device("meta"):
        return make(name, channels=size.channels, num_classes=size.num_classes, image_size=image_size)


def image(name: str, image_size: int) -> tuple[int, int, int]:
    return stated(name).channels, image_size, image_size


@cache
def layers_of(name: str, image_size: int) -> tuple[Layer, ...]:
    return trace(network(name, image_size), image(name, image_size))
