"""Weights that others have published, brought into our networks.

A layout is a table in the file of its family here; it is recognized by its keys, never by the name of an architecture.
"""

from convarium.archs.weights import alexnet, efficientnet, inception_v1, inception_v3, resnet, vgg
from convarium.archs.weights.files import read_file, tensors
from convarium.archs.weights.fitting import Fitted, fit
from convarium.archs.weights.layout import Layout, Settings, State

FAMILIES = (alexnet, vgg, inception_v1, inception_v3, efficientnet, resnet)
LAYOUTS = tuple(layout for family in FAMILIES for layout in family.LAYOUTS)
LIKENESS = 0.6  # share of a layout's marks

__all__ = ["LAYOUTS", "Fitted", "Layout", "Settings", "State", "fit", "read_file", "recognize", "tensors"]


def recognize(state: State) -> Layout | None:
    """The layout that these keys are of, also if a few are missing; None: ours, or none that is known."""
    best = max(LAYOUTS, key=lambda layout: layout.likeness(state))
    return best if best.likeness(state) >= LIKENESS else None
