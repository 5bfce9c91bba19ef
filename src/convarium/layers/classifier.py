"""How most networks end: the mean of each map, dropout, and a linear layer."""

from torch import Tensor, nn

from convarium.layers.parts import Layers


class AverageAndClassify(nn.Module):
    """A network with that end; to be added after its other modules."""

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
