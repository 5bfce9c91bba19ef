"""The signs of a diagram: layers as boxes and chips, maps as slabs, joins, what is written on them."""

from math import sqrt

from convarium.anatomy.diagram.scene import INK, QUIET, Line, Scene, Shape, moved, text_width
from convarium.anatomy.diagram.structure import Box
from convarium.anatomy.palette import look
from convarium.anatomy.trace import Layer
from convarium.wording import compact

SMALL, TEXT = 10, 11  # letters
STRIP, THIN = 14, 4  # heights of what stands at the foot of a box: with its name, without
EDGE, DEPTH = 2.0, 0.6  # pixels for the root of a map's side, for the root of the number of maps
SLAB = ("#cbd5e1", "#e2e8f0", "#94a3b8", "#475569")  # front, top, side, outline
JOIN = {"add": "+", "multiply": "×", "concat": "‖"}
RADIUS = 8


def shape_text(shape: tuple[int, ...]) -> str:
    """ "112×112×64" of (64, 112, 112)."""
    return "×".join(map(str, (*shape[1:], shape[0])))


def window_text(layer: Layer) -> str:
    """ "3×3 /2" for windows that move by two."""
    if layer.window is None:
        return ""
    kernel, stride = layer.window.kernel, layer.window.stride
    moves = "" if stride == (1, 1) else f" /{stride[0]}" if stride[0] == stride[1] else f" /{stride[0]},{stride[1]}"
    return f"{kernel[0]}×{kernel[1]}{moves}"


def label(layer: Layer, *, width: bool = True) -> str:
    """What is written on a layer, with how many maps or units it has unless told otherwise."""
    many = f", {layer.outputs[0]}" if width else ""
    window = window_text(layer)
    if layer.kind == "conv":
        groups = f", {layer.window.groups} groups" if layer.window and layer.window.groups > 1 else ""
        return f"conv {window}{many}{groups}"
    if layer.kind == "linear":
        return f"linear{many.replace(',', '')}"
    named = {
        "depthwise_conv": "depthwise",
        "max_pool": "max pool",
        "average_pool": "average pool",
        "global_pool": "global average",
    }
    return f"{named.get(layer.kind, layer.kind.replace('_', ' '))} {window}".strip()


def written(layer: Layer) -> str:
    """The name of a norm, activation or dropout: its class, or the function that was called."""
    module = layer.module
    if module is None or any(module.children()):
        return layer.name.rpartition(".")[2]
    return type(module).__name__


def body(kind: str, width: float, height: float) -> list[Shape | Line]:
    """The shape of a kind of layer."""
    style = look(kind)
    inset = {"funnel": 6, "cone": 14}.get(style.shape, 0)
    outline = SLAB[3]
    if inset:
        corners = ((0.0, 0.0), (width, 0.0), (width - inset, height), (float(inset), height))
        return [Shape(corners, fill=style.fill, stroke=outline)]
    rounding = {"pill": height / 2, "circle": height / 2}.get(style.shape, 3)
    box = Shape(((0, 0), (width, height)), "box", fill=style.fill, stroke=outline, round=rounding)
    if style.shape != "bars":
        return [box]
    bars = [Shape(((x, 0), (x + 1.5, height)), "box", fill=style.ink) for x in (4.0, width - 5.5)]
    return [box, *bars]


def chip(box: Box, *, width: bool) -> Scene:
    """A layer inside a block: a line of text, thin strips for what follows it."""
    return _box(box, [(label(box.layer, width=width).removeprefix("conv "), False)], minimum=26)


def worded_chip(text: str) -> Scene:
    """A chip that stands for several layers: a gate by which maps are scaled, layers that are left out."""
    scene = Scene(text_width(text, SMALL) + 14, 21, axis=10.5)
    scene.marks.append(Shape(((0, 0), (scene.width, 21)), "box", fill="#ffffff", stroke=SLAB[3], round=10))
    scene.text(scene.width / 2, 14.5, text, size=SMALL, anchor="middle", fill="#111111")
    return scene


def full(box: Box, *, minimum: float = 0, copies: int = 1, weights: int | None = None, named: bool = False) -> Scene:
    """A layer by itself: what it is, the maps that leave it, its weights unless told of those of all copies.

    named: norms and activations with their names.
    """
    if weights is None:
        weights = sum(layer.parameters for layer in box.layers)
    about = " · ".join([shape_text(box.layer.outputs), *([compact(weights)] if weights else [])])
    scene = _box(box, [(label(box.layer), True), (about, False)], minimum=minimum, named=named)
    if copies > 1:
        width, height = scene.width, scene.height
        repeated(scene, copies)
        scene.text(width + 12, height / 2 + 5, f"×{copies}", size=13, bold=True)
        scene.width += 2 * (16 + text_width(f"×{copies}", 13, True))  # as much at the left, where nothing is
        scene.marks = [moved(mark, (scene.width - width) / 2, 0) for mark in scene.marks]
    return scene


