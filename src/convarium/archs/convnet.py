"""The convolutional network of the textbooks, as a pattern: "Convolutional Networks", notes of the Stanford course
CS231n, 2015. The notation, and the numbers it may have: archs/pattern.py.

With it the networks of Deotte, "How to choose CNN architecture MNIST", Kaggle, 2018, and that of a Keras tutorial.

Differs: these say nothing of initialization (Keras draws Glorot and Bengio's uniform: init=xavier); here it is He's. BN
has torch's momentum and epsilon (Keras: 0.01 and 1e-3). Padding is the same on all sides; where Keras' "same" meets a
stride, it has one zero less above and on the left. Of images up to 64 pixels the tutorial's network would leave too
little, so there its convolutions are padded (padding: auto).
"""

from collections.abc import Sequence

from torch import Tensor, nn

from convarium.archs.pattern import BatchNorm, Conv, Dropout, GlobalPool, Hidden, Layer, Pool, parse
from convarium.layers import AS_IN_PAPER, Layers, Parts, output_size
from convarium.layers.init import he
from convarium.layers.norm import OfUnits, batch, none
from convarium.layers.pooling import max_pool
from convarium.sizes import SMALL_IMAGE

PATTERN = "INPUT -> [(CONV -> RELU)*N -> POOL?]*M -> [FC -> RELU]*K -> FC"
NUM_CONVS, WIDTHS, HIDDEN, KERNEL_SIZE = 2, (32, 64, 128), (256, 256), 3  # N, of M blocks, of K hidden layers
DEFAULTS = {"num_convs": NUM_CONVS, "pooled": True, "widths": WIDTHS, "hidden": HIDDEN, "kernel_size": KERNEL_SIZE}
MOST_LAYERS = 5000
PAPER = Layers(norm=none, activation=nn.ReLU, pool=max_pool, init=he)


class Maker:
    """Makes one layer after the other, and knows the channels and the size of what the last one gives."""

    def __init__(self, channels: int, image_size: int, parts: Parts, *, kernel_size: int, same: bool) -> None:
        self.channels = channels
        self.size = self.image_size = image_size
        self.parts, self.layers = parts, parts.over(PAPER)
        self.kernel_size = kernel_size
        self.same = same
        self.is_mlp = True  # so far: the norm is for the hidden layers of a network without convolutions
        self.flat = False

    def make(self, layer: Layer, width: int) -> nn.Module:
        """The module for one layer of a pattern, of this width unless the pattern gives it one."""
        match layer:
            case Conv():
                return self._conv(layer, layer.width or width)
            case Pool(window, stride):
                self._resize(f"{window}x{window} pooling", output_size(self.size, window, stride, ceil_mode=self.same))
                return self.layers.pool(window, stride, channels=self.channels, ceil_mode=self.same)
            case GlobalPool():
                self.size = 1
                return nn.AdaptiveAvgPool2d(1)
            case Hidden():
                return self._hidden(layer.width or width)
            case BatchNorm():
                norm = batch(self.channels) if self.parts.norm is None else none(self.channels)
                return OfUnits(norm) if self.flat else norm
            case Dropout():
                return nn.Dropout(layer.percent / 100 if self.parts.dropout is None else self.parts.dropout)

    def flatten(self) -> None:
        """From here on the maps are units."""
        self.channels, self.size, self.flat = self.channels * self.size**2, 1, True

    def _conv(self, conv: Conv, width: int) -> nn.Module:
        window, padding = conv.kernel_size or self.kernel_size, conv.padding
        if padding is None:
            if self.same and window % 2 == 0:
                raise ValueError(f"padding=same: not with windows of {window}x{window}; accepted: odd ones, or CONVp1")
            padding = window // 2 if self.same else 0
        self._resize(f"{window}x{window} convolution", output_size(self.size, window, conv.stride, padding))
        in_channels, self.channels, self.is_mlp = self.channels, width, False
        return self.layers.conv(in_channels, width, window, stride=conv.stride, padding=padding)

    def _hidden(self, width: int) -> nn.Module:
        in_features, self.channels = self.channels, width
        if self.is_mlp and self.layers.norm is not none:
            return self.layers.linear(in_features, width)
        return nn.Sequential(nn.Linear(in_features, width), self.layers.activation())

    def _resize(self, layer: str, size: int) -> None:
        if size < 1:
            raise ValueError(
                f"image_size={self.image_size}: too small for the pattern, in which a {layer} gets maps of "
                f"{self.size}x{self.size}"
            )
        self.size = size


