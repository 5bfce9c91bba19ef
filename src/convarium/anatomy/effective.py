"""The effective receptive field: how much each pixel matters to the unit in the middle of a map, by its gradient.

Luo, Li, Urtasun, Zemel, "Understanding the effective receptive field in deep convolutional neural networks", 2016.
"""

from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from convarium.anatomy.trace import Field, Layer
from convarium.drawing import INK, QUIET, STYLE, WRONG, axes_at, save_png
from convarium.files import appearing

MOST = 6  # maps that are shown
IMAGES = 20
MATTERS = 0.05  # of the most that a pixel matters


class Effective(NamedTuple):
    """What a unit in the middle of a layer's maps sees."""

    layer: str
    field: Field
    unit: tuple[int, int]
    gradient: Tensor  # (H, W): of the unit's sum over channels, its absolute value averaged over images and channels

    @property
    def theoretical(self) -> tuple[int, int]:
        """Rows and columns of the receptive field."""
        return self.field[0].size, self.field[1].size

    @property
    def is_larger(self) -> bool:
        """Whether the receptive field is larger than the image."""
        return any(size > side for size, side in zip(self.theoretical, self.gradient.shape, strict=True))

    @property
    def size(self) -> float:
        """The side of a square of as many pixels as matter at least 5 % as much as the one that matters most."""
        most = self.gradient.max()
        return sqrt(int((self.gradient >= MATTERS * most).sum())) if most > 0 else 0.0

    @property
    def said(self) -> tuple[str, str]:
        """Both sizes in words: the theoretical, the measured."""
        rows, columns = self.theoretical
        more = ", larger than the image" if self.is_larger else ""
        return f"theoretical {rows}x{columns}{more}", f"measured {self.size:.0f}x{self.size:.0f}"


def chosen(net: nn.Module, layers: Sequence[Layer]) -> list[Layer]:
    """The last module of each resolution on the way to the logits, and evenly of these up to six."""
    names = {name for name, _ in net.named_modules()}
    maps = [
        layer
        for layer in layers
        if len(layer.outputs) == 3 and layer.name in names and layer.kind != "global_pool" and not layer.is_auxiliary
    ]
    last = list({layer.outputs[1:]: layer for layer in maps if min(layer.outputs[1:]) > 1}.values())
    return last if len(last) <= MOST else [last[round(k * (len(last) - 1) / (MOST - 1))] for k in range(MOST)]


def measure(net: nn.Module, layers: Sequence[Layer], image: tuple[int, int, int], seed: int = 0) -> list[Effective]:
    """The effective fields of a network with values, which evaluates, over twenty images of noise."""
    modules = dict(net.named_modules())
    net.eval()
    given: dict[str, Tensor] = {}
    wanted = chosen(net, layers)

    def note(name: str) -> Any:  # a clone, for the next layer may work in place
        return lambda module, inputs, output: given.__setitem__(name, output.clone())

    handles = [modules[layer.name].register_forward_hook(note(layer.name)) for layer in wanted]
    sums = {layer.name: torch.zeros(image[1:]) for layer in wanted}
    generator = torch.Generator().manual_seed(seed)
    units = {layer.name: (layer.outputs[1] // 2, layer.outputs[2] // 2) for layer in wanted}
    try:
        for _ in range(IMAGES):
            noise = torch.randn(1, *image, generator=generator).requires_grad_()
            net(noise)
            for name, (row, column) in units.items():
                unit = given[name][0, :, row, column].sum()
                (gradient,) = torch.autograd.grad(unit, noise, retain_graph=True)
                sums[name] += gradient[0].abs().mean(0) / IMAGES
    finally:
        for handle in handles:
            handle.remove()
    return [Effective(layer.name, layer.field, units[layer.name], sums[layer.name]) for layer in wanted]


def draw_effective(
    fields: Sequence[Effective], name: str, weights: str, image: tuple[int, int, int], path: Path
) -> Path:
    """Write a PNG of fields, each with the square that its unit could see; the path. weights: which they are."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle

    across, side, gap = min(3, max(2, len(fields))), 2.6, 0.35
    down = -(-len(fields) // across)
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        size = (gap + across * (side + gap), 0.95 + down * (side + 0.8))
        figure = Figure(size)
        figure.text(gap / size[0], 1 - 0.3 / size[1], f"{name}: what a unit in the middle sees", weight="bold", size=12)
        figure.text(gap / size[0], 1 - 0.52 / size[1], f"weights: {weights}", size=8, color=QUIET)
        key = Line2D([], [], color=WRONG, label="theoretical receptive field; the darker a pixel, the more it matters")
        figure.legend(handles=[key], loc=(gap / size[0], 1 - 0.78 / size[1]), fontsize=8, borderpad=0, borderaxespad=0)
        for k, field in enumerate(fields):
            row, column = divmod(k, across)
            below = size[1] - 0.8 - (row + 1) * (side + 0.8)
            axes = axes_at(figure, gap + column * (side + gap), below, side, side)
            shown = field.gradient / field.gradient.max().clamp(min=1e-30)
            axes.imshow(shown.sqrt().numpy(), cmap="Greys", vmin=0, vmax=1, interpolation="nearest")
            spans = [(s.low + unit * s.stride, s.size) for s, unit in zip(field.field, field.unit, strict=True)]
            (top, high), (left, wide) = spans
            axes.add_patch(Rectangle((left - 0.5, top - 0.5), wide, high, fill=False, edgecolor=WRONG, linewidth=1.5))
            axes.set_xlim(-0.5, image[2] - 0.5)
            axes.set_ylim(image[1] - 0.5, -0.5)
            axes.spines[:].set_visible(True)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_title(field.layer, fontsize=9, color=INK, pad=26)
            axes.text(0, 1.02, "\n".join(field.said), transform=axes.transAxes, fontsize=8, color=QUIET, va="bottom")
        with appearing(path) as temporary:
            save_png(figure, temporary, 150)
    return path
