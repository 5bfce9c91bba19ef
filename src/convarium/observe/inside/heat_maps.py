"""Pictures over depth and time: a row for each layer, the first at the top, and a column for each observed step."""

import math
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from convarium.drawing import INK, QUIET, WRONG, axes_at
from convarium.observe.contact_sheet import colors, draw_pixels, legible_end
from convarium.observe.figures import draw_all
from convarium.observe.layer_table import BINS, Row, name_of, read_rows, steps_of

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
TICK_LETTER, TICK_GAP = 0.071, 0.09  # inches
DPI = 150
WORTH_DRAWING = 10  # observed steps; of a shorter run the table says as much, and drawing may take longer than training


REACH = 4.0
"""Spreads from the mean to the ends of a histogram."""


class Panel(NamedTuple):
    """A heat map: its numbers, those at both ends of its colors, and how they are written."""

    title: str
    values: Tensor
    """(layers, columns); nan: not known."""
    ticks: Sequence[tuple[float, str]]
    """What may be written below, and where, in columns: evenly spaced; of more than fit every n-th is."""
    below: str
    colors: tuple[str, ...]
    ends: tuple[float, float]
    log: bool = False
    unit: str = ""


def draw_table(folder: Path, name: str, notes: Sequence[str] = (), *, least: int = 1) -> list[Path]:
    """Draw figures/NAME.png out of NAME.csv in the folder of a run, if it has at least so many observed steps; the
    file, if it was drawn. name: one of TABLES."""
    rows = read_rows(folder / f"{name}.csv")
    if len(steps_of(rows)) < least:
        return []
    heading = name_of(folder)
    figures = {
        "gradient_flow": lambda: gradient_figure(rows, heading, notes),
        "activations": lambda: activation_figure(rows, heading),
    }
    return draw_all(folder / "figures", DPI, {name: figures[name]})


def gradient_figure(rows: Sequence[Row], heading: str, notes: Sequence[str] = ()) -> "Figure":
    """The norms of the gradients, the size of the updates, and dead units where there are any; below, `notes`."""
    panels = [
        _over_time(rows, "gradient", "Norm of the gradient", SIZES, log=True),
        _over_time(rows, "update_to_weight", "Update / weight", AROUND, (1e-5, 1e-1), log=True),
    ]
    if any(row.values["dead"] >= 0.005 for row in rows):
        panels.append(_over_time(rows, "dead", "Dead units", SHARES, (0.0, 100.0), unit=" %"))
    return heat_maps(_layers(rows), panels, heading, notes)


def activation_figure(rows: Sequence[Row], heading: str) -> "Figure":
    """Mean, spread, saturation and shift over time, and the histogram of the last observed step."""
    most = max((abs(row.values["mean"]) for row in rows if math.isfinite(row.values["mean"])), default=0.0) or 1.0
    layers, last = _layers(rows), {row.layer: row.values for row in rows}
    histogram = torch.tensor([[last[layer][name] for name in BINS] for layer in layers])
    ticks = [(place, f"{REACH * (2 * place / len(BINS) - 1):g}") for place in range(0, len(BINS) + 1, 4)]
    at_end = Panel(
        "Histogram at the end", 100 * histogram, ticks, "spreads from the mean", SIZES, (0.0, 40.0), unit=" %"
    )
    return heat_maps(
        layers,
        [
            _over_time(rows, "mean", "Mean", AROUND, (-most, most)),
            _over_time(rows, "spread", "Spread", SIZES, log=True),
            _over_time(rows, "saturated", "Saturated", SHARES, (0.0, 100.0), unit=" %"),
            _over_time(rows, "shift", "Shift of the mean", SIZES, (0.001, 1.0), log=True),
            at_end,
        ],
        heading,
    )


def _over_time(
    rows: Sequence[Row],
    quantity: str,
    title: str,
    colors: tuple[str, ...],
    ends: tuple[float, float] | None = None,
    *,
    log: bool = False,
    unit: str = "",
) -> Panel:
    """A quantity, a column for each observed step. ends: None: of the data."""
    steps, layers = steps_of(rows), _layers(rows)
    steps = steps[:: math.ceil(len(steps) / MOST_COLUMNS)]
    cells = {(row.step, row.layer): row.values[quantity] for row in rows}
    values = torch.tensor([[cells.get((step, layer), math.nan) for step in steps] for layer in layers]).double()
    values *= 100 if unit else 1
    known = values[values.isfinite() & ((values > 0) | (not log))]
    ends = ends or ((float(known.min()), float(known.max())) if len(known) else (1.0, 1.0))
    ticks = [(place + 0.5, f"{step:,}") for place, step in enumerate(steps)]
    return Panel(title, values, ticks, "step", colors, ends, log, unit)


