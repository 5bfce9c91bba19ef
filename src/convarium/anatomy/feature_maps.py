"""What the layers of a network hold of an image: which of them have maps, what is in these, and what excites a filter.

Networks come in evaluating. Hooks read what a layer gives; what follows gets a copy, so that nothing which is computed
in place behind a layer changes what was read.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from convarium.anatomy.trace import trace

Scored = Callable[[Tensor], Tensor]
"""Images (N, C, H, W) to logits (N, classes): a network, or one behind a normalization."""


class MapLayer(NamedTuple):
    """A layer whose output is maps, (N, channels, height, width), of more than one position."""

    name: str
    channels: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.name}, {self.channels} maps of {self.height}x{self.width}"


class Kernels(NamedTuple):
    """The weights of the first layer that has some, one small image per filter."""

    name: str
    weights: Tensor  # (filters, C, h, w); of a linear layer, h and w are the image's
    are_classes: bool
    """Whether it is the only such layer, so that each filter is a class, or the one logit of two."""


class Peaks(NamedTuple):
    """Where filters are excited most: of each filter `most` images, the strongest first."""

    values: Tensor  # (filters, most)
    samples: Tensor  # (filters, most) int64
    places: Tensor  # (filters, most) int64: which position of the map, row by row


def map_layers(net: nn.Module, images: Tensor) -> tuple[list[MapLayer], list[MapLayer]]:
    """The layers that have maps of these images, in the order in which they end: one for each map, and all.

    Of the layers that end with the same tensor the first list has the innermost with parameters: the block, not its
    activation, nor the stage that it ends. What only makes maps smaller and has no parameters, a pooling, is not in it:
    its input shows the same more finely. So the last of the list is the map that Grad-CAM wants, "the last
    convolutional layer" of its paper, whatever the network: what is global or flat has no positions any more.
    """
    ends: dict[tuple[int, int], list[tuple[MapLayer, bool]]] = {}
    poolings, held = set(), []
    names = {module: name for name, module in net.named_modules()}

    def hook(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        if not _is_map(output) or not names[module]:
            return
        held.append(output)  # so that no other tensor gets its id
        # torch counts in `_version` what was done to a tensor in place: a sum and a ReLU that reuse it are new maps
        key = (id(output), output._version)
        has_parameters = any(True for _ in module.parameters())
        if key not in ends and not has_parameters and _shrinks(inputs, output):
            poolings.add(key)
        ends.setdefault(key, []).append((MapLayer(names[module], *output.shape[1:]), has_parameters))

    with torch.no_grad(), _hooked(names, hook):
        net(images)
    blocks = [layers for key, layers in ends.items() if key not in poolings]
    return (
        [next((layer for layer, has_parameters in layers if has_parameters), layers[0][0]) for layers in blocks],
        [layer for layers in ends.values() for layer, _ in layers],
    )


def _is_map(output: object) -> TypeGuard[Tensor]:
    return isinstance(output, Tensor) and output.ndim == 4 and output.shape[2:].numel() > 1


def _shrinks(inputs: tuple[object, ...], output: Tensor) -> bool:
    return any(isinstance(each, Tensor) and each.shape[2:].numel() > output.shape[2:].numel() for each in inputs)


@contextmanager
def _hooked(modules: Iterable[nn.Module], hook: Callable[..., Tensor | None]) -> Iterator[None]:
    """Forward hooks for the time inside."""
    handles: list[RemovableHandle] = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def captured(net: nn.Module, names: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """What these layers give in the forward pass inside, the last time if they are passed several times."""
    found: dict[str, Tensor] = {}
    modules = {net.get_submodule(name): name for name in names}

    def hook(module: nn.Module, inputs: tuple[object, ...], output: Tensor) -> Tensor:
        found[modules[module]] = output
        return output.clone()

    with _hooked(modules, hook):
        yield found


def feature_maps(net: nn.Module, images: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
    """The maps (N, K, h, w) of each of these layers."""
    with torch.no_grad(), captured(net, names) as found:
        net(images)
    return found


def first_kernels(net: nn.Module, shape: tuple[int, int, int]) -> Kernels | None:
    """The kernels of the convolution that is called first; where a linear layer sees the image before any, its weights
    as images of `shape` (C, H, W); None if there is neither."""
    modules = dict(net.named_modules())
    called = [(layer.name, modules.get(layer.name)) for layer in trace(net, shape)]
    weighted = [(name, module) for name, module in called if isinstance(module, nn.Conv2d | nn.Linear)]
    for name, module in weighted:
        weights = module.weight.detach()
        if isinstance(module, nn.Conv2d):
            return Kernels(name, weights, False)
        if weights.shape[1] == torch.Size(shape).numel():
            return Kernels(name, weights.view(-1, *shape), len(weighted) == 1)
    return None


def strongest(
    net: nn.Module, layer: str, filters: Sequence[int], batches: Iterable[tuple[Tensor, Tensor]], *, most: int
) -> Peaks:
    """Of the images of `batches` - normalized, and the number of each - those that excite each filter most anywhere."""
    best: tuple[Tensor, ...] = ()
    for images, samples in batches:
        maps = feature_maps(net, images, [layer])[layer][:, list(filters)].flatten(2).float()  # (N, F, positions)
        values, places = (found.T for found in maps.max(2))  # (F, N)
        found = (values, samples.to(values.device).expand_as(values), places)
        best = tuple(map(torch.cat, zip(best, found, strict=True), [1] * 3)) if best else found
        order = best[0].topk(min(most, best[0].shape[1])).indices
        best = tuple(column.gather(1, order) for column in best)
    return Peaks(*(column.cpu() for column in best))


STEPS, RATE, REACH, NOISE = 64, 0.08, 1 / 16, 0.05  # of the ascent; how far it moves, of the side; where it begins


def exciting_inputs(
    net: nn.Module,
    normalize: Callable[[Tensor], Tensor],
    layer: str,
    filters: Sequence[int],
    shape: Sequence[int],
    *,
    advance: Callable[[], object] = lambda: None,
) -> Tensor:
    """For each filter an image that excites it everywhere: pixels (filters, C, H, W) in 0..1, by gradient ascent on the
    mean of its map (Erhan et al. 2009), from noise, moved about by a few pixels at each step (Mordvintsev et al. 2015)
    so that it does not end in patterns of single pixels.

    normalize: pixels in 0..1 to what the network takes. advance: called at each of the `STEPS`.
    """
    device = next(net.parameters()).device
    chance = torch.Generator().manual_seed(0)
    noise = NOISE * torch.randn(len(filters), *shape, generator=chance)
    unbounded = noise.to(device).requires_grad_()
    optimizer = torch.optim.Adam([unbounded], lr=RATE)
    reach = max(1, round(REACH * shape[-1]))
    each, chosen = torch.arange(len(filters)), torch.tensor(filters)
    with torch.enable_grad():
        for _ in range(STEPS):
            moves = torch.randint(-reach, reach + 1, (2,), generator=chance).tolist()
            with captured(net, [layer]) as found:
                net(normalize(unbounded.sigmoid().roll(moves, (2, 3))))
            excitement = found[layer][each, chosen].mean((1, 2))
            smooth = F.avg_pool2d(unbounded, 3, 1, 1, count_include_pad=False)
            loss = (unbounded - smooth).square().mean() - excitement.sum()
            (unbounded.grad,) = torch.autograd.grad(loss, unbounded)
            optimizer.step()
            advance()
    return unbounded.detach().sigmoid()
