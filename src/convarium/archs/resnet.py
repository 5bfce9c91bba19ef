"""ResNet: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2015, arXiv 1512.03385.

Both families, for ImageNet (Table 1) and for CIFAR-10 (section 4.2), each with its plain counterpart (shortcut: none).

Follows the paper exactly up to two options. downsample_in: 3x3 moves the stride of a bottleneck from its first 1x1 into
its 3x3 ("v1.5", which torchvision's published weights have). For small images (stem: auto takes it up to 64 pixels) the
ImageNet family gets the CIFAR family's stem, one 3x3 convolution with stride 1, and no pooling after it.
"""

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.functional import pad

from convarium.layers import AS_IN_PAPER, Layers, Parts, conv_norm, takes_small_stem
from convarium.layers.init import he
from convarium.layers.norm import batch
from convarium.layers.pooling import max_pool


class Depth(NamedTuple):
    """One column of Table 1."""

    bottleneck: bool
    blocks: tuple[int, ...]


DEPTHS = {
    18: Depth(False, (2, 2, 2, 2)),
    34: Depth(False, (3, 4, 6, 3)),
    50: Depth(True, (3, 4, 6, 3)),
    101: Depth(True, (3, 4, 23, 3)),
    152: Depth(True, (3, 8, 36, 3)),
}
WIDTHS = (64, 128, 256, 512)
EXPANSION = 4  # of the last convolution of a bottleneck
CIFAR_WIDTHS = (16, 32, 64)
PAPER = Layers(norm=batch, activation=nn.ReLU, pool=max_pool, init=he)


