"""A scene as SVG: by itself, or for a page, which says what color its ink has."""

from xml.sax.saxutils import escape, quoteattr

from convarium.anatomy.diagram.scene import INK, QUIET, Line, Scene, Shape, Text

FONT = "'DejaVu Sans',Verdana,'Segoe UI',Arial,sans-serif"
ALONE = "svg{color:#1f2937;background:#fff}@media(prefers-color-scheme:dark){svg{color:#e5e7eb;background:#111827}}"


def svg(scene: Scene, label: str, *, alone: bool = True) -> str:
    """The markup. label: what it shows, for those who do not see it. alone: a file of its own, with its colors."""
    size = f'width="{scene.width:.0f}" height="{scene.height:.0f}" viewBox="0 0 {scene.width:.0f} {scene.height:.0f}"'
    space = ' xmlns="http://www.w3.org/2000/svg"' if alone else ""
    style = f"<style>{ALONE}</style>" if alone else ""
    paths: dict[tuple[str, bool], list[str]] = {}
    for mark in scene.marks:
        if isinstance(mark, Line):
            paths.setdefault((mark.stroke, mark.dashed), []).append(_path(mark.points))
    lines = [f'<path d="{"".join(d)}"{_stroke(*style_)}/>' for style_, d in paths.items()]
    others = [_mark(mark) for mark in scene.marks if not isinstance(mark, Line)]
    return (
        f'<svg{space} {size} role="img" aria-label={quoteattr(label)} fill="none" stroke-width="1.2" '
        f'font-family="{FONT}">{style}{"".join([*lines, *others])}</svg>'
    )


def _mark(mark: Shape | Text) -> str:
    if isinstance(mark, Text):
        (x, y), anchor = mark.at, "" if mark.anchor == "start" else f' text-anchor="{mark.anchor}"'
        style = f"{anchor}{_fill(mark.fill)}" + (' font-weight="bold"' if mark.bold else "")
        return f'<text x="{_n(x)}" y="{_n(y)}" font-size="{_n(mark.size)}"{style}>{escape(mark.text)}</text>'
    style, (x, y), (right, lower) = _fill(mark.fill) + _stroke(mark.stroke, mark.dashed), *mark.points[:2]
    if mark.form == "box":
        corners = f' rx="{_n(mark.round)}"' if mark.round else ""
        return f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(right - x)}" height="{_n(lower - y)}"{corners}{style}/>'
    if mark.form == "circle":
        return f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(right - x)}"{style}/>'
    return f'<path d="{_path(mark.points)}z"{style}/>'


def _path(points: tuple[tuple[float, float], ...]) -> str:
    return "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in points)


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _fill(color: str) -> str:
    if color in (INK, QUIET):
        return ' fill="currentColor"' + (' fill-opacity=".7"' if color == QUIET else "")
    return f' fill="{color}"' if color else ""


def _stroke(color: str, dashed: bool) -> str:
    if not color:
        return ""
    named = "currentColor" if color in (INK, QUIET) else color
    weak, dashes = ' stroke-opacity=".5"' * (color == QUIET), ' stroke-dasharray="4 3"' * dashed
    return f' stroke="{named}"{weak}{dashes}'
