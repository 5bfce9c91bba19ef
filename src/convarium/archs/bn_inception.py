"""BN-Inception: Ioffe & Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal
Covariate Shift", 2015, arXiv 1502.03167, Figure 5.

Follows the figure's filters. They contradict its printed depths: 128 pooled maps in 4c and 4d make 608, 608 and, behind
4e, 1056 maps where 576, 576 and 1024 are printed; table: depths takes the 96 that these need. No reading makes the
13.6 million parameters of the text. The paper has no auxiliary classifiers ("other than the top softmax layer, has no
fully-connected layers"), and its best networks no dropout (section 4.2.1).

Differs: the first convolution is a dense 7x7, as in the network's best known ports; first_conv: separable is the
text's, with a depth multiplier of 8. The paper does not give its initialization; He's is used. For small images (stem:
auto takes it up to 64 pixels) the first convolution is 3x3 with stride 1 and the pooling before module 3a is left out,
so that the modules see maps of 1/2, 1/4 and 1/8 of the image's side instead of 1/8, 1/16 and 1/32.
"""

from collections import OrderedDict
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from convarium.layers import AS_IN_PAPER, AverageAndClassify, Layers, Parts, output_size, takes_small_stem
from convarium.layers.init import he
from convarium.layers.norm import batch
from convarium.layers.parts import PoolFactory, SideBySide
from convarium.layers.pooling import average_pool, max_pool


class Filters(NamedTuple):
    """One row of Figure 5: the filters of a module's branches; without conv1 and pool_proj it has stride 2."""

    conv1: int
    reduce3: int
    conv3: int
    reduce_double: int
    double: int
    pool: PoolFactory
    pool_proj: int

    @property
    def stride(self) -> int:
        return 1 if self.pool_proj else 2

    def width(self, in_channels: int) -> int:
        return self.conv1 + self.conv3 + self.double + (self.pool_proj or in_channels)


STEM = (64, 64, 192)  # 7x7, 1x1, 3x3
DEPTH_MULTIPLIER = 8  # of the separable first convolution
MODULES = {
    "3a": Filters(64, 64, 64, 64, 96, average_pool, 32),
    "3b": Filters(64, 64, 96, 64, 96, average_pool, 64),
    "3c": Filters(0, 128, 160, 64, 96, max_pool, 0),
    "4a": Filters(224, 64, 96, 96, 128, average_pool, 128),
    "4b": Filters(192, 96, 128, 96, 128, average_pool, 128),
    "4c": Filters(160, 128, 160, 128, 160, average_pool, 128),
    "4d": Filters(96, 128, 192, 160, 192, average_pool, 128),
    "4e": Filters(0, 128, 192, 192, 256, max_pool, 0),
    "5a": Filters(352, 192, 320, 160, 224, average_pool, 128),
    "5b": Filters(352, 192, 320, 192, 224, max_pool, 128),
}
BY_PRINTED_DEPTHS = MODULES | {name: MODULES[name]._replace(pool_proj=96) for name in ("4c", "4d")}
TABLES = {"filters": MODULES, "depths": BY_PRINTED_DEPTHS}
PAPER = Layers(norm=batch, activation=nn.ReLU, pool=max_pool, init=he)


class Inception(SideBySide):
    """Branches side by side, their maps joined; (N, C, H, W) -> (N, filters.width(C), H/s, W/s), s the row's stride.

    With stride 2 there is no 1x1 branch and the pooled maps pass as they are. All windows of one stride have the same
    padding, so that the branches agree on any size.
    """

    def __init__(self, in_channels: int, filters: Filters, parts: Parts) -> None:
        super().__init__()
        layers = parts.over(PAPER._replace(pool=filters.pool))
        conv, stride = layers.conv, filters.stride
        pool = nn.Sequential(layers.pool(3, stride, channels=in_channels, padding=1))
        if filters.pool_proj:
            pool.append(conv(in_channels, filters.pool_proj, 1))
        if filters.conv1:
            self["conv1"] = conv(in_channels, filters.conv1, 1)
        self["conv3"] = nn.Sequential(
            conv(in_channels, filters.reduce3, 1), conv(filters.reduce3, filters.conv3, 3, stride=stride)
        )
        self["double3"] = nn.Sequential(
            conv(in_channels, filters.reduce_double, 1),
            conv(filters.reduce_double, filters.double, 3),
            conv(filters.double, filters.double, 3, stride=stride),
        )
        self["pool"] = pool


class BNInception(AverageAndClassify):
    """Ten Inception modules, two of which halve the maps; (N, C, H, W) -> (N, num_classes).

    Raises ValueError for images that the stem's poolings leave nothing of. Dropout has its place before the classifier.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 1000,
        image_size: int = 224,
        parts: Parts = AS_IN_PAPER,
        table: str = "filters",
        first_conv: str = "dense",
        stem: str = "auto",
    ) -> None:
        super().__init__()
        layers = parts.over(PAPER)
        small = takes_small_stem(stem, image_size)
        _check_size(image_size, small)
        conv1, reduce2, conv2 = STEM

        first = partial(_separable_conv, layers) if first_conv == "separable" else layers.conv
        self.stem = nn.Sequential(
            first(in_channels, conv1, 3 if small else 7, stride=1 if small else 2),
            layers.pool(3, 2, channels=conv1, ceil_mode=True),
            layers.conv(conv1, reduce2, 1),
            layers.conv(reduce2, conv2, 3),
            nn.Identity() if small else layers.pool(3, 2, channels=conv2, ceil_mode=True),
        )
        self.inception = nn.Sequential(OrderedDict[str, nn.Module]())
        width = conv2
        for name, filters in TABLES[table].items():
            self.inception.add_module(name, Inception(width, filters, parts))
            width = filters.width(width)
        self.add_classifier(width, num_classes, layers)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # (N, 192, H/8, W/8)
        x = self.inception(x)  # (N, 1024, H/32, W/32)
        return self.classify(x)


def _separable_conv(layers: Layers, in_channels: int, width: int, kernel_size: int, *, stride: int) -> nn.Sequential:
    """Each channel filtered by itself, then a 1x1 of all; nothing between the two."""
    maps = in_channels * DEPTH_MULTIPLIER
    depthwise = nn.Conv2d(in_channels, maps, kernel_size, stride, kernel_size // 2, groups=in_channels, bias=False)
    return nn.Sequential(depthwise, layers.conv(maps, width, 1))


def _check_size(image_size: int, small: bool) -> None:
    size = image_size if small else output_size(image_size, 7, 2, padding=3)
    for before in ("the 1x1 of the stem",) if small else ("the 1x1 of the stem", "module 3a"):
        size = output_size(size, 3, 2, ceil_mode=True)
        if size < 1:
            raise ValueError(f"image_size={image_size}: too small for the pooling before {before} of BN-Inception")
