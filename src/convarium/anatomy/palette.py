"""One look for each kind of layer, the same in every diagram, table and page: a color and a shape.

The colors are Okabe and Ito's (2008), which people who do not tell red from green tell apart; the shape says the same.
"""

from typing import NamedTuple


class Look(NamedTuple):
    """How a kind of layer is drawn."""

    name: str
    fill: str
    shape: str
    """box, bars (a box with a bar at each side), pill, funnel (it narrows), cone (to a point), strip, circle."""
    ink: str = "#111111"  # of the text on it: at least 4.5 : 1


OTHER = Look("other", "#d4d4d8", "box")
LOOKS = {
    "conv": Look("convolution", "#56b4e9", "box"),
    "depthwise_conv": Look("depthwise convolution", "#0072b2", "bars", "#ffffff"),
    "linear": Look("linear", "#e69f00", "pill"),
    "max_pool": Look("maximum pooling", "#009e73", "funnel"),
    "average_pool": Look("average pooling", "#8fd6c1", "funnel"),
    "global_pool": Look("global average", "#8fd6c1", "cone"),
    "norm": Look("norm", "#f0e442", "strip"),
    "activation": Look("activation", "#cc79a7", "strip"),
    "dropout": Look("dropout", "#6b7280", "strip", "#ffffff"),
    "pad": Look("padding", "#d4d4d8", "strip"),
    "add": Look("sum", "#ffffff", "circle"),
    "concat": Look("concatenation", "#ffffff", "circle"),
    "multiply": Look("product (gate)", "#ffffff", "circle"),
}


def look(kind: str) -> Look:
    """The look of a kind of layer (`trace.Layer.kind`)."""
    return LOOKS.get(kind, OTHER)
