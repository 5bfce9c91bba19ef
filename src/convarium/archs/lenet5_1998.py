"""LeNet-5 as it was: LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998,
section II.B. lenet.py has the form that is common today.

Differs: the paper prints the bitmaps of its output as a picture only (Figure 3); those below are drawn for this file,
in the same 7x12 pixels. Classes beyond the ten digits get random ones, always the same. With one logit, for binary
data, it is by how much a code is nearer to the bitmap of 1 than to that of 0.
"""

from collections.abc import Callable
from itertools import groupby
from random import Random

import torch
from torch import Tensor, nn

from convarium.archs.lenet import C1, C5, F6, KERNEL, WINDOW, c5_size
from convarium.layers import AS_IN_PAPER, Layers, Parts
from convarium.layers.activation import ScaledTanh
from convarium.layers.init import uniform_fan_in
from convarium.layers.norm import none
from convarium.layers.pooling import Subsampling

C3_INPUTS = (  # Table I: the maps of S2 that each map of C3 sees
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)
BITMAPS = """
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
..###.. ...##.. .#####. .#####. ....##. ####### ..####. ####### .#####. .#####.
.##.##. ..###.. ##...## ##...## ...###. ##..... .##.... .....## ##...## ##...##
##...## .####.. .....## .....## ..####. ##..... ##..... .....## ##...## ##...##
##...## ...##.. .....## .....## .##.##. ######. ##..... ....##. ##...## ##...##
##...## ...##.. ....##. ..####. ##..##. .....## ######. ....##. .#####. .######
##...## ...##.. ...##.. .....## ##..##. .....## ##...## ...##.. ##...## .....##
##...## ...##.. ..##... .....## ####### .....## ##...## ...##.. ##...## .....##
##...## ...##.. .##.... .....## ....##. .....## ##...## ..##... ##...## .....##
.##.##. ...##.. ##..... ##...## ....##. ##...## ##...## ..##... ##...## ....##.
..###.. .###### ####### .#####. ....##. .#####. .#####. ..##... .#####. .####..
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
"""
INIT_BOUND = 2.4  # over the fan-in (appendix A)


def as_in_appendix_a(net: nn.Module) -> None:
    """All parameters uniform within 2.4/fan_in on either side of zero, those of the subsampling as well."""
    uniform_fan_in(net, bound=INIT_BOUND)
    for module in net.modules():
        if isinstance(module, Subsampling):
            for parameter in module.parameters():
                nn.init.uniform_(parameter, -INIT_BOUND / module.area, INIT_BOUND / module.area)


PAPER = Layers(norm=none, activation=ScaledTanh, pool=Subsampling, init=as_in_appendix_a)


class SparseConv(nn.Module):
    """A convolution each of whose maps sees the maps that its row of a table names; (N, C, H, W) -> (N, rows, H', W').

    Each run of rows of equal length is one grouped convolution, made by `conv`: (in_channels, maps, groups) -> layer.
    """

    def __init__(self, table: tuple[tuple[int, ...], ...], conv: Callable[[int, int, int], nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList()
        for number, (_, run) in enumerate(groupby(table, key=len)):
            rows = list(run)
            seen = [channel for row in rows for channel in row]
            self.branches.append(conv(len(seen), len(rows), len(rows)))
            self.register_buffer(f"seen_{number}", torch.tensor(seen), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        seen = [x.index_select(1, self.get_buffer(f"seen_{number}")) for number in range(len(self.branches))]
        return torch.cat([branch(maps) for branch, maps in zip(self.branches, seen, strict=True)], dim=1)


class BitmapOutput(nn.Linear):
    """F6 and the output: minus the squared distances of a code from the bitmaps; (N, in_features) -> (N, num_classes).

    The code is F6's 84 activated units. Both layers are one module because the output by itself has nothing to train.
    """

    bitmaps: Tensor

    def __init__(self, in_features: int, num_classes: int, layers: Layers) -> None:
        super().__init__(in_features, F6)
        self.activation = layers.activation()
        self.dropout = nn.Dropout(layers.dropout)
        self.binary = num_classes == 1
        self.register_buffer("bitmaps", torch.tensor(draw_bitmaps(max(2, num_classes))), persistent=False)

    def code(self, x: Tensor) -> Tensor:
        """The units of F6; (N, in_features) -> (N, 84)."""
        units: Tensor = self.activation(super().forward(x))
        return units

    def forward(self, x: Tensor) -> Tensor:
        code = self.dropout(self.code(x))  # (N, 84)
        logits: Tensor = -(code[:, None] - self.bitmaps).square().sum(2)  # (N, num_classes)
        return logits[:, 1:] - logits[:, :1] if self.binary else logits


class LeNet5Of1998(nn.Module):
    """Sparse C3, trainable subsampling, distances from bitmaps as logits; (N, C, H, W) -> (N, num_classes).

    Every part can be replaced; a norm follows C1, C5 and each of the three grouped convolutions that C3 is made of.
    Dropout, which the paper has not, sits before the output. Raises ValueError for images below 32.
    """

    def __init__(
        self, *, in_channels: int = 1, num_classes: int = 10, image_size: int = 32, parts: Parts = AS_IN_PAPER
    ) -> None:
        super().__init__()
        layers = parts.over(PAPER)

        def conv(in_channels: int, maps: int, groups: int = 1) -> nn.Module:
            return layers.conv(in_channels, maps, KERNEL, padding=0, groups=groups)

        def subsample(maps: int) -> nn.Module:
            return nn.Sequential(layers.pool(WINDOW, WINDOW, channels=maps), layers.activation())

        maps = len(C3_INPUTS)
        self.c1 = conv(in_channels, C1)
        self.s2 = subsample(C1)
        self.c3 = SparseConv(C3_INPUTS, conv)
        self.s4 = subsample(maps)
        self.c5 = conv(maps, C5)
        self.output = BitmapOutput(C5 * c5_size(image_size) ** 2, num_classes, layers)
        layers.init(self)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, 32, 32)
        x = self.s2(self.c1(x))  # (N, 6, 14, 14)
        x = self.s4(self.c3(x))  # (N, 16, 5, 5)
        x = self.c5(x)  # (N, 120, 1, 1)
        logits: Tensor = self.output(x.flatten(1))  # (N, num_classes)
        return logits


def draw_bitmaps(count: int) -> list[list[float]]:
    """The bitmaps of `count` classes, row by row, 1 where black and -1 where white: the digits, then random ones."""
    lines = [line.split() for line in BITMAPS.split("\n") if line]
    digits = ["".join(rows) for rows in zip(*lines, strict=True)][:count]
    random = Random(1998)
    others = ["".join(random.choices(".#", k=F6)) for _ in range(count - len(digits))]
    return [[1.0 if pixel == "#" else -1.0 for pixel in bitmap] for bitmap in digits + others]
