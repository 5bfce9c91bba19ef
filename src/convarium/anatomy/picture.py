"""Networks as discs in a picture: the error against the operations, an area as large as the parameters."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import log10, sqrt
from pathlib import Path
from typing import Any

from convarium.drawing import INK, QUIET, STYLE, TRAIN, axes_at, save_png
from convarium.files import appearing
from convarium.wording import compact

WIDTH, HEIGHT = 9.0, 5.5  # inches
LEFT, BELOW, PLOT = 0.8, 0.75, (7.9, 4.1)
LARGEST = 0.42  # inches: radius of the network with the most parameters
LETTER, LINE = 0.064, 0.15  # inches


def draw_errors(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Write a PNG of the rows of a comparison that have a published error; the path.

    It is the error, top-5 or top-1, on the data set for which most rows have it: errors on several are not to be
    compared. The others are named below. Raises ValueError if none has an error.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.patches import Ellipse

    each = Counter(
        (key, row["errors_on"]) for key in ("top5_error", "top1_error") for row in rows if row[key] is not None
    )
    if not each:
        raise ValueError("no published error")
    key, data = each.most_common(1)[0][0]
    known = [row for row in rows if row[key] is not None and row["errors_on"] == data]
    known.sort(key=lambda row: -row["parameters"])
    most = known[0]["parameters"]
    x = [log10(row["multiply_adds"]) for row in known]
    y = [row[key] for row in known]
    ends = _padded(x, PLOT[0]), _padded(y, PLOT[1])
    places = [
        ((a - ends[0][0]) / (ends[0][1] - ends[0][0]) * PLOT[0], (b - ends[1][0]) / (ends[1][1] - ends[1][0]) * PLOT[1])
        for a, b in zip(x, y, strict=True)
    ]
    radii = [LARGEST * sqrt(row["parameters"] / most) for row in known]
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        figure = Figure((WIDTH, HEIGHT))
        axes = axes_at(figure, LEFT, BELOW, *PLOT)
        axes.set_xlim(0, PLOT[0])
        axes.set_ylim(0, PLOT[1])
        axes.grid(True)
        exponents = range(int(ends[0][0]) - 1, int(ends[0][1]) + 2)
        ticks = [log10(step) + exponent for exponent in exponents for step in (1, 2, 5)]
        ticks = [tick for tick in ticks if ends[0][0] <= tick <= ends[0][1]]
        axes.set_xticks([(tick - ends[0][0]) / (ends[0][1] - ends[0][0]) * PLOT[0] for tick in ticks])
        axes.set_xticklabels([compact(10**tick) for tick in ticks])
        levels = _levels(*ends[1])
        axes.set_yticks([(level - ends[1][0]) / (ends[1][1] - ends[1][0]) * PLOT[1] for level in levels])
        axes.set_yticklabels([f"{level:g}" for level in levels])
        axes.set_xlabel("multiply-adds of one image")
        error = f"published {'top-5' if key == 'top5_error' else 'top-1'} error{f' on {data}' if data else ''}"
        axes.set_ylabel(f"{error}, %")
        for place, radius in zip(places, radii, strict=True):
            axes.add_patch(Ellipse(place, 2 * radius, 2 * radius, facecolor=TRAIN, alpha=0.45, edgecolor=TRAIN))
            axes.plot(*place, ".", color=TRAIN, markersize=3)
        taken: list[tuple[float, float, float, float]] = []
        for row, place, radius in zip(known, places, radii, strict=True):
            text = f"{row['name']} {compact(row['parameters'])}"
            left, below = _free(place, radius, LETTER * len(text), taken, places)
            taken.append((left, below, left + LETTER * len(text), below + LINE))
            at = (left, below + LINE / 2)
            axes.annotate(
                text, place, at, ha="left", va="center", fontsize=8, color=INK,
                arrowprops={"arrowstyle": "-", "color": QUIET, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 0},
            )  # fmt: skip
        axes.set_title("Error against operations; areas are parameters")
        without = [str(row["name"]) for row in rows if row not in known]
        if without:
            names = ", ".join(without[:8]) + (f" and {len(without) - 8} more" if len(without) > 8 else "")
            figure.text(0.02, 0.02, f"without a {error}: {names}", fontsize=7, color=QUIET)
        with appearing(path) as temporary:
            save_png(figure, temporary, 150)
    return path


def _padded(values: Sequence[float], length: float) -> tuple[float, float]:
    """The ends of an axis so many inches long on which every disc has its place."""
    low, high = min(values), max(values)
    spread = (high - low) or max(abs(high) * 0.2, 0.2)
    margin = spread * (LARGEST + 0.25) / (length - 2 * (LARGEST + 0.25))
    return low - margin, high + margin


def _levels(low: float, high: float) -> list[float]:
    step = next(step for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if (high - low) / step <= 10)
    return [k * step for k in range(max(0, int(low / step)), int(high / step) + 1) if low <= k * step <= high]


def _free(
    place: tuple[float, float],
    radius: float,
    width: float,
    taken: Sequence[tuple[float, float, float, float]],
    points: Sequence[tuple[float, float]],
) -> tuple[float, float]:
    """The lower left corner of a name beside its point, the nearest that hides no other name and no point."""
    x, y = place
    for distance in (0.06, 0.3, 0.55, 0.8, 1.1, 1.4, 1.8, 2.2):
        out = radius + distance
        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1), (0.7, 0.7), (-0.7, 0.7), (0.7, -0.7), (-0.7, -0.7)):
            left = x + dx * out - (width if dx < 0 else 0 if dx > 0 else width / 2)
            below = y + dy * out - LINE / 2
            right, above = left + width, below + LINE
            if left < 0 or below < 0 or right > PLOT[0] or above > PLOT[1]:
                continue
            hides = any(left < b[2] and b[0] < right and below < b[3] and b[1] < above for b in taken)
            if not hides and not any(left < a < right and below < b < above for a, b in points):
                return left, below
    return x, y
