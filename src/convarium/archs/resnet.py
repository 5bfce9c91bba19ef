"""ResNet: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2015, arXiv 1512.03385.

Both families, for ImageNet (Table 1) and for CIFAR-10 (section 4.2), each with its plain counterpart (shortcut: none).

The shortcuts are those of the paper's results: A for 18 and 34 layers (Table 2) and on CIFAR-10, B for 50 and more.
Torchvision's weights for 18 and 34 layers have B.

Follows the paper exactly up to three options. downsample_in: 3x3 moves the stride of a bottleneck from its first 1x1
into its 3x3 ("v1.5", which torchvision's published weights have). zero_init_residual sets the gain of the last norm of
every block to zero, so that it starts as its shortcut (Goyal et al. 2017, section 5.1). For small images (stem: auto
takes it up to 64 pixels) the ImageNet family gets the CIFAR family's stem, one 3x3 convolution with stride 1, and no
pooling after it.
"""

from torch import Tensor, nn
from torch.nn.functional import pad

from convarium.layers import AS_IN_PAPER, AverageAndClassify, Layers, Parts, takes_small_stem
from convarium.layers.init import he
from convarium.layers.norm import batch
from convarium.layers.pooling import max_pool

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}  # Table 1
BOTTLENECK = 50  # layers: from here on blocks have bottlenecks
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

    def __init__(self, body: nn.Sequential, shortcut: nn.Module, activation: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = self.activation(self.body(x) + self.shortcut(x))
        return activated


def _body(in_channels: int, convs: list[tuple[int, int, int]], layers: Layers) -> nn.Sequential:
    """Convolutions of a kernel size, width and stride each, with norms, all but the last one activated."""
    body = nn.Sequential()
    for number, (kernel_size, width, stride) in enumerate(convs, start=1):
        body.append(layers.conv(in_channels, width, kernel_size, stride=stride, linear=number == len(convs)))
        in_channels = width
    return body


def _shortcut(option: str, in_channels: int, out_channels: int, stride: int, layers: Layers) -> nn.Module:
    changes = stride > 1 or out_channels != in_channels
    if option == "C" or (option == "B" and changes):
        return layers.conv(in_channels, out_channels, 1, stride=stride, linear=True)
    return ZeroPadded(in_channels, out_channels, stride) if changes else nn.Identity()


class Stages(nn.Sequential):
    """Stages of blocks, each stage but the first halving the maps; `out_channels` is what the last one gives."""

    def __init__(
        self,
        in_channels: int,
        widths: tuple[int, ...],
        blocks: tuple[int, ...],
        *,
        bottleneck: bool = False,
        shortcut: str,
        layers: Layers,
        downsample_in: str = "3x3",
    ) -> None:
        super().__init__()
        if shortcut not in ("none", "A", "B", "C"):
            raise ValueError(f"shortcut={shortcut}: accepted are none, A, B, C")
        for width, count in zip(widths, blocks, strict=True):
            out_channels = width * EXPANSION if bottleneck else width
            stage = nn.Sequential()
            for _ in range(count):
                stride = 2 if self and not stage else 1
                if bottleneck:
                    first, second = (stride, 1) if downsample_in == "1x1" else (1, stride)
                    convs = [(1, width, first), (3, width, second), (1, out_channels, 1)]
                else:
                    convs = [(3, width, stride), (3, width, 1)]
                body = _body(in_channels, convs, layers)
                if shortcut == "none":
                    stage.append(body.append(layers.activation()))
                else:
                    around = _shortcut(shortcut, in_channels, out_channels, stride, layers)
                    stage.append(Residual(body, around, layers.activation()))
                in_channels = out_channels
            self.append(stage)
        self.out_channels = in_channels

    def start_as_shortcuts(self) -> None:
        """Let every block start as its shortcut; ValueError for a plain network and for a norm without a gain."""
        blocks = [block for block in self.modules() if isinstance(block, Residual)]
        if not blocks:
            raise ValueError("zero_init_residual=true: shortcut=none leaves no residual branch; accepted: false")
        for block in blocks:
            gain = dict(block.body[-1].named_parameters()).get("norm.weight")
            if gain is None:
                raise ValueError("zero_init_residual=true: this norm has no gain to set to zero; accepted: false")
            nn.init.zeros_(gain)


class Staged(AverageAndClassify):
    """A stem, the stages and the classifier, which both families have."""

    stem: nn.Sequential
    stages: Stages

    def finish(self, num_classes: int, layers: Layers, zero_init_residual: bool) -> None:
        """Add the classifier behind the stages, and fill all parameters."""
        self.add_classifier(self.stages.out_channels, num_classes, layers)
        if zero_init_residual:
            self.stages.start_as_shortcuts()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # (N, 64, H/4, W/4); of the CIFAR family (N, 16, H, W)
        x = self.stages(x)  # (N, 2048, H/32, W/32) with bottlenecks, else 512; (N, 64, H/4, W/4)
        return self.classify(x)


class ResNet(Staged):
    """The networks for ImageNet; (N, C, H, W) -> (N, num_classes).

    Raises ValueError for an unknown depth or shortcut, for a choice of pooling where the small stem has none, and for
    zero_init_residual without residual branches or gains. Dropout, which the paper has not, sits before the classifier.
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
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__()
        if depth not in DEPTHS:
            raise ValueError(f"depth={depth}: accepted are {', '.join(map(str, DEPTHS))}")
        layers = parts.over(PAPER)
        width = WIDTHS[0]
        if takes_small_stem(stem, image_size):
            parts.refuse("pool", why=f"the small stem that image_size={image_size} gets has no pooling")
            self.stem = layers.conv(in_channels, width, 3)
        else:
            self.stem = layers.conv(in_channels, width, 7, stride=2)
            self.stem.append(layers.pool(3, 2, channels=width, padding=1))
        self.stages = Stages(
            width,
            WIDTHS,
            DEPTHS[depth],
            bottleneck=depth >= BOTTLENECK,
            shortcut=shortcut,
            layers=layers,
            downsample_in=downsample_in,
        )
        self.finish(num_classes, layers, zero_init_residual)


class CifarResNet(Staged):
    """The networks for CIFAR-10, of any depth 6n+2; (N, C, H, W) -> (N, num_classes) for images of any size.

    Raises ValueError for another depth, an unknown shortcut, for a choice of pooling (there is none to replace), and
    for zero_init_residual without residual branches or gains.
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
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"depth={depth}: accepted are 6n+2: 8, 14, 20, 32, 44, 56, 110, 1202, ...")
        parts.refuse("pool", why="the CIFAR ResNet has no pooling but a global average")
        layers = parts.over(PAPER)
        width, blocks = CIFAR_WIDTHS[0], (depth - 2) // 6
        self.stem = layers.conv(in_channels, width, 3)
        self.stages = Stages(width, CIFAR_WIDTHS, (blocks,) * 3, shortcut=shortcut, layers=layers)
        self.finish(num_classes, layers, zero_init_residual)
