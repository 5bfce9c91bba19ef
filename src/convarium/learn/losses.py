"""Losses of a classifier, one value per sample; those of auxiliary classifiers are added, each with its weight.

A network with one logit (binary data) has targets 0 and 1 and says 1 where the logit is positive, with every loss.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convarium.layers.outputs import Outputs


class ClassificationLoss(nn.Module):
    """A loss per sample, in float32 also under autocast; subclasses say what a wrong score costs.

    `aux_weight` is what the loss of each auxiliary classifier counts beside the main one (0.3: Szegedy et al. 2014,
    section 5). `class_weights`: in training, what the loss of a sample counts by its class: a number each, or
    "balanced", N / (classes x images of the class), so that each class counts alike and a sample 1 on the average. The
    mean over a batch is over its samples, not over their weights: so it is the same however it is divided.
    """

    weights: Tensor | None  # (classes,)

    def __init__(self, *, class_weights: str | Sequence[float] | None = None, aux_weight: float = 0.3) -> None:
        super().__init__()
        self.aux_weight = aux_weight
        self.class_weights = class_weights
        self.register_buffer("weights", None, persistent=False)

    def balance(self, counts: Tensor) -> None:
        """Take up how many training images there are of each class, int64 (classes,). Raises ValueError for class
        weights that are not one for each."""
        if isinstance(self.class_weights, str):
            present = (counts > 0).sum()
            self.weights = torch.where(counts > 0, counts.sum() / (present * counts.clamp(min=1)), 0.0).float()
        elif self.class_weights is not None:
            weights = torch.tensor(self.class_weights, dtype=torch.float32)
            if weights.shape != counts.shape or not weights.any():
                accepted = f"balanced, or a number for each of {len(counts)} classes, not all of them 0"
                raise ValueError(f"loss.class_weights={self.class_weights}: accepted: {accepted}")
            self.weights = weights

    def weighted(self, logits: Tensor, targets: Tensor) -> Tensor:
        """`cost` in float32, in training by the weights of the classes."""
        cost = self.cost(logits.float(), targets)
        return cost if self.weights is None or not self.training else cost * self.weights[targets]

    def is_of_probabilities(self, num_classes: int) -> bool:
        """Whether it is the same for the logits and for the logarithm of their softmax (of one logit: sigmoid).

        Then views of a picture, whose probabilities are averaged, have a loss too.
        """
        return False

    def check_heads(self, auxiliary: int) -> None:
        """Raise ValueError unless it is a loss of a network with so many auxiliary classifiers."""

    def forward(self, outputs: Tensor | Outputs, targets: Tensor) -> Tensor:
        """(N, classes) logits or Outputs, and (N,) class numbers -> (N,) losses."""
        if not isinstance(outputs, Outputs):
            return self.weighted(outputs, targets)
        loss = self.weighted(outputs.logits, targets)
        for logits in outputs.aux:
            loss = loss + self.aux_weight * self.weighted(logits, targets)
        return loss

    def cost(self, logits: Tensor, targets: Tensor) -> Tensor:
        """What each sample's logits (N, classes), float32, cost: (N,)."""
        raise NotImplementedError  # abstract: a loss says


class CrossEntropy(ClassificationLoss):
    """Cross-entropy of the softmax; `label_smoothing` is spread over all classes (Szegedy et al. 2015, section 7)."""

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        class_weights: str | Sequence[float] | None = None,
        aux_weight: float = 0.3,
    ) -> None:
        super().__init__(class_weights=class_weights, aux_weight=aux_weight)
        self.label_smoothing = label_smoothing

    def is_of_probabilities(self, num_classes: int) -> bool:
        return True

    def cost(self, logits: Tensor, targets: Tensor) -> Tensor:
        if logits.shape[1] == 1:
            raise ValueError(
                "cross-entropy of a softmax over one logit is always 0; loss=bce is its form for binary data"
            )
        return F.cross_entropy(logits, targets, reduction="none", label_smoothing=self.label_smoothing)


class MeanSquaredError(ClassificationLoss):
    """Mean over the classes of the squared distance to the one-hot code; one logit aims at -1 and 1.

    With `on` probabilities, that of the softmax to the one-hot code (of forecasts: Brier 1950); of one logit that of
    its sigmoid to 0 or 1. It is all but blind where the network is sure and wrong: with a probability p of the right
    class, the gradient of that class's score is at most 2 p, where that of cross-entropy is 1 - p.
    """

    def __init__(
        self,
        *,
        on: str = "scores",
        class_weights: str | Sequence[float] | None = None,
        aux_weight: float = 0.3,
    ) -> None:
        super().__init__(class_weights=class_weights, aux_weight=aux_weight)
        if on not in ("scores", "probabilities"):
            raise ValueError(f"on={on}: accepted are scores, probabilities")
        self.on = on

    def is_of_probabilities(self, num_classes: int) -> bool:
        return self.on == "probabilities"

    def cost(self, logits: Tensor, targets: Tensor) -> Tensor:
        binary, wanted = logits.shape[1] == 1, _one_hot(logits, targets)
        if self.on == "probabilities":
            given = logits.sigmoid() if binary else logits.softmax(1)
        else:
            given, wanted = logits, 2 * wanted - 1 if binary else wanted
        return F.mse_loss(given, wanted, reduction="none").mean(1)


