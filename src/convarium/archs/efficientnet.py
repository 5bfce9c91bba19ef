"""EfficientNet: Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019, arXiv
1905.11946; L2: Xie, Luong, Hovy, Le, "Self-training with Noisy Student improves ImageNet classification", 2019, arXiv
1911.04252.

Differs: what the paper does not say is as in its authors' code: padding as TensorFlow's "SAME" (padding: symmetric is
torchvision's, half a window on every side, which sees an even image one pixel further up and left), BatchNorm's epsilon
of 0.001, stochastic depth that rises linearly from 0 at the first block, and the initialization. For small images
(stem: auto takes it up to 64 pixels) the first convolution and the first stage that halves its maps have stride 1, so
that the stages end at 1/8 of the image's side instead of 1/32.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from math import ceil, sqrt
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.functional import pad

from convarium.layers import AS_IN_PAPER, ActivationFactory, AverageAndClassify, Layers, Parts, takes_small_stem
from convarium.layers.init import weighted, zeros
from convarium.layers.norm import batch
from convarium.layers.pooling import average_pool


class Stage(NamedTuple):
    """One row of Table 1."""

    expansion: int
    kernel_size: int
    stride: int
    width: int
    blocks: int


class Scale(NamedTuple):
    """What a network of the family is made of B0 by: factors, the side of its images, its rate of dropout."""

    width: float
    depth: float
    image_size: int
    dropout: float


STEM, HEAD = 32, 1280  # maps
B0 = (
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 5, 2, 40, 2),
    Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),
    Stage(6, 3, 1, 320, 1),
)
FIRST_HALVING = 1  # the number, from 0, of the first stage that halves its maps
SCALES = {  # as published: equation 3 rounded by hand, width 1.1^phi, depth 1.2^phi, resolution 1.15^phi
    "b0": Scale(1.0, 1.0, 224, 0.2),
    "b1": Scale(1.0, 1.1, 240, 0.2),
    "b2": Scale(1.1, 1.2, 260, 0.3),
    "b3": Scale(1.2, 1.4, 300, 0.3),
    "b4": Scale(1.4, 1.8, 380, 0.4),
    "b5": Scale(1.6, 2.2, 456, 0.4),
    "b6": Scale(1.8, 2.6, 528, 0.5),
    "b7": Scale(2.0, 3.1, 600, 0.5),
    "l2": Scale(4.3, 5.3, 475, 0.5),
}
SQUEEZE = 4  # input maps of a block to one unit of its gate
DIVISOR = 8  # of every width


def widened(channels: int, factor: float) -> int:
    """The multiple of 8 nearest to channels times factor, or the next one if that is below 90 % of it."""
    wanted = channels * factor
    nearest = max(DIVISOR, int(wanted + DIVISOR / 2) // DIVISOR * DIVISOR)
    return nearest + DIVISOR if nearest < 0.9 * wanted else nearest


def scaled(scale: Scale) -> tuple[Stage, ...]:
    """Table 1 with the widths and numbers of blocks of another network of the family."""
    return tuple(
        stage._replace(width=widened(stage.width, scale.width), blocks=ceil(scale.depth * stage.blocks)) for stage in B0
    )


def as_released(net: nn.Module) -> None:
    """Convolutions and gates normal with variance 2/fan_out, the classifier uniform within 1/sqrt(classes); biases 0.

    A depthwise filter's fan_out is its own: kernel height times width.
    """
    zeros(net)  # for the biases
    *hidden, classifier = weighted(net)
    for module in hidden:
        groups = module.groups if isinstance(module, nn.Conv2d) else 1
        fan_out = module.weight[:, 0].numel() // groups
        nn.init.normal_(module.weight, std=sqrt(2 / fan_out))
    bound = 1 / sqrt(classifier.weight.shape[0])
    nn.init.uniform_(classifier.weight, -bound, bound)


PAPER = Layers(norm=partial(batch, momentum=0.01, eps=1e-3), activation=nn.SiLU, pool=average_pool, init=as_released)


class PadToSame(nn.Module):
    """Zeros around the maps so that windows of this stride give ceil(side / stride) positions (TensorFlow's "SAME").

    Of an odd number of rows or columns the odd one is below or on the right.
    """

    def __init__(self, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride

    def forward(self, x: Tensor) -> Tensor:
        height, width = (self._missing(side) for side in x.shape[2:])
        return pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))

    def _missing(self, side: int) -> int:
        positions = -(-side // self.stride)
        return max(0, (positions - 1) * self.stride + self.kernel_size - side)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}"


class SqueezeExcite(nn.Module):
    """Rescale channels by a gate computed from their means; (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, channels: int, squeezed: int, activation: ActivationFactory) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, squeezed)
        self.activation = activation()
        self.excite = nn.Linear(squeezed, channels)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = self.activation(self.squeeze(x.mean((2, 3))))  # (N, squeezed)
        gate: Tensor = self.excite(squeezed).sigmoid()  # (N, C)
        return x * gate[:, :, None, None]


