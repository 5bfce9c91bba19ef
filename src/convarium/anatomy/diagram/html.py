"""A diagram as a page: each part opens to every layer in it, drawn and as a table."""

from collections.abc import Sequence
from html import escape

from convarium.anatomy.diagram.glyphs import label, shape_text, written
from convarium.anatomy.diagram.layout import Drawn, alone, legend, sign
from convarium.anatomy.diagram.reasons import AUXILIARY, Reason, reason
from convarium.anatomy.diagram.structure import ATTACHED, Part, Row, parts
from convarium.anatomy.diagram.svg import svg
from convarium.anatomy.trace import Layer
from convarium.page import page, table

STYLE = """
ol{list-style:none;padding:0;margin:0}
details>div{border-left:3px solid var(--line);padding:4px 0 12px 16px;margin:6px 0 6px 20px}
summary::marker{color:var(--quiet)}summary svg{vertical-align:middle}
"""
HEADINGS = ["layer", "what it is", "output", "weights", "multiply-adds"]


def html(layers: Sequence[Layer], image: tuple[int, ...], *, title: str, level: str, explain: bool) -> str:
    """The page; at level "layers" all parts are open from the beginning."""
    spine = parts(layers, exact=False)
    reasons = [reason(part, spine) for part in spine]
    drawn = [Drawn(part, why, detailed=False) for part, why in zip(spine, reasons, strict=True)]
    items = [
        _part(
            one,
            why,
            svg(alone(one, drawn), _name(one.part, why), alone=False),
            opened=level == "layers",
            explain=explain,
        )
        for one, why in zip(drawn, reasons, strict=True)
    ]
    begin = svg(sign(image), f"image {shape_text(image)}", alone=False)
    key = svg(legend(spine, 900), "what colors, shapes and sizes mean", alone=False)
    head = f"<h1>{escape(title)}</h1><p>Each part opens to the layers in it.</p>"
    return page(title, f"{head}<ol><li>{begin}</li>{''.join(items)}</ol><h2>Legend</h2>{key}", style=STYLE)


def _name(part: Part, why: Reason | None) -> str:
    name = label(part.box.layer) if part.box else why.name if why else "block"
    times = f", {len(part.copies)} in a row" if len(part.copies) > 1 else ""
    return name + times + (", with an auxiliary classifier" if part.heads else "")


def _part(drawn: Drawn, why: Reason | None, closed: str, *, opened: bool, explain: bool) -> str:
    part = drawn.part
    said = [_said(why)] if explain and why else []
    said += [_said(AUXILIARY)] if explain and part.heads else []
    inside = svg(alone(Drawn(part, why, detailed=True)), f"{_name(part, why)}: its layers", alone=False)
    of = (
        ""
        if len(part.copies) == 1
        else "The first of them; the others have the same layers" + ("." if part.uniform else " with other widths.")
    )
    rows = [_line(layer) for row in (part.row, *part.heads) for layer in _layers(row)]
    content = f"{''.join(said)}{inside}{table(HEADINGS, rows, caption=of, numbers=2)}"
    return f"<li><details{' open' if opened else ''}><summary>{closed}</summary><div>{content}</div></details></li>"


def _said(why: Reason) -> str:
    return f"<p>{escape(why.why)} ({escape(why.source)})</p>"


def _layers(row: Row) -> list[Layer]:
    return [layer for item in row for layer in item.layers]


def _line(layer: Layer) -> list[str]:
    what = written(layer) if layer.kind in ATTACHED else label(layer)
    return [layer.name, what, shape_text(layer.outputs), f"{layer.parameters:,}", f"{layer.macs:,}"]
