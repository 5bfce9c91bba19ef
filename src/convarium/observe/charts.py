"""The pictures of a run: learning curves, confusion matrix, worst mistakes.

Each takes plain tensors and rows and returns a matplotlib `Figure`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from convarium.drawing import INK, QUIET, TRAIN, VALIDATION, WRONG, axes_at
from convarium.observe.contact_sheet import CELL, cell, colors, draw_pixels, legible, legible_end
from convarium.wording import is_share

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RING: dict[str, Any] = {"markersize": 8, "markerfacecolor": "none", "markeredgecolor": VALIDATION, "label": "_best"}
ABOVE = 1.02  # where titles stand, out of the way of what is drawn at the upper edge
SAID: dict[str, Any] = {"color": VALIDATION, "fontsize": 9, "fontweight": "normal"}
MOST_LABELLED = 50  # classes; a confusion matrix of more is a heat map without names
PALEST_SCALE = 0.1  # share of a class; the red of a confusion matrix is full at its largest error, but not below this
ROW = 2.4  # inches from one mistake to that below: its own name stands nearer than the next one's title
MOST_OF_A_NAME = 28  # characters of a file's name below its picture
MOST_COUNTED = 20  # classes; a confusion matrix of more has no numbers in its cells


@dataclass(frozen=True)
class Mistake:
    """A misclassified test image."""

    image: Tensor  # (C, H, W): normalized, as drawn uint8
    index: int
    truth: int
    prediction: int
    probability: float  # of the prediction
    truth_probability: float
    loss: float


def learning_curves(rows: Sequence[dict[str, float]], metric: str = "acc1", lower_is_better: bool = False) -> "Figure":
    """The loss and a metric against the epoch, from the rows of a metrics.csv. Raises ValueError without a loss."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    has_rate = sum("lr" in row for row in rows) > 1  # one point is no curve
    figure = Figure(figsize=(12.1 if has_rate else 9.0, 3.8))
    loss_axes, metric_axes = (axes_at(figure, left, 0.5, 3.7, 2.9) for left in (0.65, 5.2))
    ends = [row["step"] / (row["epoch"] + 1) for row in rows if "train/loss" in row and row.get("epoch", -1) >= 0]
    steps_per_epoch = max(ends[-1], 1.0) if ends else 1.0  # without a whole epoch the axis shows steps

    def curve(name: str) -> tuple[list[float], list[float]]:
        points = [(row["step"] / steps_per_epoch, row[name]) for row in rows if name in row]
        return [x for x, _ in points], [y for _, y in points]

    unit = "epoch" if steps_per_epoch > 1 else "step"
    in_percent = is_share(metric, (row[name] for row in rows for name in row if name.partition("/")[2] == metric))
    x, y = curve("train/loss_step")
    if len(x) > 1 or (x and not ends):
        marker = "o" if len(x) == 1 else None
        loss_axes.plot(x, y, color=TRAIN, alpha=0.35, linewidth=0.9, marker=marker, label="training, single steps")
    for axes, name, best in ((loss_axes, "loss", min), (metric_axes, metric, min if lower_is_better else max)):
        for split, color in (("train", TRAIN), ("val", VALIDATION)):
            x, y = curve(f"{split}/{name}")
            if not x:
                continue
            label, marker = "training" if split == "train" else "validation", "o" if len(x) <= 30 else None
            axes.plot(x, y, color=color, linewidth=1.8, markersize=3.5, marker=marker, label=label)
            finite = [value for value in y if value == value]
            if split == "val" and finite:
                value = best(finite)
                at = x[len(y) - 1 - y[::-1].index(value)]  # of equals the last, as best.ckpt
                text = f"{value:.4f}" if name == "loss" or not in_percent else f"{100 * value:.2f} %"
                axes.plot([at], [value], "o", **RING)
                axes.set_title(f"best {text}, {unit} {at:g}", loc="right", y=ABOVE, **SAID)
    if not (loss_axes.get_lines() or metric_axes.get_lines()):
        raise ValueError("metrics.csv has no losses")
    every = [loss_axes, metric_axes]
    if has_rate:
        x, y = curve("lr")
        every.append(axes_at(figure, 9.8, 0.5, 2.2, 2.9))
        every[-1].plot(x, y, color=TRAIN, linewidth=1.8, markersize=3.5, marker="o" if len(x) <= 30 else None)
        every[-1].set_title("Learning rate", y=ABOVE)
        every[-1].yaxis.set_major_formatter(lambda value, _: f"{value:.6g}")
    for axes in (loss_axes, *every[2:]):
        values = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.get_lines()] or [np.empty(0)])
        if len(values) and values.min() > 0 and values.max() > 20 * values.min():
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if axes is loss_axes else (1.0,)))
            axes.yaxis.set_major_formatter("{x:g}" if axes is loss_axes else "{x:.0e}")
            axes.yaxis.set_minor_locator(NullLocator())
        elif axes is not loss_axes:
            axes.set_ylim(bottom=0.0)
    loss_axes.set_title("Loss", y=ABOVE)  # said, it is not looked for between the labels
    metric_axes.set_title("Accuracy (top 1)" if metric == "acc1" else metric, y=ABOVE)
    if in_percent:
        metric_axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
        metric_axes.set_ylim(*np.clip(metric_axes.get_ylim(), 0.0, 1.0))  # there is nothing beyond
        for line in metric_axes.get_lines():
            line.set_clip_on(False)
    for axes in every:
        axes.set_xlabel(unit)
        axes.grid(True, axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if axes.get_lines():
            axes.set_xlim(0.0, 1.02 * max(float(other.dataLim.x1) for other in every if other.get_lines()))
            if axes in (loss_axes, metric_axes):
                axes.legend()
        else:
            axes.set(xticks=[], yticks=[], xlabel="")
            axes.text(0.5, 0.5, "no whole epoch yet", transform=axes.transAxes, ha="center", va="center", color=QUIET)
    return figure


def confusion_matrix(counts: Tensor, names: Sequence[str]) -> "Figure":
    """Truth (rows) against prediction, as shares of each row: hits in blue, errors in red on a scale of their own."""
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    classes = len(counts)
    total, right = int(counts.sum()), int(counts.trace())
    shares = counts.double() / counts.sum(1, keepdim=True).clamp(min=1)
    errors = shares.clone().fill_diagonal_(0.0)
    labelled = classes <= MOST_LABELLED
    side = min(max(0.42 * classes + 2.2, 4.6), 15.0) if labelled else 9.0
    size = 9.0 if classes <= MOST_COUNTED else 7.0
    texts = [legible(name, 18) for name in names] if labelled else [f"{classes}"]
    longest = max(map(len, texts)) * size / 110  # a character is about size / 110 inches wide
    upright = labelled and longest > (side - 1.5) / classes
    left, below = 0.55 + longest, 0.4 + (longest if upright else 0.2)
    width = min(side - left - 0.15, side - below - 0.4)
    figure = Figure(figsize=(left + width + 0.15, below + width + 0.4))
    axes = axes_at(figure, left, below, width, width)
    most = max(float(errors.max()), PALEST_SCALE)
    hits = torch.eye(classes, dtype=torch.bool)
    blue, red = colors(shares, "#f7fbff", "#2b6ca3"), colors(errors / most, "#ffffff", "#f4a582", WRONG)
    pixels = torch.where(hits, blue, red)
    axes.set(xlim=(-0.5, classes - 0.5), ylim=(classes - 0.5, -0.5), aspect="equal")
    draw_pixels(axes, pixels, first=-0.5)
    axes.set_title(f"{100 * right / max(total, 1):.2f} % of {total:,} test images right", loc="left", y=1.0)
    axes.set_xlabel("prediction")
    axes.set_ylabel("truth")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    if labelled:
        axes.set_xticks(range(classes), texts, fontsize=size, rotation=90 if upright else 0)
        axes.set_yticks(range(classes), texts, fontsize=size)
        ends = (-0.5, classes - 0.5)
        lines = [[(end, edge - 0.5) for end in ends] for edge in range(1, classes)]
        lines += [[(y, x) for x, y in line] for line in lines]
        axes.add_collection(LineCollection(lines, colors="#eef0f3", linewidths=0.8), autolim=False)
    if classes <= MOST_COUNTED:
        dark = (torch.where(hits, shares, errors / most) > 0.55).tolist()
        for (truth, prediction), count in zip(counts.nonzero().tolist(), counts[counts > 0].tolist(), strict=True):
            color, fontsize = "white" if dark[truth][prediction] else INK, 9.0 if count < 1000 else 7.0
            axes.text(prediction, truth, f"{count:,}", ha="center", va="center", fontsize=fontsize, color=color)
    return figure


def worst_mistakes(
    mistakes: Sequence[Mistake], names: Sequence[str], called: Sequence[str], total: int, wrong: int
) -> "Figure":
    """The misclassified images of the highest loss, worst first, each with its prediction over the truth and what it
    is `called`; of so many that are wrong in all."""
    from matplotlib.figure import Figure

    columns = min(5, max(len(mistakes), 1))
    rows = max((len(mistakes) + columns - 1) // columns, 1)
    width, height = max(1.75 * columns, 5.0), ROW * rows + 0.6
    figure = Figure(figsize=(width, height))
    if not mistakes:
        figure.text(0.5, 0.5, f"No mistakes among {total:,} test images", ha="center", va="center", fontsize=13)
        return figure
    if len(mistakes) < wrong:
        title = f"The {len(mistakes)} worst of {wrong:,} mistakes in {total:,} test images"
    else:
        title = f"{f'All {wrong:,} mistakes' if wrong > 1 else 'The one mistake'} in {total:,} test images"
    # one image and one pair of axes: 25 of them take four times as long
    per_inch = 72
    sheet = torch.full((3, round(per_inch * height), round(per_inch * width)), 255, dtype=torch.uint8)
    side, step = (int(1.75 * per_inch), int(ROW * per_inch))
    left = (sheet.shape[2] - side * columns) // 2
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.axis("off")
    axes.set(xlim=(0, sheet.shape[2]), ylim=(sheet.shape[1], 0))
    axes.text(0.5 * sheet.shape[2], 0.2 * per_inch, title, ha="center", va="center", fontsize=12, fontweight="bold")
    for number, mistake in enumerate(mistakes):
        row, column = divmod(number, columns)
        x, y = left + side * column, round(0.95 * per_inch) + step * row
        image = mistake.image if mistake.image.shape[0] == 3 else mistake.image[:1]
        sheet[:, y : y + CELL, x + (side - CELL) // 2 :][:, :, :CELL] = cell(image)
        middle = x + side // 2
        guess = f"{legible(names[mistake.prediction], 13)} ({percent(mistake.probability)})"
        truth = f"is {legible(names[mistake.truth], 11)} ({percent(mistake.truth_probability)})"
        axes.text(middle, y - 17, guess, color=WRONG, fontweight="bold", ha="center", va="bottom", fontsize=9)
        axes.text(middle, y - 4, truth, color=INK, ha="center", va="bottom", fontsize=9)
        name = legible_end(called[number], MOST_OF_A_NAME)
        axes.text(middle, y + CELL + 4, name, color=QUIET, ha="center", va="top", fontsize=7)
    draw_pixels(axes, sheet)
    return figure


def percent(share: float) -> str:
    """ "93 %", "<1 %"."""
    return f"{100 * share:.0f} %" if share >= 0.01 else "<1 %"
