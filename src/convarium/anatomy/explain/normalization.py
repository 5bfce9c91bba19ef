"""What normalization layers do to values."""

from math import nan
from typing import Annotated

from convarium.anatomy.explain.reasoning import Reasoning
from convarium.anatomy.explain.topic import Key


def lrn(
    why: Reasoning,
    *,
    maps: Annotated[list[float], Key("values of neighbouring maps at one pixel, a", -1000, 1000)] = [1, 2, 3, 4],
    n: Annotated[int, Key("neighbours: half of them on each side, rounded down", 1, 16)] = 2,
    k: Annotated[float, Key("what is added to their energy", 0, 1000)] = 0,
    alpha: Annotated[float, Key("what their energy counts", 0, 1000)] = 1,
    beta: Annotated[float, Key("exponent", 0, 10)] = 1,
) -> None:
    """Local response normalization, and PyTorch's of that name

    Why: a strong map suppresses its neighbours. b_i = a_i / (k + alpha × sum of a_j²)^beta, j from i - n/2 to i + n/2
    as far as there are maps. AlexNet has k=2 n=5 alpha=1e-4 beta=0.75, behind its first two ReLUs. VGG was no better
    with it: 29.7 % top-1 error, 29.6 % without.

    Often quoted: "nn.LocalResponseNorm takes the paper's numbers"; it divides alpha by the size, and an even size
    leaves out the neighbour above. With k=0 maps that are all 0 give 0 / 0, as may be behind a ReLU.

    Source: Krizhevsky et al. 2012, section 3.3; Simonyan & Zisserman 2014, table 3
    """
    half, normalized = n // 2, []
    for number, a in enumerate(maps):
        energy = " + ".join(f"({one})**2" for one in maps[max(number - half, 0) : number + half + 1])
        normalized.append(why.step(f"map {number + 1}", f"({a}) / (k + alpha * ({energy}))**beta"))
    why.result("all maps", "normalized", normalized)
    why.step("the same in PyTorch has the size", "2 * floor(n / 2) + 1", "pytorch_size")
    why.step("and alpha", "alpha * pytorch_size", "pytorch_alpha")
    size, same = 2 * half + 1, alpha * (2 * half + 1)
    for name, maps_of, scaled in (
        ("pytorch_same", size, same),
        ("pytorch_alpha_times_n", n, alpha * n),
        ("pytorch_alpha_as_printed", n, alpha),
    ):
        call = f"nn.LocalResponseNorm({maps_of}, alpha={scaled:g}, beta={beta:g}, k={k:g})"
        why.result(f"{call} gives", name, _as_pytorch(maps, maps_of, k, scaled, beta))


def _as_pytorch(maps: list[float], size: int, k: float, alpha: float, beta: float) -> list[float]:
    """nn.LocalResponseNorm of maps at one pixel: size // 2 maps before, (size - 1) // 2 behind, alpha by the size."""
    windows = [maps[max(i - size // 2, 0) : i + (size - 1) // 2 + 1] for i in range(len(maps))]
    divisors = [(k + alpha * sum(a**2 for a in window) / size) ** beta for window in windows]
    return [a / divisor if divisor else nan for a, divisor in zip(maps, divisors, strict=True)]


def batch_norm(
    why: Reasoning,
    *,
    values: Annotated[list[float], Key("a channel over batch and space", -1e6, 1e6, fewest=2)] = [1, 2, 3, 4],
    gamma: Annotated[float, Key("scale that is learnt", -1e6)] = 1,
    beta: Annotated[float, Key("shift that is learnt", -1e6)] = 0,
    eps: Annotated[float, Key("what is added to the variance", 1e-30, 1)] = 1e-5,
    momentum: Annotated[float, Key("what a batch counts in the running statistics", 0, 1)] = 0.1,
    channels: Annotated[int, Key("channels of the layer")] = 64,
) -> None:
    """Batch normalization, in training and in evaluation

    Why: the next layer gets inputs of one mean and spread however the layers before change. In evaluation the running
    statistics make an answer independent of the other images of its batch. It came after VGG, and helps it: top-1
    accuracy of torchvision's VGG-16 is 71.59 % without and 73.36 % with it.

    Often quoted: "it adds two parameters a layer, random at first"; two a channel, gamma=1 and beta=0. "ResNet had it
    first"; BN-Inception had, in February 2015. "Its momentum is 0.99"; which in PyTorch is written 0.01.

    Source: Ioffe & Szegedy 2015, algorithms 1 and 2
    """

    def standardized(when: str, mean: str, variance: str) -> None:
        why.step(f"first value, {when}", f"gamma * (({values[0]}) - {mean}) / sqrt({variance} + eps) + beta")
        by = gamma / (why.results[variance] + eps) ** 0.5
        why.result(f"all values, {when}", when, [by * (x - why.results[mean]) + beta for x in values])

    why.step("number of values", "len(values)", "n")
    why.step("mean", "sum(values) / n", "mean")
    why.step("variance", "sum((x - mean)**2 for x in values) / n", "variance")
    standardized("training", "mean", "variance")
    why.step("running mean, which was 0", "(1 - momentum) * 0 + momentum * mean", "running_mean")
    running = "(1 - momentum) * 1 + momentum * variance * n / (n - 1)"
    why.step("running variance, which was 1", running, "running_variance")
    standardized("evaluation", "running_mean", "running_variance")
    why.step("parameters of the layer", "2 * channels", "parameters")
