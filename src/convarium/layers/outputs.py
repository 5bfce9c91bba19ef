"""How networks end, and what those with auxiliary classifiers return while they train."""

from typing import NamedTuple

from torch import Tensor, nn

from convarium.layers.parts import Layers


class AverageAndClassify(nn.Module):
    """A network that ends as most do: the mean of each map, dropout, and a linear layer, added after all else."""

    def add_classifier(self, width: int, num_classes: int, layers: Layers) -> None:
        """The end for `width` maps, then the initialization of the whole network."""
        self.average = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(layers.dropout)
        self.classifier = nn.Linear(width, num_classes)
        layers.init(self)

    def classify(self, maps: Tensor) -> Tensor:
        """(N, width, H, W) -> (N, num_classes)."""
        logits: Tensor = self.classifier(self.dropout(self.average(maps).flatten(1)))
        return logits


class Outputs(NamedTuple):
    """Logits (N, classes) of the classifier and of each auxiliary classifier, the lowest first."""

    logits: Tensor
    aux: tuple[Tensor, ...]
