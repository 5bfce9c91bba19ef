"""What a network with auxiliary classifiers returns while it trains."""

from typing import NamedTuple

from torch import Tensor


class Outputs(NamedTuple):
    """Logits (N, classes) of the classifier and of each auxiliary classifier, the lowest first."""

    logits: Tensor
    aux: tuple[Tensor, ...]