def repeated(scene: Scene, copies: int) -> None:
    """The edges of those behind it."""
    for k in range(1, min(copies, 3)):
        x, y, off = scene.width, scene.height, 3.0 * k
        scene.line((off + 4, y + off), (x + off, y + off), (x + off, off + 4), stroke=QUIET)


def _box(box: Box, lines: list[tuple[str, bool]], *, minimum: float, named: bool = False) -> Scene:
    style = look(box.layer.kind)
    strips = [*box.before, *box.after]
    tall = STRIP if named else THIN
    room = {"cone": 38, "pill": 34, "circle": 24, "funnel": 30, "bars": 24}.get(style.shape, 14)
    sizes = [TEXT if bold else SMALL for _, bold in lines]
    widths = [text_width(text, size, bold) for (text, bold), size in zip(lines, sizes, strict=True)]
    names = [text_width(written(layer), SMALL) + 10 for layer in strips] if named else []
    width, height = max([minimum, max(widths) + room, *names]), 8.0 + sum(size + 3 for size in sizes)
    scene, y = Scene(width), 0.0

    def strip(layer: Layer) -> None:
        nonlocal y
        own = look(layer.kind)
        scene.marks.append(Shape(((0, y), (width, y + tall)), "box", fill=own.fill, stroke=SLAB[3]))
        if named:
            scene.text(width / 2, y + 10.5, written(layer), size=SMALL, anchor="middle", fill=own.ink)
        y += tall

    for layer in box.before:
        strip(layer)
    inside = Scene(width, height, list(body(box.layer.kind, width, height)))
    line = 4.0
    for (text, bold), size in zip(lines, sizes, strict=True):
        line += size + 2
        inside.text(width / 2, line - 1, text, size=size, anchor="middle", bold=bold, fill=style.ink)
    scene.put(inside, 0, y)
    scene.axis = y + height / 2
    y += height
    for layer in box.after:
        strip(layer)
    scene.height = y
    return scene


def join(kind: str) -> Scene:
    """The circle in which branches meet."""
    scene = Scene(2 * RADIUS, 2 * RADIUS)
    scene.marks.append(Shape(((RADIUS, RADIUS), (2 * RADIUS, RADIUS)), "circle", fill=look(kind).fill, stroke=SLAB[3]))
    scene.text(RADIUS, RADIUS + 4.2, JOIN.get(kind, "•"), size=12, anchor="middle", bold=True, fill="#111111")
    return scene


def slab(shape: tuple[int, ...]) -> Scene:
    """Maps to scale: height and width by the roots of their sides, thickness by the root of how many there are."""
    rows, columns = (*shape[1:], 1, 1)[:2]
    high, deep, thick = EDGE * sqrt(rows), 0.35 * EDGE * sqrt(columns), max(1.5, DEPTH * sqrt(shape[0]))
    front, top, side, outline = SLAB
    scene = Scene(thick + deep, high + deep)
    scene.marks = [
        Shape(((0, deep), (thick, deep), (thick, deep + high), (0, deep + high)), fill=front, stroke=outline),
        Shape(((0, deep), (deep, 0), (deep + thick, 0), (thick, deep)), fill=top, stroke=outline),
        Shape(
            ((thick, deep), (thick + deep, 0), (thick + deep, high), (thick, deep + high)), fill=side, stroke=outline
        ),
    ]
    return scene


def frame(scene: Scene, title: str, below: str, *, copies: int = 1, dashed: bool = False) -> Scene:
    """A block: its name and how often it comes in a row, what is in it, what is said of it."""
    times = f"×{copies}" if copies > 1 else ""
    need = text_width(title, TEXT, True) + (text_width(times, 13, True) + 16 if times else 0)
    inner = max(scene.width, need, text_width(below, SMALL))
    framed = Scene(inner + 20, scene.height + 42 + (0 if below else -14))
    framed.marks.append(
        Shape(((0, 0), (framed.width, framed.height)), "box", stroke=QUIET if dashed else INK, round=5, dashed=dashed)
    )
    framed.text(10, 16, title, size=TEXT, bold=True)
    if times:
        framed.text(framed.width - 10, 16.5, times, size=13, bold=True, anchor="end")
    framed.put(scene, 10 + (inner - scene.width) / 2, 22)
    if below:
        framed.text(framed.width / 2, framed.height - 7, below, size=SMALL, anchor="middle", fill=QUIET)
    repeated(framed, copies)
    return framed
