"""The layers of a network as rows: what each costs and sees, one by one, by blocks or by stages; and networks side by
side."""

import re
from collections.abc import Sequence
from itertools import groupby
from math import prod
from typing import Any, NamedTuple

from torch import nn

from convarium.anatomy.sheet import Column, Sheet
from convarium.anatomy.trace import IMAGE, Layer, Window

LEVELS = {"layers": r".+", "blocks": r"[^.]+(\.\d\w*)*", "stages": r"[^.]+(\.\d\w*)?"}
"""What of a layer's name is the name of its row."""
IN_PLACE = {"activation", "dropout"}  # they may write over what they read: no maps of their own are counted
WEIGHTED = {"conv", "depthwise_conv", "linear"}
COLUMNS = (
    Column("name", "layer"),
    Column("kind", "kind"),
    Column("window", "k/s/p"),
    Column("output", "output"),
    Column("parameters", "params", is_number=True, has_share=True),
    Column("multiply_adds", "mult-adds", is_number=True, has_share=True),
    Column("forward_bytes", "bytes out", is_number=True, has_share=True, spared=2),
    Column("kept_bytes", "kept", is_number=True, spared=1),
    Column("field", "sees"),
)
LEGEND = (
    "k/s/p: kernel, stride, padding. bytes out: maps of one image in float32; activations and dropout work in place."
    " kept: what autograd keeps of them for the backward pass. sees: receptive field, its size / stride / first pixel"
    " (of the first unit); without what norms and gates take from whole maps."
)


class Totals(NamedTuple):
    """What a network has in all, of one image; bytes are of single precision."""

    parameters: int
    multiply_adds: int
    forward_bytes: int
    kept_bytes: int


def forward_bytes(layer: Layer) -> int:
    """The maps that a layer adds to those that are there."""
    return 0 if layer.kind in IN_PLACE else 4 * prod(layer.outputs)


def totals(layers: Sequence[Layer], image: Sequence[int]) -> Totals:
    """Of these layers and the image: of parameters and operations without auxiliary classifiers, which memory has."""
    main = [layer for layer in layers if not layer.is_auxiliary]
    return Totals(
        sum(layer.parameters for layer in main),
        sum(layer.macs for layer in main),
        4 * prod(image) + sum(map(forward_bytes, layers)),
        image_kept(layers, image) + sum(layer.kept for layer in layers),
    )


def image_kept(layers: Sequence[Layer], image: Sequence[int]) -> int:
    """Bytes of the image, which is kept where a layer with weights reads it."""
    return 4 * prod(image) if any(IMAGE in layer.sources and layer.parameters for layer in layers) else 0


def sheet_of(net: nn.Module, layers: Sequence[Layer], image: Sequence[int], level: str) -> Sheet:
    """A row for each layer, block or stage; equal rows that follow each other are one, with the field of the last."""
    rows = [row_of(net, name, group) for name, group in grouped(layers, level)]
    if level != "layers":
        rows = [_folded(list(same)) for _, same in groupby(rows, _without_place)]
    first = {"name": "image", "output": _sides(image), "forward_bytes": 4 * prod(image)}
    first["kept_bytes"] = image_kept(layers, image)
    total = {"name": "total", **totals(layers, image)._asdict()}
    auxiliary = [layer for layer in layers if layer.is_auxiliary]
    notes = [LEGEND]
    if auxiliary:
        more = f"{sum(layer.parameters for layer in auxiliary):,} parameters"
        notes.append(
            f"Auxiliary classifiers (marked +; of training only) have {more} and"
            f" {sum(layer.macs for layer in auxiliary):,} multiply-adds more, which the totals leave out; they have"
            " their maps."
        )
    return Sheet(COLUMNS, [_shared(row, total) for row in (first, *rows)], total, notes)


def grouped(layers: Sequence[Layer], level: str) -> list[tuple[str, list[Layer]]]:
    """The layers of each row with its name; but for level=layers what works in place, and norms, join those before."""
    groups: list[tuple[str, list[Layer]]] = []
    for layer in layers:
        match = re.match(LEVELS[level], layer.name)
        name = match[0] if match else layer.name
        if groups and (name == groups[-1][0] or (level != "layers" and _joins(layer, groups[-1][1][-1]))):
            groups[-1][1].append(layer)
        else:
            groups.append((name, [layer]))
    return groups


def _joins(layer: Layer, before: Layer) -> bool:
    parent = layer.name.rpartition(".")[0]
    return layer.kind in (*IN_PLACE, "norm") and parent == before.name.rpartition(".")[0] != ""


def row_of(net: nn.Module, name: str, layers: Sequence[Layer]) -> dict[str, Any]:
    """What these layers cost together; of the last one its maps and what these see."""
    last, doing = layers[-1], [layer for layer in layers if layer.kind not in (*IN_PLACE, "norm")] or layers
    windows = [layer.window for layer in layers if layer.window is not None]
    rows, columns = last.field
    kind = doing[0].kind if len(doing) == 1 else type(net.get_submodule(name)).__name__
    return {
        "name": f"+{name}" if last.is_auxiliary else name,
        "kind": kind.replace("_conv", "").replace("_", " "),
        "window": _window(windows[0]) if len(windows) == 1 else "",
        "output": _sides(last.outputs),
        "parameters": sum(layer.parameters for layer in layers),
        "multiply_adds": sum(layer.macs for layer in layers),
        "forward_bytes": sum(map(forward_bytes, layers)),
        "kept_bytes": sum(layer.kept for layer in layers),
        "field": "/".join(_pair((getattr(rows, one), getattr(columns, one))) for one in ("size", "stride", "low")),
    }


