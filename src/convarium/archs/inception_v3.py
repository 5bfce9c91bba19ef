"""Inception-v3: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, "Rethinking the Inception Architecture for Computer Vision",
2015, arXiv 1512.00567.

The paper's Table 1 leaves the filters of the modules open and differs from what its authors published as code
(TensorFlow's models), to which all later ones keep: stem, filters, dropout, the epsilon of the batch norm and averages
that do not count the padding are the code's.

Differs: neither gives an initialization that suits other parts; He's is used. torchvision's network has dropout 0.5 and
counts the padding in its averages, as count_padding does. For small images (stem: auto takes it up to 64 pixels) the
stem is that of section 9's network for low resolution, with stride 1 in the first convolution and no pooling after the
third, and its convolutions are padded: the modules see maps of 15, 7 and 3 pixels for images of 32. As in the code, the
5x5 of the auxiliary head shrinks to the maps where these are smaller.
"""

from collections import OrderedDict
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from convarium.layers import AS_IN_PAPER, AverageAndClassify, Layers, Outputs, Parts, output_size, takes_small_stem
from convarium.layers.init import he
from convarium.layers.norm import batch
from convarium.layers.parts import PoolFactory, SideBySide
from convarium.layers.pooling import average_pool, max_pool


class Conv(NamedTuple):
    """A convolution of a module: padded to keep the maps' size, or with stride 2 not padded."""

    width: int
    kernel_size: int | tuple[int, int]
    stride: int = 1


class Pool(NamedTuple):
    """A pooling of a module, 3x3, padded as the convolutions are."""

    kind: PoolFactory
    stride: int = 1


Fork = dict[str, "Chain"]  # branches on the same maps, each a chain of layers, their results joined
Chain = tuple[Conv | Pool | Fork, ...]


def module_a(pooled: int) -> Fork:
    """Figure 5."""
    return {
        "conv1": (Conv(64, 1),),
        "conv5": (Conv(48, 1), Conv(64, 5)),
        "double3": (Conv(64, 1), Conv(96, 3), Conv(96, 3)),
        "pool": (Pool(average_pool), Conv(pooled, 1)),
    }


def module_c(width: int) -> Fork:
    """Figure 6, with n = 7."""
    across, down = (1, 7), (7, 1)
    return {
        "conv1": (Conv(192, 1),),
        "conv7": (Conv(width, 1), Conv(width, across), Conv(192, down)),
        "double7": (Conv(width, 1), *(Conv(width, way) for way in (down, across, down)), Conv(192, across)),
        "pool": (Pool(average_pool), Conv(192, 1)),
    }


B: Fork = {  # Figure 10
    "conv3": (Conv(384, 3, 2),),
    "double3": (Conv(64, 1), Conv(96, 3), Conv(96, 3, 2)),
    "pool": (Pool(max_pool, 2),),
}
D: Fork = {
    "conv3": (Conv(192, 1), Conv(320, 3, 2)),
    "conv7": (Conv(192, 1), Conv(192, (1, 7)), Conv(192, (7, 1)), Conv(192, 3, 2)),
    "pool": (Pool(max_pool, 2),),
}
BOTH_WAYS: Fork = {"across": (Conv(384, (1, 3)),), "down": (Conv(384, (3, 1)),)}
E: Fork = {  # Figure 7
    "conv1": (Conv(320, 1),),
    "conv3": (Conv(384, 1), BOTH_WAYS),
    "double3": (Conv(448, 1), Conv(384, 3), BOTH_WAYS),
    "pool": (Pool(average_pool), Conv(192, 1)),
}
TO_6A = {"5b": module_a(32), "5c": module_a(64), "5d": module_a(64), "6a": B}
TO_6E = TO_6A | {"6b": module_c(128), "6c": module_c(160), "6d": module_c(160), "6e": module_c(192)}
TO_7C = {"7a": D, "7b": E, "7c": E}
STEM = (32, 32, 64, 80, 192)  # 3x3 with stride 2, 3x3, 3x3; pooling; 1x1, 3x3; pooling
PAPER = Layers(norm=partial(batch, eps=1e-3), activation=nn.ReLU, pool=max_pool, init=he, dropout=0.2)

AUX_WINDOW, AUX_STRIDE = 5, 3
AUX_MAPS, AUX_UNITS, AUX_KERNEL = 128, 768, 5
AUX_PAPER = PAPER._replace(pool=average_pool)


class Branches(SideBySide):
    """A fork as a module; (N, C, H, W) -> (N, out_channels, H', W')."""

    def __init__(self, in_channels: int, fork: Fork, parts: Parts) -> None:
        super().__init__()
        self.out_channels = 0
        for name, chain in fork.items():
            branch, width = nn.Sequential(), in_channels
            for layer in chain:
                module, width = _build(width, layer, parts)
                branch.append(module)
            self[name] = branch
            self.out_channels += width


