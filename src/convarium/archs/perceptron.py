"""The perceptron: Rosenblatt, "The Perceptron: A Probabilistic Model for Information Storage and Organization in the
Brain", 1958.

Differs: the units see the pixels themselves; the paper has a layer of fixed random connections in between. The weights
start at zero, so that with loss=perceptron the learning rate only scales them. What the network returns are the sums
before the step, for the loss and for choosing among classes; `fire` is the step of them.
"""

from torch import Tensor, nn

from convarium.layers import AS_IN_PAPER, Layers, Parts
from convarium.layers.activation import Step
from convarium.layers.init import zeros
from convarium.layers.norm import none
from convarium.layers.pooling import average_pool

PAPER = Layers(norm=none, activation=Step, pool=average_pool, init=zeros)


class Perceptron(nn.Module):
    """One layer of units that fire or do not, one unit per class; (N, C, H, W) -> (N, num_classes), the sums.

    loss=perceptron with optimizer=sgd and batches of one image is Rosenblatt's rule. Dropout, which the paper has not,
    is of the pixels. Raises ValueError for a norm, an activation or a pooling, which have no place.
    """

    def __init__(
        self, *, in_channels: int = 1, num_classes: int = 10, image_size: int = 28, parts: Parts = AS_IN_PAPER
    ) -> None:
        super().__init__()
        parts.refuse("norm", "activation", "pool", why="a perceptron has one layer and its step")
        layers = parts.over(PAPER)
        self.dropout = nn.Dropout(layers.dropout)
        self.classifier = nn.Linear(in_channels * image_size**2, num_classes)
        self.step = layers.activation()
        layers.init(self)

    def forward(self, x: Tensor) -> Tensor:
        sums: Tensor = self.classifier(self.dropout(x.flatten(1)))  # (N, num_classes)
        return sums

    def fire(self, x: Tensor) -> Tensor:
        """Which units fire: 1 where the sum is positive, else 0; (N, C, H, W) -> (N, num_classes)."""
        fired: Tensor = self.step(self(x))
        return fired
