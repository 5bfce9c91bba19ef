"""Where windows lie, what they leave of an image and what they see of it."""

from typing import Annotated

from convarium import sizes
from convarium.anatomy.explain import topic
from convarium.anatomy.explain.reasoning import Reasoning
from convarium.anatomy.explain.topic import Dilation, Kernel, Kernels, Key, Padding, Side, Stride, Strides, require_room
from convarium.errors import ConfigError

QUOTED = (
    *((28, 5, 1, 0, 1), (224, 7, 2, 3, 1), (227, 11, 4, 0, 1), (224, 11, 4, 0, 1), (224, 11, 4, 2, 1)),
    *((10, 5, 2, 0, 1), (256, 2, 2, 0, 5), (64, 2, 2, 0, 4), (28, 2, 2, 0, 3)),
)
"""Size, window, stride, padding and times of examples in the literature."""
IMAGE: list[list[float]] = [[29, 15, 28, 184], [0, 100, 70, 38], [12, 12, 7, 2], [12, 12, 45, 6]]
VGG16 = [*[3, 3, 2] * 2, *[3, 3, 3, 2] * 3], [*[1, 1, 2] * 2, *[1, 1, 1, 2] * 3]
"""The windows and strides of its convolutions and poolings."""


def output_size(
    why: Reasoning,
    *,
    size: Side = 224,
    kernel_size: Kernel = 11,
    stride: Stride = 4,
    padding: Padding = 0,
    dilation: Dilation = 1,
    times: Annotated[int, Key("how often the layer is applied, one after the other", 1, 20)] = 1,
) -> None:
    """How many places a window has: AlexNet's 224, 54 and 55

    Why: every later layer follows from it. PyTorch rounds down, poolings with ceil_mode=True up; AlexNet's own code
    and Caffe's poolings round up: the last window hangs over the edge.

    Often quoted: "(N - M) / S + 1"; padding and rounding belong to it. "AlexNet says 224, no one knows why"; its code
    rounded 54.25 up, and with rounding down 227, or 2 zeros on each side, give its 55. "LeNet's poolings are 5x5 with
    stride 2"; they are 2x2, and 5x5 on 10x10 would leave 3x3.

    Source: Krizhevsky et al. 2012, section 3.5, and the code of cuda-convnet; Dumoulin & Visin 2016
    """
    span = why.step("the window spans", "dilation * (kernel_size - 1) + 1", "span")
    why.step("places before rounding", "(size + 2 * padding - span) / stride + 1", "exact")
    why.step("rounded down", "floor(exact)", "output_size")
    down, up = (_sizes(size, span, stride, padding, times, ceil_mode=ceil_mode) for ceil_mode in (False, True))
    why.result("after each time, rounded down as PyTorch does", "sizes", down)
    why.result("after each time, rounded up", "sizes_rounded_up", up)
    rows = [(*each, *(_sizes(*each, ceil_mode=ceil_mode)[-1] for ceil_mode in (False, True))) for each in QUOTED]
    why.table(("examples: size", "kernel_size", "stride", "padding", "times", "down", "up"), rows)


def _sizes(size: int, span: int, stride: int, padding: int, times: int, *, ceil_mode: bool) -> list[int]:
    found = []
    for _ in range(times):
        require_room(size, span, padding)
        size = sizes.output_size(size, span, stride, padding, ceil_mode=ceil_mode)
        found.append(size)
    return found


