"""What whole networks cost, and what their parts are for."""

from itertools import pairwise
from typing import Annotated, NamedTuple

from convarium.anatomy.explain import topic
from convarium.anatomy.explain.reasoning import Reasoning
from convarium.anatomy.explain.topic import Classes, Hidden, Kernels, Key, Padding, Side, Strides
from convarium.anatomy.explain.windows import VGG16
from convarium.sizes import output_size

ImageChannels = Annotated[int, Key("channels of the image", 1, 1000)]
Filters = Annotated[list[int], Key("filters, layer by layer; 0: a pooling", 0)]
TUTORIAL = [*[3, 3, 2] * 2, 3, 3, 3, 2], [*[1, 1, 2] * 2, 1, 1, 1, 2], [*[32, 32, 0] * 2, 64, 64, 64, 0]
"""Windows, strides and filters of a network for 128x128 pixels that tutorials have."""
VGG16_FILTERS = [*[64, 64, 0], *[128, 128, 0], *[256, 256, 256, 0], *[512, 512, 512, 0] * 2]


class _Layer(NamedTuple):
    kind: str
    channels: int
    size: int
    parameters: int
    multiply_adds: int

    @property
    def values(self) -> int:
        return self.channels * self.size**2


def _layers(why: Reasoning) -> list[_Layer]:
    """Convolutions and poolings, then fully connected layers, all with biases, by the keys; they are shown."""
    names = ("size", "channels", "kernels", "strides", "filters", "padding", "hidden")
    size, channels, kernels, strides, filters, padding, hidden = (why.given[name] for name in names)
    topic.require_one_a_layer(kernels=kernels, strides=strides, filters=filters)
    found = []
    for kernel_size, stride, count in zip(kernels, strides, filters, strict=True):
        zeros, kind = (padding, "conv") if count else (0, "pool")
        topic.require_room(size, kernel_size, zeros)
        size, weights = output_size(size, kernel_size, stride, zeros), kernel_size**2 * channels * count
        channels, kind = count or channels, f"{kind} {kernel_size}x{kernel_size}/{stride}"
        found.append(_Layer(kind, channels, size, weights + count, size**2 * weights))
    for before, units in pairwise([found[-1].values, *hidden]):
        found.append(_Layer("linear", units, 1, (before + 1) * units, before * units))
    headings = ("layer", "channels", "size", "values", "parameters", "multiply-adds")
    why.table(headings, [(*layer[:3], layer.values, *layer[3:]) for layer in found])
    return found


def network(
    why: Reasoning,
    *,
    size: Side = 128,
    channels: ImageChannels = 3,
    kernels: Kernels = TUTORIAL[0],
    strides: Strides = TUTORIAL[1],
    filters: Filters = TUTORIAL[2],
    padding: Padding = 0,
    hidden: Hidden = [64, 1],
    norm: Annotated[bool, Key("whether batch normalization follows each pooling")] = True,
) -> None:
    """Sizes, parameters and multiply-adds, layer by layer

    Why: most parameters lie where maps are flattened, most multiply-adds where maps are large. One more pair of
    convolution and pooling makes fewer parameters, since less is flattened.

    Often quoted: "it has 617,249 parameters", of the default network; Keras counts the running statistics of batch
    normalization, PyTorch does not: 616,993.

    Source: tutorials of Keras; on pairs: Deotte, "How to choose CNN architecture MNIST"
    """
    layers = _layers(why)
    maps = layers[: len(kernels)]
    why.result("sizes of the maps", "sizes", [layer.size for layer in maps])
    why.result("values that are flattened", "flattened", maps[-1].values)
    normed = " + ".join(str(layer.channels) for layer in maps if norm and layer.kind.startswith("pool"))
    why.step("gamma and beta of batch normalization", f"2 * ({normed or 0})", "norm_parameters")
    why.result("parameters of the layers", "layer_parameters", sum(layer.parameters for layer in layers))
    why.step("parameters", "layer_parameters + norm_parameters", "parameters")
    why.step("and with the running statistics", "parameters + norm_parameters", "parameters_and_statistics")
    why.result("multiply-adds", "multiply_adds", sum(layer.multiply_adds for layer in layers))


def memory(
    why: Reasoning,
    *,
    size: Side = 224,
    channels: ImageChannels = 3,
    kernels: Kernels = VGG16[0],
    strides: Strides = VGG16[1],
    filters: Filters = VGG16_FILTERS,
    padding: Padding = 1,
    hidden: Hidden = [4096, 4096, 1000],
    bytes_each: Annotated[int, Key("bytes of a number: 4 in single precision, 2 in half", 1, 8)] = 4,
) -> None:
    """What one image takes in training: VGG-16, 60.95 MB

    Why: training keeps all outputs for the way back. Which batch fits is decided by the first layers, whose maps are
    large, and hardly by the fully connected ones, which have most parameters.

    Often quoted: "an image takes 96 MB, 24M values"; the sum is 15.2M values, 60.95 MB. With what ReLUs put out kept
    apart it is 28.8M, 115 MB.

    Source: Simonyan & Zisserman 2014, table 1, column D; the 96 MB: lecture notes of cs231n, and their issue 88
    """
    layers = _layers(why)
    for kind in ("conv", "pool", "linear"):
        values = [layer.values for layer in layers if layer.kind.startswith(kind)]
        why.result(f"values of all {kind} layers", f"{kind}_values", sum(values))
    total = "channels * size**2 + conv_values + pool_values + linear_values"
    why.step("with the image", total, "values")
    why.step("forward", "values * bytes_each / 10**6", "megabytes", "MB")
    why.step("with the gradient of each", "2 * megabytes", "megabytes_with_gradients", "MB")
    relu = f"(values + conv_values + sum({hidden[:-1]})) * bytes_each / 10**6"
    why.step("forward, ReLUs apart", relu, "megabytes_with_relu", "MB")
    first = " + ".join(str(layer.values) for layer in layers[:2])
    why.step("share of the first two layers", f"100 * ({first}) / values", "first_two_percent", "%")
    why.result("parameters", "parameters", sum(layer.parameters for layer in layers))
    why.step("they take", "parameters * bytes_each / 10**6", "parameter_megabytes", "MB")


