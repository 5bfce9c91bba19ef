"""The policies that AutoAugment found (Cubuk et al. 2018, arXiv:1805.09501, appendix): 25 pairs of steps each."""

from typing import NamedTuple


class Step(NamedTuple):
    """One of the two steps of a sub-policy; the magnitude is one of 0 to 9, and means nothing where there is none."""

    operation: str
    probability: float
    magnitude: int = 0


Policy = tuple[tuple[Step, Step], ...]

CIFAR10: Policy = (
    (Step("invert", 0.1), Step("contrast", 0.2, 6)),
    (Step("rotate", 0.7, 2), Step("translate_x", 0.3, 9)),
    (Step("sharpness", 0.8, 1), Step("sharpness", 0.9, 3)),
    (Step("shear_y", 0.5, 8), Step("translate_y", 0.7, 9)),
    (Step("autocontrast", 0.5), Step("equalize", 0.9)),
    (Step("shear_y", 0.2, 7), Step("posterize", 0.3, 7)),
    (Step("color", 0.4, 3), Step("brightness", 0.6, 7)),
    (Step("sharpness", 0.3, 9), Step("brightness", 0.7, 9)),
    (Step("equalize", 0.6), Step("equalize", 0.5)),
    (Step("contrast", 0.6, 7), Step("sharpness", 0.6, 5)),
    (Step("color", 0.7, 7), Step("translate_x", 0.5, 8)),
    (Step("equalize", 0.3), Step("autocontrast", 0.4)),
    (Step("translate_y", 0.4, 3), Step("sharpness", 0.2, 6)),
    (Step("brightness", 0.9, 6), Step("color", 0.2, 8)),
    (Step("solarize", 0.5, 2), Step("invert", 0.0)),
    (Step("equalize", 0.2), Step("autocontrast", 0.6)),
    (Step("equalize", 0.2), Step("equalize", 0.6)),
    (Step("color", 0.9, 9), Step("equalize", 0.6)),
    (Step("autocontrast", 0.8), Step("solarize", 0.2, 8)),
    (Step("brightness", 0.1, 3), Step("color", 0.7, 0)),
    (Step("solarize", 0.4, 5), Step("autocontrast", 0.9)),
    (Step("translate_y", 0.9, 9), Step("translate_y", 0.7, 9)),
    (Step("autocontrast", 0.9), Step("solarize", 0.8, 3)),
    (Step("equalize", 0.8), Step("invert", 0.1)),
    (Step("translate_y", 0.7, 9), Step("autocontrast", 0.9)),
)

SVHN: Policy = (
    (Step("shear_x", 0.9, 4), Step("invert", 0.2)),
    (Step("shear_y", 0.9, 8), Step("invert", 0.7)),
    (Step("equalize", 0.6), Step("solarize", 0.6, 6)),
    (Step("invert", 0.9), Step("equalize", 0.6)),
    (Step("equalize", 0.6), Step("rotate", 0.9, 3)),
    (Step("shear_x", 0.9, 4), Step("autocontrast", 0.8)),
    (Step("shear_y", 0.9, 8), Step("invert", 0.4)),
    (Step("shear_y", 0.9, 5), Step("solarize", 0.2, 6)),
    (Step("invert", 0.9), Step("autocontrast", 0.8)),
    (Step("equalize", 0.6), Step("rotate", 0.9, 3)),
    (Step("shear_x", 0.9, 4), Step("solarize", 0.3, 3)),
    (Step("shear_y", 0.8, 8), Step("invert", 0.7)),
    (Step("equalize", 0.9), Step("translate_y", 0.6, 6)),
    (Step("invert", 0.9), Step("equalize", 0.6)),
    (Step("contrast", 0.3, 3), Step("rotate", 0.8, 4)),
    (Step("invert", 0.8), Step("translate_y", 0.0, 2)),
    (Step("shear_y", 0.7, 6), Step("solarize", 0.4, 8)),
    (Step("invert", 0.6), Step("rotate", 0.8, 4)),
    (Step("shear_y", 0.3, 7), Step("translate_x", 0.9, 3)),
    (Step("shear_x", 0.1, 6), Step("invert", 0.6)),
    (Step("solarize", 0.7, 2), Step("translate_y", 0.6, 7)),
    (Step("shear_y", 0.8, 4), Step("invert", 0.8)),
    (Step("shear_x", 0.7, 9), Step("translate_y", 0.8, 3)),
    (Step("shear_y", 0.8, 5), Step("autocontrast", 0.7)),
    (Step("shear_x", 0.7, 2), Step("invert", 0.1)),
)

IMAGENET: Policy = (
    (Step("posterize", 0.4, 8), Step("rotate", 0.6, 9)),
    (Step("solarize", 0.6, 5), Step("autocontrast", 0.6)),
    (Step("equalize", 0.8), Step("equalize", 0.6)),
    (Step("posterize", 0.6, 7), Step("posterize", 0.6, 6)),
    (Step("equalize", 0.4), Step("solarize", 0.2, 4)),
    (Step("equalize", 0.4), Step("rotate", 0.8, 8)),
    (Step("solarize", 0.6, 3), Step("equalize", 0.6)),
    (Step("posterize", 0.8, 5), Step("equalize", 1.0)),
    (Step("rotate", 0.2, 3), Step("solarize", 0.6, 8)),
    (Step("equalize", 0.6), Step("posterize", 0.4, 6)),
    (Step("rotate", 0.8, 8), Step("color", 0.4, 0)),
    (Step("rotate", 0.4, 9), Step("equalize", 0.6)),
    (Step("equalize", 0.0), Step("equalize", 0.8)),
    (Step("invert", 0.6), Step("equalize", 1.0)),
    (Step("color", 0.6, 4), Step("contrast", 1.0, 8)),
    (Step("rotate", 0.8, 8), Step("color", 1.0, 2)),
    (Step("color", 0.8, 8), Step("solarize", 0.8, 7)),
    (Step("sharpness", 0.4, 7), Step("invert", 0.6)),
    (Step("shear_x", 0.6, 5), Step("equalize", 1.0)),
    (Step("color", 0.4, 0), Step("equalize", 0.6)),
    (Step("equalize", 0.4), Step("solarize", 0.2, 4)),
    (Step("solarize", 0.6, 5), Step("autocontrast", 0.6)),
    (Step("invert", 0.6), Step("equalize", 1.0)),
    (Step("color", 0.6, 4), Step("contrast", 1.0, 8)),
    (Step("equalize", 0.8), Step("equalize", 0.6)),
)

POLICIES = {"imagenet": IMAGENET, "cifar10": CIFAR10, "svhn": SVHN}