def _without_place(row: dict[str, Any]) -> tuple[Any, ...]:
    """What equal siblings share."""
    return tuple(value for key, value in row.items() if key not in ("name", "field"))


def _folded(same: list[dict[str, Any]]) -> dict[str, Any]:
    """Equal rows as one, with what they cost together."""
    if len(same) == 1:
        return same[0]
    sums = {key: sum(row[key] for row in same) for key in Totals._fields}
    first, last = same[0]["name"], same[-1]["name"]
    parent, _, number = last.rpartition(".")
    name = f"{first}-{number}" if first.startswith(f"{parent}.") and parent else f"{first} to {last}"
    return {**same[-1], **sums, "name": name, "kind": f"{len(same)}x {same[0]['kind']}"}


def _shared(row: dict[str, Any], total: dict[str, Any]) -> dict[str, Any]:
    """A row with the share of each figure that has a bar, from 0 to 1."""
    shares = {f"{c.key}_share": (row.get(c.key) or 0) / (total[c.key] or 1) for c in COLUMNS if c.has_share}
    return {**row, **shares}


def _sides(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _pair(pair: Sequence[int]) -> str:
    return str(pair[0]) if pair[0] == pair[-1] else f"{pair[0]}x{pair[-1]}"


def _window(window: Window) -> str:
    text = f"{_pair(window.kernel)}/{_pair(window.stride)}/{_pair(window.padding)}"
    return text if window.dilation == (1, 1) else f"{text} d{_pair(window.dilation)}"


# Side by side

SIDE_BY_SIDE = (
    Column("name", "network"),
    Column("image_size", "px", is_number=True, is_exact=True),
    Column("parameters", "params", is_number=True),
    Column("multiply_adds", "mult-adds", is_number=True),
    Column("forward_bytes", "bytes out", is_number=True),
    Column("depth", "depth", is_number=True, is_exact=True),
    Column("field", "sees", is_number=True),
    Column("top1_error", "top-1", is_number=True),
    Column("top5_error", "top-5", is_number=True),
    Column("errors_on", "errors on"),
    Column("linear_parameters", "in fc", is_share=True, spared=3),
    Column("early_parameters", "early params", is_share=True, spared=1),
    Column("early_bytes", "early bytes", is_share=True, spared=2),
)
SIDE_LEGEND = (
    "px: side of the image. bytes out: maps of one image in float32. depth: layers with weights on the longest path,"
    " gates included. sees: pixels that a unit of the last maps sees, before a mean of all. top-1, top-5: the paper's"
    " error in %, on the data set beside it. in fc: share of the parameters in fully connected layers. early: share of"
    " parameters, and of bytes, in the first half of the layers with weights."
)


def side_by_side(name: str, layers: Sequence[Layer], image: Sequence[int], errors: dict[str, Any]) -> dict[str, Any]:
    """The row of a network in a comparison; errors: the published ones by their columns, and on which data set."""
    main = [layer for layer in layers if not layer.is_auxiliary]
    total = totals(layers, image)
    parameters = total.parameters or 1
    weighted = [k for k, layer in enumerate(main) if layer.kind in WEIGHTED]
    half = weighted[len(weighted) // 2] if weighted else len(main)
    maps = 4 * prod(image) + sum(map(forward_bytes, main))
    return {
        "name": name,
        "image_size": image[-1],
        **total._asdict(),
        "depth": depth(layers),
        "field": sees(layers),
        **errors,
        "linear_parameters": sum(layer.parameters for layer in main if layer.kind == "linear") / parameters,
        "early_parameters": sum(layer.parameters for layer in main[:half]) / parameters,
        "early_bytes": (4 * prod(image) + sum(map(forward_bytes, main[:half]))) / maps,
    }


def depth(layers: Sequence[Layer]) -> int:
    """Layers with weights on the longest path from the image to the logits."""
    longest: list[int] = []
    for layer in layers:
        before = max((longest[source] for source in layer.sources if source != IMAGE), default=0)
        longest.append(before + (layer.kind in WEIGHTED))
    return max((length for length, layer in zip(longest, layers, strict=True) if not layer.is_auxiliary), default=0)


def last_maps(layers: Sequence[Layer]) -> Layer | None:
    """The last layer on the way to the logits that gives maps, and no mean of all of a map."""
    maps = (layer for layer in reversed(layers) if len(layer.outputs) == 3 and layer.kind != "global_pool")
    return next((layer for layer in maps if not layer.is_auxiliary), None)


def sees(layers: Sequence[Layer]) -> str:
    """The size of the receptive field of the last maps; of a network without maps, of its logits."""
    rows, columns = (last_maps(layers) or layers[-1]).field
    return _pair((rows.size, columns.size))
