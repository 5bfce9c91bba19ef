"""Where everything stands: each part with its maps and heads, the spine wrapped into columns, the legend, the notes."""

from collections.abc import Sequence
from itertools import pairwise

from convarium.anatomy.diagram.glyphs import (
    DEPTH,
    EDGE,
    SMALL,
    TEXT,
    body,
    frame,
    full,
    join,
    shape_text,
    slab,
)
from convarium.anatomy.diagram.reasons import AUXILIARY, Reason, reason
from convarium.anatomy.diagram.rows import across, down
from convarium.anatomy.diagram.scene import QUIET, Scene, Shape, text_width, wrapped
from convarium.anatomy.diagram.structure import Fork, Part, Row, walk
from convarium.anatomy.palette import LOOKS, OTHER
from convarium.anatomy.trace import Layer
from convarium.wording import compact

WIDEST = 1200  # pixels of a diagram, if its widest part allows
GAP, BETWEEN = 22, 34  # between parts of a column; between columns
LEAST = 430  # the height up to which one column is enough


class Drawn:
    """A part as it is drawn: its maps, itself, the heads beside it."""

    def __init__(self, part: Part, why: Reason | None, *, detailed: bool, number: int | None = None) -> None:
        self.part = part
        last = part.copies[-1][-1]
        outputs = last.layers[-1].outputs
        copies = len(part.copies)
        weights = sum(layer.parameters for layer in part.layers)
        if part.box:
            self.main = full(part.box, minimum=120, copies=copies, weights=weights, named=detailed)
            left = min(mark.points[0][0] for mark in self.main.marks if isinstance(mark, Shape))
        else:
            inside = down(part.row, named=True) if detailed else across(part.row, widths=part.uniform)
            passing = sum(item.passing for item in walk(part.row) if isinstance(item, Fork))
            more = f" · {passing} more connections" if passing else ""
            self.main = frame(inside, why.name if why else "block", _of(outputs, weights) + more, copies=copies)
            left = 0
        if number is not None:
            self.main.text(left - 4, 10, str(number), size=SMALL, anchor="end", bold=True)
        self.slab = slab(outputs)
        self.heads = [_head(row, detailed) for row in part.heads]
        self.beside = max([0.0, *(26 + head.width for head in self.heads)])
        self.height = max(self.main.height, self.slab.height, sum(head.height + 10 for head in self.heads) - 10)


def _of(outputs: tuple[int, ...], weights: int) -> str:
    return shape_text(outputs) + (f" · {compact(weights)} weights" if weights else "")


def _head(row: Row, detailed: bool) -> Scene:
    layers = [layer for item in row for layer in item.layers]
    return frame(
        down(row, named=detailed),
        AUXILIARY.name,
        _of(layers[-1].outputs, sum(layer.parameters for layer in layers)),
        dashed=True,
    )


def alone(part: Drawn, like: list[Drawn] | None = None) -> Scene:
    """A part by itself, its maps at its left and its heads at its right; below an arrow and in line with those it is
    like, if there are such."""
    column, axis, *_ = _column([part], None, like)
    scene, above = Scene(), GAP if like else 0
    if like:
        scene.arrow((axis, 0), (axis, above))
    scene.put(column, 0, above)
    scene.width, scene.height = scene.width + 10, scene.height + 10
    return scene


def sign(image: tuple[int, ...]) -> Scene:
    """The image, with its size; `axis` is how far right its middle is."""
    scene = slab(image)
    scene.axis, left = scene.width / 2, scene.width + 8
    for k, line in enumerate(("image", shape_text(image))):
        scene.text(left, scene.height / 2 + 13 * k, line, size=SMALL, fill=QUIET)
    scene.width, scene.height = left + text_width(shape_text(image), SMALL), max(scene.height, 28)
    return scene


