"""Sheets of pictures with words above and below, a row for what belongs together, and what the colors mean below all.

In the style of worst_mistakes.png (`convarium.observe.charts`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convarium.anatomy.attribution import grad_cam
from convarium.anatomy.feature_maps import map_layers
from convarium.drawing import INK, QUIET, WRONG, axes_at
from convarium.observe.charts import Mistake, percent
from convarium.observe.contact_sheet import cell, colors, draw_pixels, fitted, legible, margins

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = tuple[str, Sequence["Picture"]]

PER_INCH = 144  # pixels of a sheet; saved at 150, a picture keeps what it has
SIDE = 224 / PER_INCH  # inches, of a picture: whole multiples of 28 and 32
TITLE, NOTE, LABEL, ABOVE, BELOW, LEGEND = 0.5, 0.22, 0.24, 0.36, 0.24, 0.62  # inches: the rooms of words

RAISES = ("#fdd49e", "#fc8d59", "#d7301f", "#7f0000")  # from little to much
LOWERS = ("#c6dbef", "#6baed6", "#2171b5", "#08306b")
SIGNED = (*reversed(LOWERS), "#ffffff", *RAISES)
WARM, COLD = (
    ("#ffd54d", "#ff8c1a", "#f0201a"),
    ("#a8d8ff", "#3d8bff", "#1f3fff"),
)  # the same over a picture, also a dark one
MOST_OPAQUE, OPACITY = 0.8, 0.7  # of the colors over a picture: that of the strongest, and how it falls off


@dataclass(frozen=True)
class Picture:
    """A picture of a sheet and its words: two lines above, one below."""

    pixels: Tensor  # uint8 (C, H, W)
    bold: str = ""
    plain: str = ""
    below: str = ""
    is_wrong: bool = False  # then what is bold is red
    frame: tuple[float, float, float, float] | None = None
    """To be drawn around a part: left, top, width and height as shares of the picture."""


class Legend(NamedTuple):
    """A strip of colors, uint8 (3, 1, W), with words at its ends and in the middle."""

    strip: Tensor
    left: str
    middle: str
    right: str


def signed(values: Tensor) -> Tensor:
    """Numbers in -1..1 as colors, 0 white; (H, W) -> uint8 (3, H, W)."""
    return colors((values + 1) / 2, *SIGNED)


def heated(image: Tensor, heat: Tensor, side: int = round(PER_INCH * SIDE)) -> Tensor:
    """An image without its colors and over it those of a map of numbers in -1..1; uint8 (C, H, W) and (h, w), of any
    size, -> uint8 (3, side, side)."""
    size = fitted(image.shape[1], image.shape[2], side)
    over = F.interpolate(heat[None, None].float(), size=size, mode="bilinear", align_corners=False)[0, 0]
    return _blended(cell(_visible(image), side), F.pad(over, margins(size, side)))


def heat_strip(lowest: float) -> Tensor:
    """The colors of `heated` from `lowest` to 1, over grey."""
    return _blended(torch.full((3, 1, 256), 160, dtype=torch.uint8), torch.linspace(lowest, 1, 256)[None])


def _visible(image: Tensor) -> Tensor:
    """As worst_mistakes.png has it: what is not three colors is the first channel."""
    return image if len(image) == 3 else image[:1]


def _blended(image: Tensor, heat: Tensor) -> Tensor:
    opaque = MOST_OPAQUE * heat.abs().clamp(0, 1) ** OPACITY
    color = torch.where(heat < 0, colors(-heat, *COLD), colors(heat, *WARM))
    return torch.lerp(image.float().mean(0, keepdim=True), color.float(), opaque).round().to(torch.uint8)


def sheet(title: str, rows: Sequence[Row], legend: Legend | None, *, side: float = SIDE, note: str = "") -> "Figure":
    """A sheet of rows, each pictures side by side and what is said over them. side: of a picture, inches. note: a line
    below the title."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    pictures = [picture for _, row in rows for picture in row]
    small = side < SIDE
    gap = 0.08 if small else 0.24
    lines = max((picture.bold != "") + (picture.plain != "") for picture in pictures)
    above = (0.06, 0.2, 0.36)[lines]
    below = BELOW if any(picture.below for picture in pictures) else 0.06
    label = LABEL if any(words for words, _ in rows) else 0.0
    columns = max(len(row) for _, row in rows)
    across = columns * (side + gap) - gap
    width = max(across + 0.5, 0.1 * len(title) + 0.4, 0.07 * len(note) + 0.4, 5.0)
    top, pitch = TITLE + (NOTE if note else 0.0), label + above + side + below
    figure = Figure(figsize=(width, top + pitch * len(rows) + (LEGEND if legend else 0.1)))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.axis("off")
    height = round(PER_INCH * figure.get_figheight())
    pixels = torch.full((3, height, round(PER_INCH * width)), 255, dtype=torch.uint8)
    axes.set(xlim=(0, pixels.shape[2]), ylim=(height, 0))

    def write(x: float, y: float, words: str, size: float, **options: Any) -> None:
        style = {"color": INK, "ha": "center", "va": "bottom"} | options
        axes.text(x * PER_INCH, y * PER_INCH, words, fontsize=size, **style)

    write(width / 2, 0.36, title, 12, fontweight="bold")
    write(width / 2, 0.56, note, 9, color=QUIET)
    large = round(PER_INCH * side)
    for number, (words, row) in enumerate(rows):
        y, left = top + pitch * number + label + above, (width - across) / 2
        write(left, y - above, words, 9, ha="left", fontweight="bold")
        for column, picture in enumerate(row):
            x = left + column * (side + gap)
            down, right = round(PER_INCH * y), round(PER_INCH * x)
            pixels[:, down : down + large, right : right + large] = cell(_visible(picture.pixels), large)
            middle = x + side / 2
            color = WRONG if picture.is_wrong else INK
            write(middle, y - (0.21 if lines == 2 else 0.05), picture.bold, 9, fontweight="bold", color=color)
            write(middle, y - 0.04, picture.plain, 7 if small else 9)
            write(middle, y + side + 0.04, picture.below, 7, va="top", color=QUIET)
            if picture.frame:
                x0, y0, wide, high = (large * share for share in picture.frame)
                frame = Rectangle((right + x0, down + y0), wide, high, fill=False, edgecolor=WRONG, linewidth=1.4)
                axes.add_patch(frame)
    draw_pixels(axes, pixels)
    if legend is None:
        return figure
    long = min(width - 0.6, 6.0)
    bar = axes_at(figure, (width - long) / 2, 0.36, long, 0.12)
    draw_pixels(bar, legend.strip)
    bar.set(xlim=(0, legend.strip.shape[2]), ylim=(0, 1))
    bar.axis("off")
    for share, words, ha in ((0.0, legend.left, "left"), (0.5, legend.middle, "center"), (1.0, legend.right, "right")):
        bar.text(share, -0.4, words, ha=ha, va="top", fontsize=8, color=INK, transform=bar.transAxes)
    return figure