class ZeroPadded(nn.Module):
    """Shortcut A: every stride-th position, and zeros for the new maps; (N, in, H, W) -> (N, out, H/s, W/s)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.new_channels = out_channels - in_channels
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))


class Residual(nn.Module):
    """The body's output and its input, by way of the shortcut, added and activated."""

    def __init__(self, body: nn.Module, shortcut: nn.Module, activation: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = self.activation(self.body(x) + self.shortcut(x))
        return activated


class Conv(NamedTuple):
    """One convolution of a block."""

    kernel_size: int
    width: int
    stride: int


def _body(in_channels: int, convs: list[Conv], layers: Layers) -> nn.Sequential:
    """Convolutions with norms, all but the last one activated."""
    body = nn.Sequential()
    for number, (kernel_size, width, stride) in enumerate(convs, start=1):
        activation = layers.activation if number < len(convs) else None
        padding = kernel_size // 2
        body.append(
            conv_norm(
                in_channels, width, kernel_size, stride=stride, padding=padding, norm=layers.norm, activation=activation
            )
        )
        in_channels = width
    return body


def _shortcut(option: str, in_channels: int, out_channels: int, stride: int, layers: Layers) -> nn.Module:
    changes = stride > 1 or out_channels != in_channels
    if option == "C" or (option == "B" and changes):
        return conv_norm(in_channels, out_channels, 1, stride=stride, norm=layers.norm, activation=None)
    return ZeroPadded(in_channels, out_channels, stride) if changes else nn.Identity()


class Stages(nn.Sequential):
    """Stages of blocks, each stage but the first halving the maps; `out_channels` is what the last one gives."""

    def __init__(
        self,
        in_channels: int,
        widths: tuple[int, ...],
        depth: Depth,
        *,
        shortcut: str,
        layers: Layers,
        downsample_in: str = "3x3",
    ) -> None:
        super().__init__()
        if shortcut not in ("none", "A", "B", "C"):
            raise ValueError(f"shortcut={shortcut}: accepted are none, A, B, C")
        if downsample_in not in ("1x1", "3x3"):
            raise ValueError(f"downsample_in={downsample_in}: accepted are 1x1, 3x3")
        for width, blocks in zip(widths, depth.blocks, strict=True):
            out_channels = width * EXPANSION if depth.bottleneck else width
            stage = nn.Sequential()
            for _ in range(blocks):
                stride = 2 if self and not stage else 1
                if depth.bottleneck:
                    first, second = (stride, 1) if downsample_in == "1x1" else (1, stride)
                    convs = [Conv(1, width, first), Conv(3, width, second), Conv(1, out_channels, 1)]
                else:
                    convs = [Conv(3, width, stride), Conv(3, width, 1)]
                body = _body(in_channels, convs, layers)
                if shortcut == "none":
                    stage.append(body.append(layers.activation()))
                else:
                    around = _shortcut(shortcut, in_channels, out_channels, stride, layers)
                    stage.append(Residual(body, around, layers.activation()))
                in_channels = out_channels
            self.append(stage)
        self.out_channels = in_channels


class ResNet(nn.Module):
    """The networks for ImageNet; (N, C, H, W) -> (N, num_classes).

    Raises ValueError for an unknown depth, shortcut, downsample_in or stem, and for a choice of pooling where the small
    stem has none. Dropout, which the paper has not, sits before the classifier.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 1000,
        image_size: int = 224,
        parts: Parts = AS_IN_PAPER,
        depth: int = 50,
        shortcut: str = "B",
        downsample_in: str = "1x1",
        stem: str = "auto",
    ) -> None:
        super().__init__()
        if depth not in DEPTHS:
            raise ValueError(f"depth={depth}: accepted are {', '.join(map(str, DEPTHS))}")
        layers = parts.over(PAPER)
        norm, activation, width = layers.norm, layers.activation, WIDTHS[0]
        if takes_small_stem(stem, image_size):
            parts.refuse("pool", why=f"the small stem that image_size={image_size} gets has no pooling")
            self.stem = conv_norm(in_channels, width, 3, padding=1, norm=norm, activation=activation)
        else:
            self.stem = conv_norm(in_channels, width, 7, stride=2, padding=3, norm=norm, activation=activation)
            self.stem.append(layers.pool(3, 2, channels=width, padding=1))
        self.stages = Stages(
            width, WIDTHS, DEPTHS[depth], shortcut=shortcut, layers=layers, downsample_in=downsample_in
        )
        self.average = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(layers.dropout)
        self.classifier = nn.Linear(self.stages.out_channels, num_classes)
        layers.init(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # (N, 64, H/4, W/4)
        x = self.stages(x)  # (N, 2048, H/32, W/32) with bottlenecks, else 512
        x = self.average(x).flatten(1)  # (N, 2048)
        logits: Tensor = self.classifier(self.dropout(x))  # (N, num_classes)
        return logits


class CifarResNet(nn.Module):
    """The networks for CIFAR-10, of any depth 6n+2; (N, C, H, W) -> (N, num_classes) for images of any size.

    Raises ValueError for another depth, an unknown shortcut, and for a choice of pooling: there is none to replace.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 10,
        image_size: int = 32,
        parts: Parts = AS_IN_PAPER,
        depth: int = 20,
        shortcut: str = "A",
    ) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"depth={depth}: accepted are 6n+2: 8, 14, 20, 32, 44, 56, 110, 1202, ...")
        parts.refuse("pool", why="the CIFAR ResNet has no pooling but a global average")
        layers = parts.over(PAPER)
        width, blocks = CIFAR_WIDTHS[0], (depth - 2) // 6
        self.stem = conv_norm(in_channels, width, 3, padding=1, norm=layers.norm, activation=layers.activation)
        self.stages = Stages(width, CIFAR_WIDTHS, Depth(False, (blocks,) * 3), shortcut=shortcut, layers=layers)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(layers.dropout)
        self.classifier = nn.Linear(self.stages.out_channels, num_classes)
        layers.init(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # (N, 16, H, W)
        x = self.stages(x)  # (N, 64, H/4, W/4)
        x = self.average(x).flatten(1)  # (N, 64)
        logits: Tensor = self.classifier(self.dropout(x))  # (N, num_classes)
        return logits