def global_average_pooling(
    why: Reasoning,
    *,
    maps: Annotated[int, Key("maps that the last convolution leaves")] = 512,
    size: Side = 7,
    hidden: Hidden = [4096, 4096],
    classes: Classes = 1000,
) -> None:
    """Why the mean of each map replaced fully connected layers

    Why: these have weights for each place of each map, most of a network's, and overfit. The mean of a map has none,
    and fits any image size. The defaults are VGG's; GoogLeNet's (maps=1024) made its top-1 accuracy 0.6 % better.

    Often quoted: "ResNet introduced it, and has no fully connected layer"; Network in Network and GoogLeNet had it
    before, and one linear layer is left.

    Source: Lin et al. 2013, section 3.2; Szegedy et al. 2014, section 5
    """
    pairs = pairwise(["maps * size**2", *map(str, hidden), "classes"])
    dense = " + ".join(f"({before} + 1) * {after}" for before, after in pairs)
    why.step("parameters of fully connected layers", dense, "fully_connected")
    why.step("parameters of one linear layer behind the means", "(maps + 1) * classes", "averaged")
    why.step("so many times fewer", "fully_connected / averaged", "ratio")


def residual(
    why: Reasoning,
    *,
    blocks: Annotated[list[int], Key("residual blocks of each stage", 1, 1000)] = [3, 4, 6, 3],
    convolutions: Annotated[int, Key("convolutions of a block: 2, or 3 in a bottleneck", 1, 10)] = 3,
    slope: Annotated[float, Key("derivative of what a block adds, as if it were one number", -1, 1)] = 0.1,
) -> None:
    """How deep a residual network is, what its shortcuts carry

    Why: a block gives x + F(x) and learns F, which is 0 where nothing is to be done. Its derivative is 1 + F', where
    that of a plain one is F'.

    Often quoted: "it cures vanishing gradients"; its paper says that batch normalization had, and that deep plain
    networks are hard to optimize. "It has at most 152 layers"; on ImageNet, and 1,202 on CIFAR-10. "It was the first
    to surpass humans"; its 3.57 % came after 4.94 % (PReLU) and 4.82 % (BN-Inception), and 5.1 % is one trained
    annotator.

    Source: He et al. 2015, sections 3 and 4 (CIFAR-10: blocks=[3,3,3] convolutions=2)
    """
    why.step("layers: the first, the blocks, the last", "1 + convolutions * sum(blocks) + 1", "layers")
    why.step("blocks", "sum(blocks)", "depth")
    why.step("derivative of a chain of plain ones", "slope ** depth", "plain_gradient")
    why.step("and with shortcuts", "(1.0 + slope) ** depth", "residual_gradient")


def aux_heads(
    why: Reasoning,
    *,
    size: Side = 14,
    channels: Annotated[list[int], Key("maps before each auxiliary classifier")] = [512, 528],
    losses: Annotated[list[float], Key("their losses", 0)] = [3, 2.5],
    main_loss: Annotated[float, Key("loss of the main classifier", 0)] = 2,
    weight: Annotated[float, Key("what their losses count", 0, 10)] = 0.3,
    classes: Classes = 1000,
) -> None:
    """Auxiliary classifiers: what they cost, where they count

    Why: they bring gradients into the middle of the network. GoogLeNet's are an average pooling 5x5/3, a 1x1
    convolution of 128 filters, 1,024 units and the classes; after training they are gone.

    Often quoted: "the answer is made of three outputs"; these have weights in the training loss alone. "They cure
    vanishing gradients"; that was their motive, but the Inception-v3 paper saw no faster start, left one out without
    loss, and calls them regularizers. "Inception-v1 has 5M parameters"; it has 7.0M, and 13.4M with them.

    Source: Szegedy et al. 2014, section 5; Szegedy et al. 2015, section 4
    """
    topic.require_one_a_layer(channels=channels, losses=losses)
    topic.require_room(size, 5)
    why.step("side behind the pooling", "floor((size - 5) / 3) + 1", "pooled_size")
    for number, maps in enumerate(channels, 1):
        formula = f"({maps} + 1) * 128 + (128 * pooled_size**2 + 1) * 1024 + (1024 + 1) * classes"
        why.step(f"parameters of classifier {number}", formula, f"parameters_{number}")
    together = " + ".join(f"parameters_{number}" for number in range(1, len(channels) + 1))
    why.step("of all", together, "parameters")
    why.step("loss in training", f"main_loss + weight * ({' + '.join(map(str, losses))})", "training_loss")
    why.step("loss in validation and test", "main_loss", "test_loss")