def gradcam_of_mistakes(net: nn.Module, images: Tensor, mistakes: Sequence[Mistake], names: Sequence[str]) -> "Figure":
    """A row for each mistake: the picture, and what of it speaks for the answer and for the truth.

    images: what the network saw of each, normalized, (N, C, H, W). Raises ValueError for a network without maps.
    """
    # Lightning tests in inference mode, which knows no gradient; compiled code does not see the hooks
    with torch.inference_mode(False), torch.compiler.set_stance("force_eager"):
        seen = images.clone().to(next(net.parameters()).device)
        layers, _ = map_layers(net, seen[:1])
        if not layers:
            raise ValueError("the network has no maps")
        rows = []
        for place, mistake in enumerate(mistakes):
            answers = ((mistake.prediction, mistake.probability), (mistake.truth, mistake.truth_probability))
            pictures = []
            for number, probability in answers:
                cam = grad_cam(
                    net, seen[place : place + 1], layers[-1].name, torch.tensor([number], device=seen.device)
                )
                said = f"{legible(names[number], 13)} ({percent(probability)})"
                pictures.append(Picture(heated(mistake.image, scaled(cam[0].cpu())), f"for {said}"))
            guess = f"{legible(names[mistake.prediction], 13)} ({percent(mistake.probability)})"
            truth = f"is {legible(names[mistake.truth], 18)}"
            rows.append(("", [Picture(mistake.image, guess, truth, is_wrong=True), *pictures]))
    legend = Legend(heat_strip(0.0), "nothing", "", "speaks most for the class")
    return sheet(f"Grad-CAM at {layers[-1]}: the worst mistakes", rows, legend)


def scaled(values: Tensor) -> Tensor:
    """So that the largest is 1 or -1; zeros stay zeros."""
    return torch.nan_to_num(values / max(float(values.abs().max()), 1e-30))