class ConvNet(nn.Module):
    """Blocks of convolutions, then linear layers, as the pattern has them; (N, C, H, W) -> (N, num_classes).

    What the pattern leaves open the other arguments say. N is num_convs, M the number of `widths`, K that of `hidden`.
    A CONV without a number has the width of its block (blocks without any CONV are not counted), an FC without one
    that of its turn in `hidden`; windows of no given size are of kernel_size. With padding "same" convolutions keep the
    size of the maps, but for a stride, and poolings round it up; with "valid" nothing is padded and poolings round
    down. POOL? is there if `pooled`.

    The pattern's BN is the paper's norm: any other choice drops it. Dropout sits where the pattern has it, at its
    rates; if it has none, after each block and each hidden FC (where Deotte's are), at rate 0.

    Raises ValueError for a pattern that cannot be read or lacks a number, for arguments and parts that it has no place
    for, and for images that are too small.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 10,
        image_size: int = 32,
        parts: Parts = AS_IN_PAPER,
        pattern: str = PATTERN,
        num_convs: int = NUM_CONVS,
        pooled: bool = True,
        widths: Sequence[int] = WIDTHS,
        hidden: Sequence[int] = HIDDEN,
        kernel_size: int = KERNEL_SIZE,
        padding: str = "same",
    ) -> None:
        super().__init__()
        if padding not in ("same", "valid", "auto"):
            raise ValueError(f"padding={padding}: accepted are same, valid, auto")
        written = parse(pattern)
        counts = {"N": num_convs, "M": len(widths), "K": len(hidden)}
        blocks = [
            [layer for layer in block if pooled or not (isinstance(layer, Pool) and layer.optional)]
            for block in written.blocks(counts)
        ]
        last = [[layer] for layer in written.hidden_layers(counts)]
        if (count := sum(map(len, [*blocks, *last]))) > MOST_LAYERS:
            raise ValueError(f"pattern={pattern}: has {count:,} layers, accepted are up to {MOST_LAYERS:,}")
        chosen = {"num_convs": num_convs, "pooled": pooled, "widths": tuple(widths), "hidden": tuple(hidden)}
        _refuse_without_effect(chosen | {"kernel_size": kernel_size}, pattern, [*blocks, *last])
        if not _has(Pool, blocks):
            parts.refuse("pool", why="there is no POOL in the pattern")
        if not _has(Conv, blocks) and not _has(Hidden, last):
            parts.refuse("norm", "activation", why="a pattern with neither CONV nor a hidden FC has no place for it")
        if not _has(Dropout, [*blocks, *last]):
            blocks, last = [[*block, Dropout(0)] for block in blocks], _with_dropout(last, alone=not blocks)

        same = padding == "same" or (padding == "auto" and image_size <= SMALL_IMAGE)
        maker = Maker(in_channels, image_size, parts, kernel_size=kernel_size, same=same)
        self.blocks = nn.Sequential()
        for block, width in zip(blocks, _widths(blocks, widths, "widths"), strict=True):
            self.blocks.append(nn.Sequential(*(maker.make(layer, width) for layer in block)))
        maker.flatten()
        self.hidden = nn.Sequential()
        for layers, width in zip(last, _widths(last, hidden, "hidden"), strict=True):
            self.hidden.extend(maker.make(layer, width) for layer in layers)
        self.classifier = nn.Linear(maker.channels, num_classes)
        maker.layers.init(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(x)  # (N, last width, H', W')
        x = self.hidden(x.flatten(1))  # (N, last hidden width)
        logits: Tensor = self.classifier(x)  # (N, num_classes)
        return logits


def _has(kind: type[Layer], blocks: list[list[Layer]]) -> bool:
    return any(isinstance(layer, kind) for block in blocks for layer in block)


def _refuse_without_effect(chosen: dict[str, object], pattern: str, blocks: list[list[Layer]]) -> None:
    """Raise ValueError for an argument other than its default about which the pattern leaves nothing open."""
    layers, written = [layer for block in blocks for layer in block], "".join(pattern.split())
    convs = [layer for layer in layers if isinstance(layer, Conv)]
    left_open = {
        "num_convs": "*N" in written,
        "pooled": "?" in written,
        "widths": "*M" in written or any(conv.width is None for conv in convs),
        "hidden": "*K" in written or any(isinstance(layer, Hidden) and layer.width is None for layer in layers),
        "kernel_size": any(conv.kernel_size is None for conv in convs),
    }
    for name, value in chosen.items():
        if value != DEFAULTS[name] and not left_open[name]:
            shown = str(list(value) if isinstance(value, tuple) else value).lower()
            raise ValueError(f"{name}={shown}: has no effect, for the pattern leaves nothing open there: {pattern}")


def _with_dropout(last: list[list[Layer]], *, alone: bool) -> list[list[Layer]]:
    """After each hidden FC; where there is nothing at all, before the classifier."""
    if alone and not last:
        return [[Dropout(0)]]
    return [[*layers, Dropout(0)] if _has(Hidden, [layers]) else layers for layers in last]


def _widths(blocks: list[list[Layer]], given: Sequence[int], name: str) -> list[int]:
    """A width for each block with CONV or FC, in order; 0 where none is needed."""
    turns, found = iter(given), []
    for block in blocks:
        weighted = [layer for layer in block if isinstance(layer, Conv | Hidden)]
        found.append(next(turns, 0) if weighted else 0)
        if not found[-1] and any(layer.width is None for layer in weighted):
            raise ValueError(
                f"{name}={list(given)}: too few for the pattern; accepted: one each, or numbers as in CONV64 and FC128"
            )
    return found