class StochasticDepth(nn.Module):
    """While training, set each image's maps to zero with probability `rate`, and divide the others by 1 - rate.

    Huang et al. 2016, arXiv 1603.09382, with every image drawn for itself.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        kept = x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(1 - self.rate)
        return x * kept.div_(1 - self.rate)

    def extra_repr(self) -> str:
        return f"rate={self.rate:g}"


class Residual(nn.Module):
    """The body's output, at a rate left out while training, added to its input."""

    def __init__(self, body: nn.Module, rate: float) -> None:
        super().__init__()
        self.body = body
        self.stochastic_depth = StochasticDepth(rate)

    def forward(self, x: Tensor) -> Tensor:
        kept: Tensor = self.stochastic_depth(self.body(x))
        return x + kept


def _padded_to_same(
    layers: Layers, in_channels: int, width: int, kernel_size: int, *, stride: int = 1, **options: Any
) -> nn.Sequential:
    """What layers.conv makes, padded to "same"; (N, in, H, W) -> (N, width, ceil(H/s), ceil(W/s))."""
    if stride == 1:  # with an odd window half of it on each side is the same
        return layers.conv(in_channels, width, kernel_size, **options)
    conv = layers.conv(in_channels, width, kernel_size, stride=stride, padding=0, **options)
    return nn.Sequential(OrderedDict([("pad", PadToSame(kernel_size, stride)), *conv.named_children()]))


def _mbconv(
    in_channels: int, stage: Stage, stride: int, conv: Callable[..., nn.Sequential], activation: ActivationFactory
) -> nn.Sequential:
    """An inverted bottleneck: expand, filter each map by itself, gate, project."""
    hidden = in_channels * stage.expansion
    body = nn.Sequential()
    if stage.expansion > 1:
        body.append(conv(in_channels, hidden, 1))
    body.append(conv(hidden, hidden, stage.kernel_size, stride=stride, groups=hidden))
    body.append(SqueezeExcite(hidden, in_channels // SQUEEZE, activation))
    return body.append(conv(hidden, stage.width, 1, linear=True))


class EfficientNet(AverageAndClassify):
    """Seven stages of inverted bottlenecks with gates, widened and deepened together; (N, C, H, W) -> (N, num_classes).

    `stochastic_depth` is the rate that the blocks' rates rise towards. Raises ValueError for an unknown variant (b0 to
    b7, l2) or padding, and for a choice of pooling: there is none to replace.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 1000,
        image_size: int = 224,
        parts: Parts = AS_IN_PAPER,
        variant: str = "b0",
        stochastic_depth: float = 0.2,
        padding: str = "same",
        stem: str = "auto",
    ) -> None:
        super().__init__()
        if variant not in SCALES:
            raise ValueError(f"variant={variant}: accepted are {', '.join(SCALES)}")
        if padding not in ("same", "symmetric"):
            raise ValueError(f"padding={padding}: accepted are same, symmetric")
        parts.refuse("pool", why="EfficientNet has no pooling but a global average")
        scale = SCALES[variant]
        layers = parts.over(PAPER._replace(dropout=scale.dropout))
        conv = partial(_padded_to_same, layers) if padding == "same" else layers.conv
        small = takes_small_stem(stem, image_size)

        width, head = widened(STEM, scale.width), widened(HEAD, scale.width)
        self.stem = conv(in_channels, width, 3, stride=1 if small else 2)
        self.stages = nn.Sequential()
        stages = scaled(scale)
        depth, before = sum(stage.blocks for stage in stages), 0
        for number, stage in enumerate(stages):
            blocks = nn.Sequential()
            for _ in range(stage.blocks):
                stride = 1 if blocks or (small and number == FIRST_HALVING) else stage.stride
                body = _mbconv(width, stage, stride, conv, layers.activation)
                adds = stride == 1 and width == stage.width
                blocks.append(Residual(body, stochastic_depth * before / depth) if adds else body)
                width, before = stage.width, before + 1
            self.stages.append(blocks)
        self.head = conv(width, head, 1)
        self.add_classifier(head, num_classes, layers)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # (N, 32, H/2, W/2), these and all widths times the scale's
        x = self.stages(x)  # (N, 320, H/32, W/32)
        x = self.head(x)  # (N, 1280, H/32, W/32)
        return self.classify(x)