def _layers(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.layer for row in rows))


def legible_ticks(panel: Panel, width: float) -> list[tuple[float, str]]:
    """Every n-th of the ticks of a panel of this width in inches, from the first on, as many as stay apart."""
    apart = width / panel.values.shape[1] * (panel.ticks[1][0] - panel.ticks[0][0]) if len(panel.ticks) > 1 else width
    longest = max(len(text) for _, text in panel.ticks)
    return list(panel.ticks[:: math.ceil((TICK_GAP + TICK_LETTER * longest) / apart)])


def heat_maps(layers: Sequence[str], panels: Sequence[Panel], heading: str, notes: Sequence[str] = ()) -> "Figure":
    """Panels side by side below a heading, with the names of the layers at the left and `notes` below."""
    from matplotlib.figure import Figure

    names = [legible_end(name, LONGEST_NAME) for name in layers]
    left, width, gap = 0.5 + 0.075 * max(map(len, names)), 3.1 if len(panels) < 4 else 2.4, 0.35
    across = left + len(panels) * (width + gap)
    lines = [line for note in notes for line in wrap(f"{note}.", int(13 * across))]
    below = 0.95 + 0.2 * len(lines)
    height = min(max(0.2 * len(layers), 1.4), 8.0)
    tall = below + height + 0.75
    figure = Figure(figsize=(across, tall))
    figure.text(0.15 / across, 1 - 0.2 / tall, heading, color=INK, fontsize=11, va="center")
    named = range(0, len(layers), math.ceil(len(layers) / MOST_NAMED))
    for place, panel in enumerate(panels):
        axes = axes_at(figure, left + place * (width + gap), below, width, height)
        _draw(axes, panel)
        axes.set_title(panel.title, y=1.0)
        ticks = legible_ticks(panel, width)
        axes.set_xticks([x for x, _ in ticks], [text for _, text in ticks], fontsize=8)
        axes.set_xlabel(panel.below)
        texts = [f"{names[k]}  {k + 1}" for k in named] if place == 0 else []
        axes.set_yticks([k + 0.5 for k in named] if place == 0 else [], texts, fontsize=8)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        _key(axes_at(figure, left + place * (width + gap), below - 0.62, width, 0.1), panel)
    for number, line in enumerate(lines):
        y = (0.2 * (len(lines) - number) - 0.05) / tall
        figure.text(0.15 / across, y, line, color=WRONG, fontsize=9, va="center")
    return figure


def _draw(axes: "Axes", panel: Panel) -> None:
    """Fill the axes; of a logarithm, zeros have the lowest color."""
    values = panel.values.double()
    low, high = (math.log10(end) if panel.log else end for end in panel.ends)
    shares = ((values.clamp(min=1e-300).log10() if panel.log else values) - low) / max(high - low, 1e-9)
    pixels = colors(shares.nan_to_num(0.0).clamp(0, 1), *panel.colors)
    pixels[:, ~values.isfinite()] = UNKNOWN
    axes.set(xlim=(0, values.shape[1]), ylim=(values.shape[0], 0))
    draw_pixels(axes, pixels)


def _key(axes: "Axes", panel: Panel) -> None:
    """The colors of a panel and the numbers at their ends."""
    axes.set(xlim=(0, 64), ylim=(1, 0))
    draw_pixels(axes, colors(torch.linspace(0, 1, 64)[None], *panel.colors))
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    low, high = panel.ends
    middle = (low * high) ** 0.5 if panel.log else (low + high) / 2
    for x, value, side in ((0, low, "left"), (32, middle, "center"), (64, high, "right")):
        text = f"{value:.2g}" if panel.log else f"{value:.3g}{panel.unit}"
        axes.text(x, 1.5, text, ha=side, va="top", fontsize=8, color=QUIET if side == "center" else INK)
