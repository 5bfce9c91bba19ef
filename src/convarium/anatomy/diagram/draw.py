"""`draw`: the diagram of a network as a file."""

from collections.abc import Sequence
from pathlib import Path

from convarium.anatomy.diagram import raster
from convarium.anatomy.diagram.html import html
from convarium.anatomy.diagram.layout import diagram
from convarium.anatomy.diagram.scene import Scene
from convarium.anatomy.diagram.structure import parts
from convarium.anatomy.diagram.svg import svg
from convarium.anatomy.trace import Layer

KINDS = ("svg", "png", "pdf", "html")
LEVELS = ("stages", "layers")


def scene(layers: Sequence[Layer], *, title: str, level: str = "stages", explain: bool = False) -> Scene:
    """The diagram as shapes. level: blocks with what is in them in short, or every layer."""
    detailed = level == "layers"
    return diagram(parts(layers, exact=detailed), layers[0].inputs, title=title, detailed=detailed, explain=explain)


def draw(
    layers: Sequence[Layer], path: Path, *, kind: str, title: str, level: str = "stages", explain: bool = False
) -> None:
    """Write the diagram of a network as a file of a kind of KINDS."""
    if kind == "html":
        path.write_text(html(layers, title=title, level=level, explain=explain), encoding="utf-8")
        return
    picture = scene(layers, title=title, level=level, explain=explain)
    if kind == "svg":
        path.write_text(svg(picture, title), encoding="utf-8")
    else:
        raster.save(picture, path, kind)
