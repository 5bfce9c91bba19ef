"""Rows of a block: as chips from left to right, as boxes from top to bottom; a fork's branches stand side by side."""

from convarium.anatomy.diagram.glyphs import RADIUS, SLAB, SMALL, STRIP, THIN, chip, full, join, worded_chip, written
from convarium.anatomy.diagram.scene import Scene, Shape, text_width
from convarium.anatomy.diagram.structure import Fork, Row
from convarium.anatomy.palette import look

LONGEST, ENDS = 800, 5  # a longer row of chips is left out but for its ends


def across(row: Row, *, widths: bool) -> Scene:
    """A row from left to right, as chips."""
    scenes = [_fork_across(item, widths) if isinstance(item, Fork) else chip(item, width=widths) for item in row]
    if len(scenes) > ENDS + 1 and sum(scene.width + 8 for scene in scenes) > LONGEST:
        left_out = worded_chip(f"{len(scenes) - ENDS} more")
        scenes = [*scenes[: ENDS - ENDS // 2], left_out, *scenes[-(ENDS // 2) :]]
    axis = max([scene.axis for scene in scenes] or [RADIUS])
    out, x = Scene(14, 2 * axis, axis=axis), 0.0
    for scene in scenes:
        if x:
            out.line((x, axis), (x + 8, axis))
            x += 8
        out.put(scene, x, axis - scene.axis)
        x += scene.width
    if not scenes:
        out.line((0, axis), (out.width, axis))
    return out


def _fork_across(fork: Fork, widths: bool) -> Scene:
    if fork.join is not None and fork.join.kind == "multiply" and () in fork.branches:
        return worded_chip("× gate")
    rows = [across(row, widths=widths) for row in fork.branches]
    right, out, y, axes = max(row.width for row in rows) + 20, Scene(), 0.0, []
    for row in rows:
        axes.append(y + row.axis)
        out.put(row, 10, y)
        out.line((0, axes[-1]), (10, axes[-1]))
        out.line((10 + row.width, axes[-1]), (right, axes[-1]))
        y += row.height + 6
    out.axis = (axes[0] + axes[-1]) / 2
    for x in (0, right):
        out.line((x, axes[0]), (x, axes[-1]))
    out.width = right
    if fork.join is not None:
        out.line((right, out.axis), (right + 6, out.axis))
        out.put(join(fork.join.kind), right + 6, out.axis - RADIUS)
    return out


def down(row: Row, *, named: bool) -> Scene:
    """A row from top to bottom, as boxes; its line runs at half its width."""
    scenes = [
        _fork_down(item, named) if isinstance(item, Fork) else full(item, minimum=70, named=named) for item in row
    ]
    width = max([scene.width for scene in scenes] or [14.0])
    out, y = Scene(width), 0.0
    for item, scene in zip(row, scenes, strict=True):
        if y:  # a fork has arrows of its own
            (out.line if isinstance(item, Fork) else out.arrow)((width / 2, y), (width / 2, y + 14))
            y += 14
        out.put(scene, (width - scene.width) / 2, y)
        y += scene.height
    out.width, out.height = width, y
    return out


def _fork_down(fork: Fork, named: bool) -> Scene:
    rows = [down(row, named=named) for row in fork.branches]
    height = max(row.height for row in rows)
    out, x, middles = Scene(), 0.0, []
    for row in rows:
        middles.append(x + row.width / 2)
        x += row.width + 12
    width = x - 12
    centre = width / 2
    top, bottom = 12.0, 12 + 12 + height + 10
    for row, middle, inside in zip(rows, middles, fork.branches, strict=True):
        if inside:
            out.arrow((middle, top), (middle, top + 12))
        out.put(row, middle - row.width / 2, top + 12)
        out.line((middle, top + (12 if inside else 0) + row.height), (middle, bottom))
    out.line((centre, 0), (centre, top))
    for y in (top, bottom):
        out.line((min(centre, *middles), y), (max(centre, *middles), y))
    y = bottom + 8
    if fork.join is not None:
        out.arrow((centre, bottom), (centre, y + 4))
        out.put(join(fork.join.kind), centre - RADIUS, y + 4)
        y += 4 + 2 * RADIUS
    else:
        out.line((centre, bottom), (centre, y))
    if fork.after:
        after = _after(fork, named)
        out.line((centre, y), (centre, y + 6))
        out.put(after, centre - after.width / 2, y + 6)
        y += 6 + after.height
    out.width, out.height = width, y
    return out


def _after(fork: Fork, named: bool) -> Scene:
    """What follows the join of a fork, in strips."""
    width = max([40.0, *(text_width(written(layer), SMALL) + 12 for layer in fork.after if named)])
    tall = STRIP if named else THIN
    out = Scene(width, tall * len(fork.after))
    for k, layer in enumerate(fork.after):
        style = look(layer.kind)
        out.marks.append(Shape(((0, k * tall), (width, (k + 1) * tall)), "box", fill=style.fill, stroke=SLAB[3]))
        if named:
            out.text(width / 2, k * tall + 10.5, written(layer), size=SMALL, anchor="middle", fill=style.ink)
    return out
