"""Charts of a page of a run, drawn when it is written: they need no script, and print. Each is SVG as text."""

import math
from collections.abc import Iterable, Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple

WIDTH, HEIGHT = 384, 240
LEFT, RIGHT, TOP, BELOW = 58, 12, 12, 40  # pixels around what is drawn
MOST_DOTS = 30
MOST_POINTS = 400  # of a line; a chart is about as many pixels wide
SHADES = 8
"""Of a heat map, for the classes `a1` to `a8` (hits) and `e1` to `e8` (errors)."""


class Series(NamedTuple):
    """A line: what it is called, the number of its color (0: the first), and its points (x, y)."""

    label: str
    color: int
    points: list[tuple[float, float]]
    is_faint: bool = False


class Scale:
    """From values to pixels, along one axis. is_log: by powers of ten."""

    def __init__(self, values: Iterable[float], start: float, end: float, *, is_log: bool = False) -> None:
        known = [*values]
        self.is_log = is_log
        low, high = self._to(min(known)), self._to(max(known))
        if high == low:
            low, high = (low - abs(low) / 2, high + abs(high) / 2) if low else (-1.0, 1.0)
        self.low, self.high, self.start, self.end = low, high, start, end

    def _to(self, value: float) -> float:
        return math.log10(value) if self.is_log else value

    def __call__(self, value: float) -> float:
        share = (self._to(value) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, most: int = 5, *, whole: bool = False) -> list[float]:
        """Round values inside the axis."""
        if self.is_log:
            found = [m * 10.0**k for k in range(math.floor(self.low), math.ceil(self.high) + 1) for m in (1, 2, 5)]
            found = [value for value in found if self.low - 1e-9 <= math.log10(value) <= self.high + 1e-9]
            return found[:: max(1, math.ceil(len(found) / most))]
        rough = (self.high - self.low) / most
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
        step = max(1.0, step) if whole else step
        first = math.ceil(self.low / step - 1e-9)
        return [k * step for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


def line_chart(
    title: str, series: Sequence[Series], *, across: str, in_percent: bool = False, may_be_log: bool = True
) -> str:
    """Lines over one axis. across: what that is called. may_be_log: by powers of ten where values differ twentyfold."""
    points = [point for line in series for point in line.points]
    values = [y for _, y in points]
    is_log = may_be_log and not in_percent and min(values) > 0 and max(values) > 20 * min(values)
    x = Scale([0.0, *(x for x, _ in points)], LEFT, WIDTH - RIGHT)
    y = Scale(values, HEIGHT - BELOW, TOP, is_log=is_log)
    parts = [_grid(x, y, across, in_percent=in_percent, whole=True)]
    for line in series:
        faint = " faint" if line.is_faint else ""
        kept = line.points[:: max(1, math.ceil(len(line.points) / MOST_POINTS))]
        path = " ".join(f"{x(a)},{y(b)}" for a, b in kept)
        if len(kept) > 1:
            parts.append(f'<polyline class="line k{line.color}{faint}" points="{path}"/>')
        if len(kept) <= MOST_DOTS and not faint:
            parts += [f'<circle class="dot k{line.color}" cx="{x(a)}" cy="{y(b)}" r="2.5"/>' for a, b in kept]
    said = "; ".join(f"{s.label}: {s.points[0][1]:.4g} to {s.points[-1][1]:.4g}" for s in series)
    return _svg(f"{title} by {across}. {said}", parts)


def reliability(bins: Sequence[tuple[float, float, float, int]]) -> str:
    """The accuracy of each bin (low, high, accuracy, images) of the confidence as a bar, and the diagonal of a network
    that knows how often it is right."""
    x, y = Scale((0.0, 1.0), LEFT, WIDTH - RIGHT), Scale((0.0, 1.0), HEIGHT - BELOW, TOP)
    parts = [_grid(x, y, "confidence", in_percent=True)]
    for low, high, accuracy, images in bins:
        left, wide, top = x(low) + 0.5, round(x(high) - x(low) - 1, 1), y(accuracy)
        said = f"confidence {100 * low:.0f} to {100 * high:.0f} %: {images:,} images, {100 * accuracy:.1f} % right"
        tall = round(HEIGHT - BELOW - top, 1)
        parts.append(f'<rect class="bar k0" x="{left}" y="{top}" width="{wide}" height="{tall}">')
        parts.append(f"<title>{said}</title></rect>")
    parts.append(f'<line class="ideal" x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}"/>')
    return _svg("Reliability: how often it is right, by its confidence; the dashed line is a calibrated network", parts)


def heat_map(classes: int, cells: Iterable[tuple[int, int, float]], side: int = 720) -> str:
    """Truth downwards, prediction across; cells (truth, prediction, share of the truth's images) that are not empty."""
    shades: dict[str, list[str]] = {}
    for truth, prediction, share in cells:
        shades.setdefault(shade(share, truth == prediction), []).append(f"M{prediction} {truth}h1v1h-1z")
    step = next(step for step in (10, 20, 50, 100, 200, 500, 1000, 10_000) if classes <= 12 * step)
    margin, font = classes * 0.06, classes * 0.018
    parts = [f'<rect class="ground" width="{classes}" height="{classes}"/>']
    parts += [f'<path class="{name}" d="{"".join(paths)}"/>' for name, paths in sorted(shades.items())]
    for k in range(0, classes, step):
        parts.append(f'<text x="{k + 0.5}" y="{-font / 2}" font-size="{font:.2f}" text-anchor="middle">{k}</text>')
        parts.append(
            f'<text x="{-font / 2}" y="{k + 0.5 + font / 3}" font-size="{font:.2f}" text-anchor="end">{k}</text>'
        )
    box = f"{-margin:.1f} {-margin:.1f} {classes + 1.5 * margin:.1f} {classes + 1.5 * margin:.1f}"
    said = f"Confusion matrix of {classes} classes: truth downwards, prediction across"
    shape = f'viewBox="{box}" width="{side}" height="{side}"'
    return f'<svg class="map" role="img" aria-label="{said}" {shape}>{"".join(parts)}</svg>'


def shade(share: float, is_hit: bool) -> str:
    """The class of a cell: hits by their share; errors, which are few, by its square root."""
    depth = share if is_hit else math.sqrt(share)
    return f"{'a' if is_hit else 'e'}{min(SHADES, max(1, math.ceil(SHADES * depth)))}"


def _grid(x: Scale, y: Scale, across: str, *, in_percent: bool, whole: bool = False) -> str:
    parts = []
    for value, text in _labelled(y.ticks(), in_percent):
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y(value)}" x2="{WIDTH - RIGHT}" y2="{y(value)}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4}" text-anchor="end">{text}</text>')
    for value, text in _labelled(x.ticks(6, whole=whole), in_percent and not whole):
        parts.append(f'<text x="{x(value)}" y="{HEIGHT - BELOW + 16}" text-anchor="middle">{text}</text>')
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(across)}</text>'
    )
    return "".join(parts)


def _labelled(values: Sequence[float], in_percent: bool) -> list[tuple[float, str]]:
    """Ticks and their texts, with as many digits as tell neighbours apart."""
    factor, unit = (100, " %") if in_percent else (1, "")
    step = min((b - a for a, b in pairwise(values)), default=0.0)
    digits = next(
        (d for d in range(3, 10) if all(f"{v * factor:.{d}g}" != f"{(v + step) * factor:.{d}g}" for v in values)), 4
    )
    return [(value, f"{value * factor:.{digits}g}{unit}".replace("-", "\N{MINUS SIGN}")) for value in values]


def _svg(said: str, parts: Iterable[str]) -> str:
    return (
        f'<svg role="img" aria-label="{escape(said)}" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">'
        f"{''.join(parts)}</svg>"
    )
