"""Shapes at places, in pixels from the upper left corner, which every kind of file is written from."""

from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

INK, QUIET = "ink", "quiet"  # the text's color, light or dark as the page is, and a weaker one
Point = tuple[float, float]


@dataclass(frozen=True)
class Shape:
    """An area with an outline; fill and stroke are "#rrggbb", INK, QUIET or empty."""

    points: tuple[Point, ...]  # of "box": two opposite corners; of "circle": its centre, and a point right of it
    form: str = "polygon"  # box, circle, polygon
    fill: str = ""
    stroke: str = ""
    round: float = 0  # the radius of a box's corners
    dashed: bool = False


@dataclass(frozen=True)
class Line:
    """A line through points."""

    points: tuple[Point, ...]
    stroke: str = INK
    dashed: bool = False


@dataclass(frozen=True)
class Text:
    """One line of text; `at` is the end of its baseline that `anchor` names: start, middle, end."""

    at: Point
    text: str
    size: float = 11
    fill: str = INK
    anchor: str = "start"
    bold: bool = False

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, upper, right, lower."""
        width = text_width(self.text, self.size, self.bold)
        left = self.at[0] - width * {"start": 0.0, "middle": 0.5, "end": 1.0}[self.anchor]
        return left, self.at[1] - 0.76 * self.size, left + width, self.at[1] + 0.24 * self.size


Mark = Shape | Line | Text


@dataclass
class Scene:
    """A picture of its own size; scenes are put together by placing one in another."""

    width: float = 0
    height: float = 0
    marks: list[Mark] = field(default_factory=list)
    axis: float = 0  # how far down the line runs that comes in at the left and leaves at the right

    def put(self, other: "Scene", x: float, y: float) -> None:
        """Place a scene with its upper left corner there; this one grows to hold it."""
        self.marks += [moved(mark, x, y) for mark in other.marks]
        self.width, self.height = max(self.width, x + other.width), max(self.height, y + other.height)

    def arrow(self, *points: Point, dashed: bool = False, stroke: str = INK) -> None:
        """A line with a head at its last point."""
        (x0, y0), (x, y) = points[-2:]
        length = max(abs(x - x0), abs(y - y0)) or 1.0  # arrows end along an axis
        dx, dy = (x - x0) / length, (y - y0) / length
        back, side = 6, 3
        self.marks.append(Line((*points[:-1], (x - back * dx, y - back * dy)), stroke, dashed))
        left = (x - back * dx - side * dy, y - back * dy + side * dx)
        right = (x - back * dx + side * dy, y - back * dy - side * dx)
        self.marks.append(Shape(((x, y), left, right), fill=stroke))

    def line(self, *points: Point, dashed: bool = False, stroke: str = INK) -> None:
        self.marks.append(Line(points, stroke, dashed))

    def text(self, x: float, y: float, text: str, **style: Any) -> None:
        self.marks.append(Text((x, y), text, **style))


def moved(mark: Mark, x: float, y: float) -> Mark:
    if isinstance(mark, Text):
        return replace(mark, at=(mark.at[0] + x, mark.at[1] + y))
    return replace(mark, points=tuple((px + x, py + y) for px, py in mark.points))


@cache
def _font(bold: bool) -> Any:
    """matplotlib brings DejaVu Sans, which is wider than what browsers take in its place."""
    from matplotlib import get_data_path
    from matplotlib.ft2font import FT2Font

    font = FT2Font(f"{get_data_path()}/fonts/ttf/DejaVuSans{'-Bold' if bold else ''}.ttf")
    font.set_size(100, 72)
    return font


@cache
def text_width(text: str, size: float, bold: bool = False) -> float:
    """How wide a text is, in pixels."""
    font = _font(bold)
    return sum(float(font.load_char(ord(one)).linearHoriAdvance) for one in text) / 65536 / 100 * size


def wrapped(text: str, size: float, width: float) -> list[str]:
    """A text in lines of at most this width; a longer word has a line of its own."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if text_width(longer, size) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