def diagram(
    parts: Sequence[Part], image: tuple[int, ...], *, title: str, detailed: bool, explain: bool, keyed: bool = True
) -> Scene:
    """The whole picture: title, spine, unless not `keyed` a legend and, with `explain`, why each block is there."""
    reasons = [reason(part, parts) for part in parts]
    drawn = [
        Drawn(part, why, detailed=detailed, number=k if explain else None)
        for k, (part, why) in enumerate(zip(parts, reasons, strict=True), start=1)
    ]
    spine = _spine(drawn, image)
    width = max(spine.width, text_width(title, 15, True), 560 if keyed or explain else 0)
    below = [legend(parts, width)] if keyed else []
    below += [_notes(reasons, drawn, width)] if explain else []
    out, y = Scene(), 20.0
    if title:
        out.text(20, y + 14, title, size=15, bold=True)
        y += 34
    for scene in [spine, *below]:
        out.put(scene, 20, y)
        y += scene.height + 24
    out.width, out.height = width + 40, y
    return out


def _spine(drawn: list[Drawn], image: tuple[int, ...]) -> Scene:
    """The parts in as few columns as keep it wider than high, no wider than WIDEST."""
    heights = [part.height + GAP for part in drawn]
    total = sum(heights)
    best = [list(drawn)]
    for count in range(1, len(drawn) + 1):
        columns = _columns(drawn, heights, count)
        if sum(_width(column) for column in columns) + BETWEEN * (len(columns) - 1) > WIDEST:
            break
        best = columns
        if total / count <= LEAST:
            break
    out, x, above, tail = Scene(), 0.0, 14.0, (0.0, 0.0, 0.0)
    for column in best:
        scene, axis, top, bottom = _column(column, image if not x else None)
        if x:  # from the foot of the column before to the head of this one
            (left, start, foot), lane = tail, x - BETWEEN / 2
            turns = ((left, start), (left, foot), (lane, foot), (lane, 2), (x + axis, 2), (x + axis, above + top))
            out.arrow(*turns)
            out.height = max(out.height, foot + 2)
        out.put(scene, x, above)
        tail = (x + axis, above + bottom, above + scene.height + 12)
        x += scene.width + BETWEEN
    return out


def _columns(drawn: list[Drawn], heights: list[float], count: int) -> list[list[Drawn]]:
    """The parts in `count` columns of about the same height."""
    low, high = max(heights), sum(heights)
    while high - low > 1:
        limit = (low + high) / 2
        if len(_cut(drawn, heights, limit)) <= count:
            high = limit
        else:
            low = limit
    return _cut(drawn, heights, high)


def _cut(drawn: list[Drawn], heights: list[float], limit: float) -> list[list[Drawn]]:
    columns, used = [list[Drawn]()], 0.0
    for part, height in zip(drawn, heights, strict=True):
        if columns[-1] and used + height > limit:
            columns.append([])
            used = 0
        columns[-1].append(part)
        used += height
    return columns


def _gutter(column: list[Drawn]) -> float:
    return max(part.slab.width for part in column) + 18


def _width(column: list[Drawn]) -> float:
    main = max(part.main.width for part in column)
    return _gutter(column) + max(main, *((main + part.main.width) / 2 + part.beside for part in column))


def _column(
    column: list[Drawn], image: tuple[int, ...] | None, like: list[Drawn] | None = None
) -> tuple[Scene, float, float, float]:
    """A column with the axis of its boxes, and where the first begins and the last ends."""
    first = sign(image) if image else None
    gutter = _gutter(like or column)
    main = max(part.main.width for part in like or column)
    axis, y, out = gutter + main / 2, 0.0, Scene()
    if image and first:
        out.put(first, axis - first.axis, 0)
        out.arrow((axis, first.height + 2), (axis, first.height + GAP))
        y = first.height + GAP
    top = y
    for part, following in pairwise([*column, None]):
        assert part is not None
        out.put(part.main, axis - part.main.width / 2, y)
        out.put(part.slab, gutter - 18 - part.slab.width, y + max(0, part.main.height - part.slab.height) / 2)
        beside = y
        for head in part.heads:
            left = axis + part.main.width / 2
            at = y + min(part.main.height, beside - y + head.height) - 12
            out.put(head, left + 26, beside)
            out.arrow((left, at), (left + 26, at), dashed=True)
            beside += head.height + 10
        bottom = y + part.main.height
        y += part.height + GAP
        if following is not None:
            out.arrow((axis, bottom), (axis, y))
    out.width = max(out.width, _width(column))
    return out, axis, top, bottom


