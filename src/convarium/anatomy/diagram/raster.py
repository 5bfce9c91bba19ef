"""A scene as PNG or PDF, drawn by matplotlib."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from convarium.anatomy.diagram.scene import INK, QUIET, Line, Mark, Scene, Text
from convarium.drawing import INK as DARK
from convarium.drawing import QUIET as GREY
from convarium.drawing import STYLE, save_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DPI, SHARP = 100, 200  # a pixel of the scene is a hundredth of an inch; a PNG has two for each
COLORS = {INK: DARK, QUIET: GREY, "": "none"}


def save(scene: Scene, path: Path, kind: str) -> None:
    """Write a scene as kind "png" or "pdf"."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    style: Any = {**STYLE, "font.sans-serif": ["DejaVu Sans"], "pdf.fonttype": 42}
    with rc_context(style):
        figure = Figure(figsize=(scene.width / DPI, scene.height / DPI))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, scene.width), ylim=(scene.height, 0))
        axes.axis("off")
        for order, mark in enumerate(sorted(scene.marks, key=lambda mark: not isinstance(mark, Line))):
            _draw(axes, mark, order)
        if kind == "png":
            save_png(figure, path, SHARP)
        else:
            figure.savefig(path, format=kind, metadata={"CreationDate": None})


def _draw(axes: "Axes", mark: Mark, order: int) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Circle, FancyBboxPatch, Polygon

    points = 72 / DPI  # in which matplotlib measures lines and letters
    if isinstance(mark, Text):
        align, weight = mark.anchor.replace("start", "left").replace("end", "right"), "bold" if mark.bold else "normal"
        place = {"ha": align.replace("middle", "center"), "va": "baseline", "weight": weight, "zorder": order}
        axes.text(*mark.at, mark.text, size=mark.size * points, color=COLORS.get(mark.fill, mark.fill), **place)  # type: ignore[arg-type]
        return
    stroke = COLORS.get(mark.stroke, mark.stroke)
    dashes: Any = (0, (4, 3)) if mark.dashed else "solid"
    if isinstance(mark, Line):
        xs, ys = zip(*mark.points, strict=True)
        axes.add_line(Line2D(xs, ys, color=stroke, linewidth=1.2 * points, linestyle=dashes, zorder=order))
        return
    style: dict[str, Any] = {"facecolor": COLORS.get(mark.fill, mark.fill), "edgecolor": stroke, "zorder": order}
    style |= {"linewidth": 1.2 * points if mark.stroke else 0, "linestyle": dashes}
    (x, y), (right, lower) = mark.points[:2]
    if mark.form == "box":
        rounding = f"round,pad=0,rounding_size={mark.round}" if mark.round else "square,pad=0"
        axes.add_patch(FancyBboxPatch((x, y), right - x, lower - y, boxstyle=rounding, **style))
    elif mark.form == "circle":
        axes.add_patch(Circle((x, y), right - x, **style))
    else:
        axes.add_patch(Polygon(mark.points, closed=True, **style))