class Hinge(ClassificationLoss):
    """Multiclass support vector machine (Weston & Watkins 1999): a wrong class must stay `margin` below the right one.

    Summed over the wrong classes; `power` 2 squares what is missing. One logit: the usual hinge with targets -1 and 1.
    """

    def __init__(
        self,
        *,
        margin: float = 1.0,
        power: int = 1,
        class_weights: str | Sequence[float] | None = None,
        aux_weight: float = 0.3,
    ) -> None:
        super().__init__(class_weights=class_weights, aux_weight=aux_weight)
        self.margin = margin
        self.power = power

    def is_of_probabilities(self, num_classes: int) -> bool:
        return True

    def cost(self, logits: Tensor, targets: Tensor) -> Tensor:
        if logits.shape[1] == 1:
            return (self.margin - (2 * _one_hot(logits, targets) - 1) * logits).clamp(min=0).pow(self.power).squeeze(1)
        mean = F.multi_margin_loss(logits, targets, p=self.power, margin=self.margin, reduction="none")
        return mean * logits.shape[1]


class Perceptron(ClassificationLoss):
    """max(0, -t s) of each unit's score s, with t = 1 for the sample's own class and -1 for the others, summed.

    One logit: t from the target. A score of 0 counts as wrong and has the gradient -t, so that learning can start from
    zero weights. Plain SGD on batches of one then is Rosenblatt's rule: w + lr t x for each unit with t s <= 0.
    """

    def cost(self, logits: Tensor, targets: Tensor) -> Tensor:
        agreement = (2 * _one_hot(logits, targets) - 1) * logits
        return torch.where(agreement <= 0, -agreement, 0.0).sum(1)


class MaximumAPosteriori(ClassificationLoss):
    """-log of the posterior of the right class, for logits that are minus the distances from the classes.

    With distances y, y_right + log(exp(-rubbish_distance) + sum exp(-y)): a rubbish class, which no sample is of, lies
    equally far from everything (LeCun et al. 1998, equation 9). Without it this is the cross-entropy.
    """

    def __init__(
        self,
        *,
        rubbish_distance: float = 1.0,
        class_weights: str | Sequence[float] | None = None,
        aux_weight: float = 0.3,
    ) -> None:
        super().__init__(class_weights=class_weights, aux_weight=aux_weight)
        self.rubbish_distance = rubbish_distance

    def cost(self, logits: Tensor, targets: Tensor) -> Tensor:
        if logits.shape[1] == 1:
            raise ValueError("one logit is no distance from a class; loss=bce is the posterior of binary data")
        return F.cross_entropy(F.pad(logits, (0, 1), value=-self.rubbish_distance), targets, reduction="none")


class BinaryCrossEntropy(ClassificationLoss):
    """Each class against the rest, mean over the classes (as Wightman et al. 2021); one logit: the logistic loss."""

    def is_of_probabilities(self, num_classes: int) -> bool:
        return num_classes == 1

    def cost(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, _one_hot(logits, targets), reduction="none").mean(1)


class PerHead(ClassificationLoss):
    """The loss `main` of the classifier, and a loss of its own, with its weight, of each auxiliary one."""

    def __init__(
        self, *, main: ClassificationLoss, heads: Sequence[ClassificationLoss], weights: Sequence[float]
    ) -> None:
        super().__init__()
        if len(weights) != len(heads):
            raise ValueError(f"weights={list(weights)}: {len(weights)} for {len(heads)} heads; accepted: one for each")
        self.main = main
        self.heads = nn.ModuleList(heads)
        self.head_weights = list(weights)

    def forward(self, outputs: Tensor | Outputs, targets: Tensor) -> Tensor:
        logits = outputs.logits if isinstance(outputs, Outputs) else outputs
        loss = self.weighted(logits, targets)
        if isinstance(outputs, Outputs):
            for head, weight, aux in zip(self.heads, self.head_weights, outputs.aux, strict=True):
                loss = loss + weight * head.weighted(aux, targets)  # type: ignore[operator]  # a ModuleList's items
        return loss

    def balance(self, counts: Tensor) -> None:
        for loss in (self.main, *self.heads):
            loss.balance(counts)

    def weighted(self, logits: Tensor, targets: Tensor) -> Tensor:
        return self.main.weighted(logits, targets)

    def cost(self, logits: Tensor, targets: Tensor) -> Tensor:
        return self.main.cost(logits, targets)

    def is_of_probabilities(self, num_classes: int) -> bool:
        return self.main.is_of_probabilities(num_classes)

    def check_heads(self, auxiliary: int) -> None:
        if auxiliary != len(self.heads):
            raise ValueError(
                f"loss.heads: {len(self.heads)} losses, but the network has {auxiliary} auxiliary classifiers"
            )


def _one_hot(logits: Tensor, targets: Tensor) -> Tensor:
    """1 for the right class, 0 for the others; of one logit the target itself."""
    code = targets[:, None] if logits.shape[1] == 1 else F.one_hot(targets, logits.shape[1])
    return code.to(logits.dtype)