def _build(in_channels: int, layer: Conv | Pool | Fork, parts: Parts) -> tuple[nn.Module, int]:
    """The module of a layer, and how many maps it gives."""
    if isinstance(layer, dict):
        branches = Branches(in_channels, layer, parts)
        return branches, branches.out_channels
    if isinstance(layer, Pool):
        pool = parts.over(PAPER._replace(pool=layer.kind)).pool
        return pool(3, layer.stride, channels=in_channels, padding=1 if layer.stride == 1 else 0), in_channels
    padding = None if layer.stride == 1 else 0
    conv = parts.over(PAPER).conv(in_channels, layer.width, layer.kernel_size, stride=layer.stride, padding=padding)
    return conv, layer.width


def _modules(in_channels: int, table: dict[str, Fork], parts: Parts) -> tuple[nn.Sequential, int]:
    """The modules of a table in a row, and how many maps the last one gives."""
    modules = OrderedDict[str, nn.Module]()
    for name, fork in table.items():
        modules[name], in_channels = _build(in_channels, fork, parts)
    return nn.Sequential(modules), in_channels


class AuxiliaryHead(nn.Module):
    """A small classifier on maps of the given side; (N, C, size, size) -> (N, num_classes)."""

    def __init__(self, in_channels: int, size: int, num_classes: int, layers: Layers) -> None:
        super().__init__()
        kernel_size = min(AUX_KERNEL, output_size(size, AUX_WINDOW, AUX_STRIDE))
        self.pool = layers.pool(AUX_WINDOW, AUX_STRIDE, channels=in_channels)
        self.reduce = layers.conv(in_channels, AUX_MAPS, 1)
        self.conv = layers.conv(AUX_MAPS, AUX_UNITS, kernel_size, padding=0)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(AUX_UNITS, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.reduce(self.pool(x))  # (N, 128, 5, 5) of 17x17
        x = self.average(self.conv(x)).flatten(1)  # (N, 768)
        logits: Tensor = self.classifier(x)  # (N, num_classes)
        return logits


class InceptionV3(AverageAndClassify):
    """Eleven Inception modules and, while training, an auxiliary classifier on 6e.

    (N, C, H, W) -> (N, num_classes); in training mode with aux_heads -> Outputs. Raises ValueError for images
    that leave a layer nothing to see.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 1000,
        image_size: int = 299,
        parts: Parts = AS_IN_PAPER,
        aux_heads: bool = True,
        count_padding: bool = False,
        stem: str = "auto",
    ) -> None:
        super().__init__()
        layers = parts.over(PAPER)
        small = takes_small_stem(stem, image_size)
        size_at_6e = _size_at_6e(image_size, small, aux_heads)
        conv1, conv2, conv3, conv4, conv5 = STEM
        padding = None if small else 0
        self.stem = nn.Sequential(
            layers.conv(in_channels, conv1, 3, stride=1 if small else 2, padding=padding),
            layers.conv(conv1, conv2, 3, padding=padding),
            layers.conv(conv2, conv3, 3),
            nn.Identity() if small else layers.pool(3, 2, channels=conv3),
            layers.conv(conv3, conv4, 1),
            layers.conv(conv4, conv5, 3, padding=padding),
            layers.pool(3, 2, channels=conv5),
        )
        self.to_6e, width_at_6e = _modules(conv5, TO_6E, parts)
        self.to_7c, width = _modules(width_at_6e, TO_7C, parts)
        for module in self.modules():
            if isinstance(module, nn.AvgPool2d):
                module.count_include_pad = count_padding
        self.aux = nn.ModuleList()
        if aux_heads:
            self.aux.append(AuxiliaryHead(width_at_6e, size_at_6e, num_classes, parts.over(AUX_PAPER)))
        self.add_classifier(width, num_classes, layers)

    def forward(self, x: Tensor) -> Tensor | Outputs:
        x = self.stem(x)  # (N, 192, 35, 35) of 299x299
        at_6e: Tensor = self.to_6e(x)  # (N, 768, 17, 17)
        logits = self.classify(self.to_7c(at_6e))  # (N, 2048, 8, 8) -> (N, num_classes)
        if self.training and self.aux:
            return Outputs(logits, tuple(head(at_6e) for head in self.aux))
        return logits


STEM_WINDOWS = (  # of 3x3 without padding, and their strides
    *(("the first convolution", 2), ("the second convolution", 1)),
    *(("the first pooling", 2), ("the last convolution of the stem", 1)),
)
LATER_WINDOWS = (("the last pooling of the stem", 2), ("module 6a", 2), ("module 7a", 2))


def _size_at_6e(image_size: int, small: bool, aux_heads: bool) -> int:
    """The side of the maps that the auxiliary head gets; raises ValueError for the first layer that gets too little."""
    size = image_size
    for layer, stride in (() if small else STEM_WINDOWS) + LATER_WINDOWS:
        before, size = size, output_size(size, 3, stride)
        if size < 1:
            raise ValueError(
                f"image_size={image_size}: too small for {layer} of Inception-v3, which has windows of 3x3 and gets"
                f" maps of {before}x{before}"
            )
    size = before  # module 7a comes after the head
    if aux_heads and size < AUX_WINDOW:
        raise ValueError(
            f"image_size={image_size}: too small for the auxiliary head of Inception-v3, which averages windows of "
            f"{AUX_WINDOW}x{AUX_WINDOW} and gets maps of {size}x{size}; aux_heads=false goes without"
        )
    return size
