"""Training images as they are stored, and below each what the network sees of it in the first epochs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from convarium.drawing import axes_at

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELL = 112  # pixels of a picture on the sheet
GAP = 6


def contact_sheet(stored: Sequence[Tensor], seen: Sequence[Tensor], labels: Sequence[str]) -> "Figure":
    """One column per image.

    stored: uint8 (C, H, W), of any sizes. seen: of each epoch uint8 (n, C, H, W). Raises ValueError without images.
    """
    from matplotlib.figure import Figure

    if not stored:
        raise ValueError("there are no training images")
    rows = [[cell(image) for image in stored], *([cell(image) for image in images] for images in seen)]
    across = [torch.cat([F.pad(square, [GAP] * 4, value=255) for square in row], 2) for row in rows]
    # the stored pictures stand a little apart
    apart = torch.full((3, 2 * GAP, across[0].shape[2]), 255, dtype=torch.uint8)
    sheet = torch.cat([across[0], apart, *across[1:]], 1)
    _, height, width = sheet.shape
    inches = 0.9 / CELL
    left, above, margin = 0.65, 0.3, 0.1  # inches
    figure = Figure(figsize=(width * inches + left + margin, height * inches + above + margin))
    axes = axes_at(figure, left, margin, width * inches, height * inches)
    axes.set(xlim=(0, width), ylim=(height, 0))
    draw_pixels(axes, sheet)
    step = CELL + 2 * GAP
    columns = [step * (k + 0.5) for k in range(len(stored))]
    axes.set_xticks(columns, [legible(label, 16) for label in labels], fontsize=8)
    axes.xaxis.tick_top()
    tops = [step / 2, *(step * (k + 1.5) + 2 * GAP for k in range(len(seen)))]
    axes.set_yticks(tops, ["stored", *(f"epoch {k + 1}" for k in range(len(seen)))], fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def draw_pixels(axes: "Axes", pixels: Tensor, *, first: float = 0.0) -> None:
    """Fill axes with an image, uint8 (3, H, W), each pixel a rectangle of one colour and one unit.

    `imshow` takes ten times as long for a sheet of pictures: it resamples in floating point.
    first: where the first pixel begins, on both axes.
    """
    from matplotlib.image import PcolorImage

    _, height, width = pixels.shape
    x, y = (torch.arange(size + 1).add(first).numpy() for size in (width, height))
    axes.add_image(PcolorImage(axes, x, y, pixels.permute(1, 2, 0).numpy(), zorder=0))


def cell(image: Tensor, side: int = CELL) -> Tensor:
    """uint8 (C, H, W) on a white square, (3, side, side); small images in whole multiples of a pixel."""
    channels, height, width = image.shape
    size = fitted(height, width, side)
    if size[0] % height == 0 and size[1] % width == 0:
        resized = F.interpolate(image.unsqueeze(0), size=size, mode="nearest")[0]
    else:
        resized = F.interpolate(image.unsqueeze(0).float(), size=size, mode="bilinear", antialias=True)[0]
        resized = resized.round().clamp(0, 255).to(torch.uint8)
    resized = resized.expand(3, -1, -1) if channels == 1 else resized
    return F.pad(resized, margins(size, side), value=255)


def fitted(height: int, width: int, side: int) -> tuple[int, int]:
    """The size of an image in a square: as large as can be, from twice its own on in whole multiples."""
    scale: float = side / max(height, width)
    if scale >= 2:
        scale = int(scale)
    return max(1, round(height * scale)), max(1, round(width * scale))


def margins(size: tuple[int, int], side: int) -> list[int]:
    """What is around an image of this size in the middle of a square: left, right, above, below."""
    (above, left), (height, width) = ((side - length) // 2 for length in size), size
    return [left, side - width - left, above, side - height - above]


def colors(shares: Tensor, *scale: str) -> Tensor:
    """Numbers in 0..1 as colors between those of a scale of equal steps; (H, W) -> uint8 (3, H, W)."""
    stops = torch.tensor([[int(color[place : place + 2], 16) for place in (1, 3, 5)] for color in scale])
    steps = shares.clamp(0, 1) * (len(scale) - 1)
    lower = steps.floor().clamp(max=len(scale) - 2).long()
    part = (steps - lower).unsqueeze(-1)
    return ((1 - part) * stops[lower] + part * stops[lower + 1]).round().to(torch.uint8).permute(2, 0, 1)


def legible(name: str, most: int) -> str:
    """A class name of at most so many characters, without matplotlib's mathematics."""
    return (name if len(name) <= most else f"{name[: most - 1]}…").replace("$", r"\$")


def legible_end(name: str, most: int) -> str:
    """As `legible`, but of a longer name the end."""
    return (name if len(name) <= most else f"…{name[1 - most :]}").replace("$", r"\$")