def legend(parts: Sequence[Part], width: float) -> Scene:
    """What the colors, shapes and sizes mean, of what is in the picture."""
    layers = [layer for part in parts for layer in part.layers]
    layers += [layer for part in parts for row in part.heads for item in row for layer in item.layers]
    items = [_sample(kind) for kind in _kinds(layers)]
    if any(len(part.copies) > 1 for part in parts):
        items.append(_worded("×3", "three of them in a row"))
    if any(part.heads for part in parts):
        items.append(_worded("- -", "in training only"))
    items.append(_worded("56×56×64 · 9.5 k", "the maps that leave it, its weights"))
    out, x, y = Scene(), 0.0, 0.0
    for item in items:
        if x and x + item.width > width:
            x, y = 0, y + 24
        out.put(item, x, y)
        x += item.width + 20
    example = (64, 56, 56)
    cube = slab(example)
    out.put(cube, 0, y + 30)
    meaning = (
        f"maps to scale, here {shape_text(example)}: edges by the root of the side ({EDGE:g} px × √side), "
        f"thickness by that of their number ({DEPTH:g} px × √maps)"
    )
    for k, line in enumerate(wrapped(meaning, SMALL, width - cube.width - 8)):
        out.text(cube.width + 8, y + 44 + 14 * k, line, size=SMALL, fill=QUIET)
        out.height = y + 50 + 14 * k
    return out


def _kinds(layers: Sequence[Layer]) -> list[str]:
    found = {layer.kind for layer in layers}
    return [kind for kind in LOOKS if kind in found] + (["other"] if found - LOOKS.keys() else [])


def _sample(kind: str) -> Scene:
    style = LOOKS.get(kind, OTHER)
    out = Scene()
    if style.shape == "circle":
        sign = join(kind)
    else:
        sign = Scene(30, 16, list(body(kind, 30, 16 if style.shape != "strip" else 8)))
    out.put(sign, 0, 0 if style.shape != "strip" else 4)
    out.text(sign.width + 6, 12, style.name, size=SMALL)
    out.width = sign.width + 6 + text_width(style.name, SMALL)
    return out


def _worded(sign: str, meaning: str) -> Scene:
    out = Scene()
    out.text(0, 12, sign, size=TEXT, bold=True)
    left = text_width(sign, TEXT, True) + 6
    out.text(left, 12, meaning, size=SMALL)
    out.width = left + text_width(meaning, SMALL)
    return out


def _notes(reasons: list[Reason | None], drawn: list[Drawn], width: float) -> Scene:
    """A line for each reason, with the numbers of the blocks that it holds for."""
    numbers: dict[Reason, list[int]] = {}
    for number, why in enumerate(reasons, start=1):
        if why:
            numbers.setdefault(why, []).append(number)
    lines = [(ranges(of), why) for why, of in numbers.items()]
    if any(part.heads for part in drawn):
        lines.append(("", AUXILIARY))
    out, y = Scene(), 0.0
    for of, why in lines:
        head = f"{of}  {why.name}".strip()
        out.text(0, y + 11, head, size=TEXT, bold=True)
        y += 16
        for line in wrapped(f"{why.why} ({why.source})", SMALL, width - 14):
            out.text(14, y + 9, line, size=SMALL, fill=QUIET)
            y += 14
        y += 5
    out.height = y
    return out


def ranges(numbers: Sequence[int]) -> str:
    """ "3 to 5, 8" of 3, 4, 5, 8."""
    runs = list[list[int]]()
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)
