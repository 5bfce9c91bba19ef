"""The fully connected networks of LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document
Recognition", 1998, section III.C; with no hidden layer, the linear classifier of the same section.

Differs: linear outputs, to be trained with any loss (with cross-entropy the linear classifier is logistic regression);
the paper had a mean square error on squashed ones.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from convarium.layers import AS_IN_PAPER, Layers, Parts
from convarium.layers.activation import ScaledTanh
from convarium.layers.init import uniform_fan_in
from convarium.layers.norm import none
from convarium.layers.pooling import average_pool

HIDDEN = (300, 100)
PAPER = Layers(norm=none, activation=ScaledTanh, pool=average_pool, init=uniform_fan_in)


class MLP(nn.Module):
    """Hidden layers of the given widths between the pixels and a linear classifier; (N, C, H, W) -> (N, num_classes).

    Raises ValueError for a part that has no place: pooling, and with no hidden layer also norm and activation.
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        num_classes: int = 10,
        image_size: int = 28,
        parts: Parts = AS_IN_PAPER,
        hidden: Sequence[int] = HIDDEN,
    ) -> None:
        super().__init__()
        parts.refuse("pool", why="a perceptron has no maps to pool")
        if not hidden:
            parts.refuse("norm", "activation", why="a network with no hidden layer has no place for it")
        layers = parts.over(PAPER)
        widths = [in_channels * image_size**2, *hidden]
        self.hidden = nn.Sequential(
            nn.Flatten(), *(layers.linear(fan_in, width) for fan_in, width in zip(widths, hidden, strict=False))
        )
        self.dropout = nn.Dropout(layers.dropout)
        self.classifier = nn.Linear(widths[-1], num_classes)
        layers.init(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.hidden(x)  # (N, last width)
        logits: Tensor = self.classifier(self.dropout(x))  # (N, num_classes)
        return logits
