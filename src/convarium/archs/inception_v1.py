"""GoogLeNet: Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich, "Going Deeper with
Convolutions", 2014, arXiv 1409.4842.

Differs: the paper does not give its initialization; He's is used. The first convolution is a dense 7x7 (the 2.7K
parameters of the table would be a separable one, which the text does not mention). For small images (stem: auto takes
it up to 64 pixels) the first convolution is 3x3 with stride 1 and the pooling before module 3a is left out, so that the
modules see maps of 1/2, 1/4 and 1/8 of the image's side instead of 1/8, 1/16 and 1/32. last_pool: 2 makes the window of
the last pooling 2x2, as torchvision's published weights have it.
"""

from typing import NamedTuple

from torch import Tensor, nn

from convarium.layers import AS_IN_PAPER, AverageAndClassify, Layers, Outputs, Parts, output_size, takes_small_stem
from convarium.layers.init import he
from convarium.layers.norm import LocalResponse, none
from convarium.layers.parts import SideBySide
from convarium.layers.pooling import average_pool, max_pool


class Filters(NamedTuple):
    """One row of Table 1: the filters of a module's branches."""

    conv1: int
    reduce3: int
    conv3: int
    reduce5: int
    conv5: int
    pool_proj: int

    @property
    def width(self) -> int:
        return self.conv1 + self.conv3 + self.conv5 + self.pool_proj


STEM = (64, 64, 192)  # 7x7, 1x1, 3x3
MODULES = {
    "3a": Filters(64, 96, 128, 16, 32, 32),
    "3b": Filters(128, 128, 192, 32, 96, 64),
    "4a": Filters(192, 96, 208, 16, 48, 64),
    "4b": Filters(160, 112, 224, 24, 64, 64),
    "4c": Filters(128, 128, 256, 24, 64, 64),
    "4d": Filters(112, 144, 288, 32, 64, 64),
    "4e": Filters(256, 160, 320, 32, 128, 128),
    "5a": Filters(256, 160, 320, 32, 128, 128),
    "5b": Filters(384, 192, 384, 48, 128, 128),
}
IN_CHANNELS = dict(zip(MODULES, [STEM[-1], *(filters.width for filters in MODULES.values())], strict=False))
PAPER = Layers(norm=none, activation=nn.ReLU, pool=max_pool, init=he, dropout=0.4)

AUX_WINDOW, AUX_STRIDE = 5, 3
AUX_MAPS, AUX_UNITS = 128, 1024
AUX_PAPER = PAPER._replace(pool=average_pool, dropout=0.7)


class Inception(SideBySide):
    """Four branches side by side, their maps joined; (N, C, H, W) -> (N, filters.width, H, W)."""

    def __init__(self, in_channels: int, filters: Filters, layers: Layers) -> None:
        super().__init__()
        conv = layers.conv
        self["branch1"] = conv(in_channels, filters.conv1, 1)
        self["branch3"] = nn.Sequential(conv(in_channels, filters.reduce3, 1), conv(filters.reduce3, filters.conv3, 3))
        self["branch5"] = nn.Sequential(conv(in_channels, filters.reduce5, 1), conv(filters.reduce5, filters.conv5, 5))
        self["branch_pool"] = nn.Sequential(
            layers.pool(3, 1, channels=in_channels, padding=1), conv(in_channels, filters.pool_proj, 1)
        )


class AuxiliaryHead(nn.Module):
    """A small classifier on maps of the given side; (N, C, size, size) -> (N, num_classes)."""

    def __init__(self, in_channels: int, size: int, num_classes: int, layers: Layers) -> None:
        super().__init__()
        positions = output_size(size, AUX_WINDOW, AUX_STRIDE) ** 2
        self.pool = layers.pool(AUX_WINDOW, AUX_STRIDE, channels=in_channels)
        self.conv = layers.conv(in_channels, AUX_MAPS, 1)
        self.hidden = nn.Sequential(nn.Linear(AUX_MAPS * positions, AUX_UNITS), layers.activation())
        self.dropout = nn.Dropout(layers.dropout)
        self.classifier = nn.Linear(AUX_UNITS, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.pool(x))  # (N, 128, 4, 4) of 14x14
        x = self.hidden(x.flatten(1))  # (N, 1024)
        logits: Tensor = self.classifier(self.dropout(x))  # (N, num_classes)
        return logits


class InceptionV1(AverageAndClassify):
    """Nine Inception modules and, while training, two auxiliary classifiers on 4a and 4d.

    (N, C, H, W) -> (N, num_classes); in training mode with aux_heads -> Outputs. Raises ValueError for images
    whose maps at 4a are too small for the auxiliary heads.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 1000,
        image_size: int = 224,
        parts: Parts = AS_IN_PAPER,
        aux_heads: bool = True,
        stem: str = "auto",
        last_pool: int = 3,
    ) -> None:
        super().__init__()
        layers = parts.over(PAPER)
        small = takes_small_stem(stem, image_size)
        lrn = LocalResponse if parts.norm is None else none
        conv1, reduce2, conv2 = STEM

        def pool(channels: int, window: int = 3) -> nn.Module:
            return layers.pool(window, 2, channels=channels, ceil_mode=True)

        def modules(*names: str) -> list[nn.Module]:
            return [Inception(IN_CHANNELS[name], MODULES[name], layers) for name in names]

        self.stem = nn.Sequential(
            layers.conv(in_channels, conv1, 3) if small else layers.conv(in_channels, conv1, 7, stride=2),
            pool(conv1),
            lrn(conv1),
            layers.conv(conv1, reduce2, 1),
            layers.conv(reduce2, conv2, 3),
            lrn(conv2),
            nn.Identity() if small else pool(conv2),
        )
        self.to_4a = nn.Sequential(*modules("3a", "3b"), pool(MODULES["3b"].width), *modules("4a"))
        self.to_4d = nn.Sequential(*modules("4b", "4c", "4d"))
        self.to_5b = nn.Sequential(*modules("4e"), pool(MODULES["4e"].width, last_pool), *modules("5a", "5b"))
        self.aux = nn.ModuleList()
        if aux_heads:
            size = _size_at_4a(image_size, small)
            aux_layers = parts.over(AUX_PAPER)
            self.aux.extend(AuxiliaryHead(MODULES[at].width, size, num_classes, aux_layers) for at in ("4a", "4d"))
        self.add_classifier(MODULES["5b"].width, num_classes, layers)

    def forward(self, x: Tensor) -> Tensor | Outputs:
        x = self.stem(x)  # (N, 192, H/8, W/8)
        at_4a: Tensor = self.to_4a(x)  # (N, 512, H/16, W/16)
        at_4d: Tensor = self.to_4d(at_4a)  # (N, 528, H/16, W/16)
        logits = self.classify(self.to_5b(at_4d))  # (N, 1024, H/32, W/32) -> (N, num_classes)
        if self.training and self.aux:
            return Outputs(logits, tuple(head(maps) for head, maps in zip(self.aux, (at_4a, at_4d), strict=True)))
        return logits


def _size_at_4a(image_size: int, small: bool) -> int:
    size = image_size if small else output_size(image_size, 7, 2, padding=3)
    for _ in range(2 if small else 3):
        size = output_size(size, 3, 2, ceil_mode=True)
    if size < AUX_WINDOW:
        raise ValueError(
            f"image_size={image_size}: too small for the auxiliary heads of GoogLeNet, which average windows of "
            f"{AUX_WINDOW}x{AUX_WINDOW} and get maps of {size}x{size}; aux_heads=false goes without"
        )
    return size
