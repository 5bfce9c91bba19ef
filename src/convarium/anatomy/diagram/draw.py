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

LEVELS = ("stages", "layers")


def scene(
    layers: Sequence[Layer],
    image: tuple[int, int, int],
    *,
    title: str = "",
    level: str = "stages",
    explain: bool = False,
    keyed: bool = True,
) -> Scene:
    """The diagram of a network for an image (C, H, W), as shapes.

    level: blocks with what is in them in short, or every layer; explain: with why each is there; keyed: with a legend.
    """
    detailed = level == "layers"
    spine = parts(layers, exact=detailed)
    return diagram(spine, image, title=title, detailed=detailed, explain=explain, keyed=keyed)


def draw(
    layers: Sequence[Layer],
    image: tuple[int, int, int],
    path: Path,
    *,
    kind: str,
    title: str,
    level: str = "stages",
    explain: bool = False,
) -> None:
    """Write the diagram of a network for an image (C, H, W) as a file of a kind of KINDS."""
    if kind == "html":
        path.write_text(html(layers, image, title=title, level=level, explain=explain), encoding="utf-8")
        return
    picture = scene(layers, image, title=title, level=level, explain=explain)
    if kind == "svg":
        path.write_text(svg(picture, title), encoding="utf-8")
    else:
        raster.save(picture, path, kind)
