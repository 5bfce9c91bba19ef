"""Pictures over depth and time: a row for each layer, the first at the top, and a column for each observed step."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from convarium.drawing import INK, QUIET, WRONG, axes_at
from convarium.drawing import colors
from convarium.observe.contact_sheet import draw_pixels, legible_end
from convarium.observe.figures import draw_all
from convarium.observe.layer_table import Row, read_rows, steps_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZES = ("#f7fbff", "#9ecae1", "#2b6ca3", "#0b2545")
AROUND = ("#2b6ca3", "#f7f7f7", "#b2182b")
SHARES = ("#ffffff", "#f4a582", "#b2182b")
UNKNOWN = 232  # gray
MOST_COLUMNS = 400  # of more steps every second, third, ... is drawn
MOST_NAMED = 40  # layers; of more every second, third, ... has its name
LONGEST_NAME = 26
DPI = 150
WORTH_DRAWING = 10  # observed steps; of a shorter run the table says as much, and drawing may take longer than training


class Panel(NamedTuple):
    """One quantity of a table: the numbers at both ends of its scale, given by its colors, and how to write one."""

    quantity: str
    title: str
    colors: tuple[str, ...]
    log: bool
    ends: tuple[float, float] | None = None
    """None: those of the data."""


def draw_table(folder: Path, name: str, notes: Sequence[str] = (), *, least: int = 1) -> list[Path]:
    """Draw figures/NAME.png out of NAME.csv in the folder of a run, if it has at least so many observed steps; the
    file, if it was drawn."""
    rows = read_rows(folder / f"{name}.csv")
    if len(steps_of(rows)) < least:
        return []
    figures = {"gradient_flow": lambda: gradient_heat_maps(rows, notes)}
    return draw_all(folder / "figures", DPI, {name: figures[name]})


def gradient_heat_maps(rows: Sequence[Row], notes: Sequence[str] = ()) -> "Figure":
    """The norms of the gradients, the size of the updates, and dead units where there are any; below, `notes`.

    Raises ValueError if there are no rows.
    """
    panels = [
        Panel("gradient", "Norm of the gradient", SIZES, log=True),
        Panel("update_to_weight", "Update / weight", AROUND, log=True, ends=(1e-5, 1e-1)),
    ]
    if any(row.values["dead"] >= 0.005 for row in rows):
        panels.append(Panel("dead", "Dead units", SHARES, log=False, ends=(0.0, 1.0)))
    return heat_maps(rows, panels, notes)


def heat_maps(rows: Sequence[Row], panels: Sequence[Panel], notes: Sequence[str] = ()) -> "Figure":
    """A heat map for each panel, side by side. Raises ValueError if there are no rows."""
    from matplotlib.figure import Figure

    if not rows:
        raise ValueError("no step was observed")
    steps, layers = steps_of(rows), list(dict.fromkeys(row.layer for row in rows))
    steps = steps[:: math.ceil(len(steps) / MOST_COLUMNS)]
    cells = {(row.step, row.layer): row.values for row in rows}
    names = [legible_end(name, LONGEST_NAME) for name in layers]
    left, width, gap = 0.5 + 0.075 * max(map(len, names)), 3.1, 0.35
    across = left + len(panels) * (width + gap)
    lines = [line for note in notes for line in wrap(f"{note}.", int(13 * across))]
    below = 0.95 + 0.2 * len(lines)
    height = min(max(0.2 * len(layers), 1.4), 8.0)
    figure = Figure(figsize=(across, below + height + 0.45))
    for place, panel in enumerate(panels):
        axes = axes_at(figure, left + place * (width + gap), below, width, height)
        values = torch.tensor(
            [[cells.get((step, layer), {}).get(panel.quantity, math.nan) for step in steps] for layer in layers]
        ).double()
        low, high = _draw(axes, values, panel)
        axes.set_title(panel.title, y=1.0)
        marks = _marks(steps)
        axes.set_xticks([mark + 0.5 for mark in marks], [f"{steps[mark]:,}" for mark in marks])
        axes.set_xlabel("step")
        every = math.ceil(len(layers) / MOST_NAMED)
        named = range(0, len(layers), every)
        texts = [f"{names[k]}  {k + 1}" for k in named] if place == 0 else []
        axes.set_yticks([k + 0.5 for k in named] if place == 0 else [], texts, fontsize=8)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        _key(axes_at(figure, left + place * (width + gap), below - 0.62, width, 0.1), panel, low, high)
    for number, line in enumerate(lines):
        y = (0.2 * (len(lines) - number) - 0.05) / (below + height + 0.45)
        figure.text(0.15 / figure.get_figwidth(), y, line, color=WRONG, fontsize=9, va="center")
    return figure


def _draw(axes: "Axes", values: Tensor, panel: Panel) -> tuple[float, float]:
    """Fill the axes; the numbers at the ends of the scale."""
    known = values.isfinite() & (values > 0 if panel.log else torch.ones_like(values, dtype=torch.bool))
    of_data = (float(values[known].min()), float(values[known].max())) if known.any() else (1.0, 1.0)
    low, high = panel.ends or of_data
    scaled: Callable[[Tensor], Tensor] = torch.log10 if panel.log else torch.clone
    bounds = scaled(torch.tensor([low, high]).double())
    shares = (scaled(values) - bounds[0]) / (bounds[1] - bounds[0]).clamp(min=1e-9)
    zero = values.isfinite() & ~known  # of a logarithm, the lowest color
    pixels = colors(torch.where(known, shares, 0.0).clamp(0, 1), *panel.colors)
    pixels[:, ~(known | zero)] = UNKNOWN
    axes.set(xlim=(0, values.shape[1]), ylim=(values.shape[0], 0))
    draw_pixels(axes, pixels)
    return low, high


def _key(axes: "Axes", panel: Panel, low: float, high: float) -> None:
    """The colors of a panel and the numbers at their ends."""
    axes.set(xlim=(0, 64), ylim=(1, 0))
    draw_pixels(axes, colors(torch.linspace(0, 1, 64)[None], *panel.colors))
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    middle = (low * high) ** 0.5 if panel.log else (low + high) / 2
    places = [(0, low, "left"), (32, middle, "center"), (64, high, "right")]
    for x, value, side in places:
        text = f"{value:.1g}" if panel.log else f"{100 * value:.0f} %"
        axes.text(x, 1.5, text, ha=side, va="top", fontsize=8, color=QUIET if side == "center" else INK)


def _marks(steps: Sequence[int]) -> list[int]:
    """The columns whose steps are written: about six, the first and the last among them."""
    most = min(6, len(steps))
    return sorted({round(k * (len(steps) - 1) / max(most - 1, 1)) for k in range(most)})