def padding(
    why: Reasoning, *, size: Side = 28, kernel_size: Kernel = 5, stride: Stride = 1, dilation: Dilation = 1
) -> None:
    """Zeros around an image: valid, same and full

    Why: without them each layer cuts a rim off, and a pixel in a corner lies in one window, one in the middle in
    many. A window of even span has no middle: its zeros differ from side to side, as those of TensorFlow's SAME do.

    Often quoted: "a convolution keeps the size"; only with stride 1 and the padding same. "Padding may not exceed
    same"; that is a convention, and full is as valid.

    Source: Dumoulin & Visin 2016, chapter 2
    """
    span = why.step("the window spans", "dilation * (kernel_size - 1) + 1", "span")
    require_room(size, span)
    why.step("valid, no zeros: the side becomes", "floor((size - span) / stride) + 1", "valid_size")
    why.step("same: zeros on each side", "(span - 1) / 2", "same_padding")
    why.step("the side becomes", "floor((size + 2 * same_padding - span) / stride) + 1", "same_size")
    why.step("full: zeros on each side", "span - 1", "full_padding")
    why.step("the side becomes", "floor((size + 2 * full_padding - span) / stride) + 1", "full_size")
    why.step("TensorFlow's SAME: zeros in all", "max((same_size - 1) * stride + span - size, 0)", "tensorflow_total")
    why.step("of them left and above", "floor(tensorflow_total / 2)", "tensorflow_before")
    why.step("and right and below", "tensorflow_total - tensorflow_before", "tensorflow_after")


def pooling(
    why: Reasoning,
    *,
    image: Annotated[list[list[float]], Key("pixels", -1e6, 1e6)] = IMAGE,
    kernel_size: Kernel = 2,
    stride: Stride = 2,
) -> None:
    """Max and average pooling of an image

    Why: maps get smaller, and their values depend less on the exact place. AlexNet's windows of 3 with stride 2
    overlap, which lowered its top-1 error by 0.4 %.

    Often quoted: "the average of 31, 15, 0 and 100 is 36"; it is 36.5, and 36 with 29 in the place of 31. "Pooling
    gives invariance"; approximately, to small shifts, and not to rotation. "5 to 30 convolutions come before a
    pooling"; in VGG at most 4, in ResNet-152 up to 108 at one resolution.

    Source: Krizhevsky et al. 2012, section 3.4
    """
    rows, columns = len(image), len(image[0])
    if any(len(row) != columns for row in image):
        raise ConfigError("image: expected rows of one length")
    require_room(min(rows, columns), kernel_size, key="image")
    down, right = (range(0, side - kernel_size + 1, stride) for side in (rows, columns))
    windows = [
        [[v for row in image[y : y + kernel_size] for v in row[x : x + kernel_size]] for x in right] for y in down
    ]
    first = ", ".join(map(str, windows[0][0]))
    why.step("the largest of the first window", f"max([{first}])")
    why.step("its average", f"sum([{first}]) / kernel_size**2")
    why.result("max pooling", "max", [[max(window) for window in row] for row in windows])
    why.result("average pooling", "average", [[sum(window) / len(window) for window in row] for row in windows])
    kept = f"{len(windows)} * {len(windows[0])}"
    why.step("share of values that is gone", f"100 * (1 - {kept} / ({rows} * {columns}))", "gone_percent", "%")


def receptive_field(why: Reasoning, *, kernels: Kernels = VGG16[0], strides: Strides = VGG16[1]) -> None:
    """How much of the image one value sees: VGG-16, 212 pixels

    Why: what a layer does not see it cannot know. Each adds its window less 1, times all strides before it, so that
    early strides count most. The defaults are those of VGG-16, to its last pooling.

    Source: Simonyan & Zisserman 2014, section 2.3; Araujo et al. 2019, section 2
    """
    topic.require_one_a_layer(kernels=kernels, strides=strides)
    field, step, rows = 1, 1, []
    for number, (kernel_size, stride) in enumerate(zip(kernels, strides, strict=True), 1):
        before, field = field, field + (kernel_size - 1) * step
        rows.append((number, kernel_size, stride, f"{before} + ({kernel_size} - 1) × {step}", field, step * stride))
        step *= stride
    why.table(("layer", "kernel", "stride", "before + (kernel - 1) × step", "sees", "step"), rows)
    why.result("side of the square that the last layer sees", "receptive_field", field)
    why.result("pixels from one of its values to the next", "step", step)
