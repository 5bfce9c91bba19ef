"""What a convolution costs, and how it is had for less."""

from typing import Annotated

from convarium.anatomy.explain.reasoning import Reasoning
from convarium.anatomy.explain.topic import InChannels, Kernel, Key, OutChannels, Padding, Side, Stride, require_room
from convarium.errors import ConfigError


def convolution(
    why: Reasoning,
    *,
    size: Side = 32,
    in_channels: InChannels = 3,
    out_channels: OutChannels = 6,
    kernel_size: Kernel = 5,
    stride: Stride = 1,
    padding: Padding = 0,
    groups: Annotated[int, Key("parts of the channels that do not see one another")] = 1,
    bias: Annotated[bool, Key("whether each filter has a bias")] = True,
) -> None:
    """Parameters and multiply-adds of one layer

    Why: a filter is the same at every place, so that parameters do not grow with the image; multiply-adds do.

    Often quoted: "nn.Conv2d(3, 6, 5) has 16 filters"; it has 6. "LeNet-5, with tanh, average pooling and softmax, has
    60,000 parameters"; with a dense second convolution (in_channels=6 out_channels=16: 2,416) it has 61,706, and
    60,000 with the paper's sparse one of 1,516.

    Source: LeCun et al. 1998, section II; groups: the two GPUs of Krizhevsky et al. 2012, section 3.5
    """
    require_room(size, kernel_size, padding)
    for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
        if channels % groups:
            raise ConfigError(f"groups={groups}: does not divide {name}={channels}")
    why.step("weights of a filter", "kernel_size**2 * in_channels // groups", "filter_weights")
    why.step("parameters", f"out_channels * {'(filter_weights + 1)' if bias else 'filter_weights'}", "parameters")
    why.step("side of the maps", "floor((size + 2 * padding - kernel_size) / stride) + 1", "output_size")
    why.step("multiply-adds", "output_size**2 * out_channels * filter_weights", "multiply_adds")
    dense = "in_channels * size**2 * out_channels * output_size**2"
    why.step("weights if each output had its own for each pixel", dense, "fully_connected_weights")


def stack(
    why: Reasoning,
    *,
    layers: Annotated[int, Key("convolutions, one after the other", 2, 50)] = 3,
    kernel_size: Kernel = 3,
    channels: Annotated[int, Key("channels that come in and go out, C")] = 256,
) -> None:
    """Small windows in a stack against one large window

    Why: they see as much with fewer weights, and have activations in between, so that they tell more apart. VGG-B
    with each pair of 3x3 windows made one of 5x5 has a top-1 error 7 % higher (section 4.1).

    Source: Simonyan & Zisserman 2014, section 2.3
    """
    why.step("the stack sees a square with the side", "1 + layers * (kernel_size - 1)", "receptive_field")
    why.step("its weights in units of C²", "layers * kernel_size**2", "stack_per_c2")
    why.step("those of one window of that side", "receptive_field**2", "single_per_c2")
    why.step("the stack has fewer by", "100 * (1 - stack_per_c2 / single_per_c2)", "fewer_percent", "%")
    why.step("or: the window has more by", "100 * (single_per_c2 / stack_per_c2 - 1)", "more_percent", "%")
    why.step("weights of the stack", "stack_per_c2 * channels**2", "stack_weights")
    why.step("weights of the window", "single_per_c2 * channels**2", "single_weights")
    rows = []
    for number in range(2, layers + 1):
        side, weights = 1 + number * (kernel_size - 1), number * kernel_size**2
        rows.append((number, f"{side}x{side}", f"{weights}C²", f"{side**2}C²", f"{1 - weights / side**2:.0%}"))
    why.table(("layers", "see", "have", "one window has", "fewer by"), rows)


def bottleneck(
    why: Reasoning,
    *,
    size: Side = 14,
    in_channels: InChannels = 480,
    kernel_size: Kernel = 5,
    reduced: Annotated[int, Key("channels between the two convolutions")] = 16,
    out_channels: OutChannels = 48,
) -> None:
    """A 1x1 convolution that makes a wide one affordable

    Why: a wide window costs most by the channels that it reads; the 1x1 convolution mixes them into few before.
    Biases are left out; what papers call operations are multiply-adds.

    Often quoted: "bottlenecks solve degradation"; residual learning does, and ResNet's bottlenecks make 50 layers and
    more affordable. "GoogLeNet has 1x1 convolutions instead of fully connected layers"; they reduce channels, and
    global average pooling is what came instead.

    Source: Szegedy et al. 2014, sections 3 and 4 (the defaults: module 4a, its 5x5 branch); He et al. 2015, section
    4.1
    """
    why.step("multiply-adds of the wide one alone", "size**2 * kernel_size**2 * in_channels * out_channels", "direct")
    why.step("multiply-adds of the 1x1 convolution", "size**2 * in_channels * reduced", "reduction")
    why.step("then of the wide one", "size**2 * kernel_size**2 * reduced * out_channels", "after_reduction")
    why.step("both", "reduction + after_reduction", "with_bottleneck")
    why.step("so many times fewer", "direct / with_bottleneck", "ratio")
    why.step("weights of the wide one alone", "kernel_size**2 * in_channels * out_channels", "direct_weights")
    both = "in_channels * reduced + kernel_size**2 * reduced * out_channels"
    why.step("weights of both", both, "bottleneck_weights")


def depthwise(
    why: Reasoning,
    *,
    size: Side = 14,
    in_channels: InChannels = 480,
    kernel_size: Kernel = 5,
    out_channels: OutChannels = 112,
    multiplier: Annotated[int, Key("filters that each channel has of its own", 1, 1000)] = 1,
) -> None:
    """Separable convolution: one filter a channel, then 1x1

    Why: where to look and how to mix channels are learnt apart. EfficientNet's blocks are so (the defaults: B0, stage
    6). It is the grouped convolution of AlexNet's two GPUs at its end, as many groups as channels.

    Often quoted: "GoogLeNet's first convolution has 2.7K parameters", in its own table; a dense one of 7x7 has 9,408,
    and 2,712 the separable one that BN-Inception states (size=112 in_channels=3 kernel_size=7 out_channels=64
    multiplier=8).

    Source: Howard et al. 2017, section 3.1; Tan & Le 2019, table 1; Ioffe & Szegedy 2015
    """
    why.step("weights of the dense convolution", "kernel_size**2 * in_channels * out_channels", "dense_weights")
    why.step("weights of the depthwise one", "kernel_size**2 * in_channels * multiplier", "depthwise_weights")
    why.step("weights of the 1x1 convolution", "in_channels * multiplier * out_channels", "pointwise_weights")
    why.step("both", "depthwise_weights + pointwise_weights", "weights")
    why.step("so many times fewer", "dense_weights / weights", "ratio")
    why.step("multiply-adds of both", "size**2 * weights", "multiply_adds")
