"""Loss and metrics of a split, as sums that stay on the device until the epoch ends.

Every metric is a `torchmetrics.Metric` of (N, classes) logits and (N,) class numbers whose `compute` gives one number;
it is called what its key in conf/metrics says (`acc1` becomes `val/acc1`). Those of `Accuracy` are counted together
with the loss, in training too; the others in validation and test.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
import torchmetrics
from torch import Tensor, nn


class Sums(torchmetrics.Metric):
    """A metric whose state is one tensor of sums, exact for any number of batches, sizes and devices."""

    full_state_update = False
    higher_is_better: bool | None = True
    sums: Tensor

    def __init__(self, *shape: int) -> None:
        super().__init__(compute_with_cache=False)  # `sums` may also be set from a checkpoint
        self.add_state("sums", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    @property
    def update_called(self) -> bool:
        """Always: that a rank has had no batch is no reason for torchmetrics to warn."""
        return True

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> nn.Module:
        if fn(torch.empty(0)).device.type == "mps" and self.sums.dtype == torch.float64:  # which has no float64
            self.set_dtype(torch.float32)
        return super()._apply(fn, exclude_state)


class Accuracy(Sums):
    """The share of samples whose class is among the `top` highest logits; not measured of so few classes, for it is 1.

    Classes with equal logits rank by their number, the lowest first, so that a network that says the same of all
    classes is right as often as the first class comes; a target whose logit is nan is never right.
    """

    def __init__(self, *, top: int = 1) -> None:
        super().__init__(2)
        self.top = top

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add a batch: (N, classes) logits, (N,) class numbers."""
        classes = logits.shape[1]
        right = beaten(logits, targets, torch.arange(classes, device=logits.device)) > classes - self.top
        self.sums.add_(torch.stack((right, torch.ones_like(right))).sum(1, dtype=self.sums.dtype))

    def compute(self) -> Tensor:
        """The share so far; nan for no samples."""
        return self.sums[0] / self.sums[1]


def beaten(logits: Tensor, targets: Tensor, classes: Tensor) -> Tensor:
    """How many of the `classes`, (classes,) numbers from 0, each sample's own ranks before or is; (N,)."""
    target = targets[:, None]
    score = logits.gather(1, target)
    return torch.where(classes >= target, logits <= score, logits < score).sum(1)


class PerClass(Sums):
    """What each class is counted by: how often it was hit, predicted, and there; `sums` (3, classes)."""

    def __init__(self, *, num_classes: int) -> None:
        super().__init__(3, max(num_classes, 2))

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add a batch: (N, classes) logits, (N,) class numbers."""
        predicted = logits.argmax(1)
        ones = torch.ones_like(targets, dtype=self.sums.dtype)
        hits, guesses, there = self.sums
        hits.index_add_(0, targets, (predicted == targets).to(ones.dtype))
        guesses.index_add_(0, predicted, ones)
        there.index_add_(0, targets, ones)


class BalancedAccuracy(PerClass):
    """The mean over the classes that occur of the share of their samples that are right (Brodersen et al. 2010)."""

    def compute(self) -> Tensor:
        hits, _, there = self.sums
        occurs = there > 0
        mean: Tensor = (hits[occurs] / there[occurs]).mean()
        return mean


class MacroF1(PerClass):
    """The mean over the classes, of those that occur or are predicted, of the F1 score 2 hits / (predicted + there)."""

    def compute(self) -> Tensor:
        hits, guesses, there = self.sums
        occurs = guesses + there > 0
        mean: Tensor = (2 * hits[occurs] / (guesses + there)[occurs]).mean()
        return mean


class Tally(Sums):
    """Mean loss, and the accuracies that are asked for, by ten small kernels a batch and without a synchronization.

    `sums` is the whole state: the loss, the samples among the first `top` for each accuracy, and how many there were.
    One logit says class 1 where it is positive.
    """

    higher_is_better = None

    def __init__(self, num_classes: int, tops: Mapping[str, int] | None = None) -> None:
        ranked = max(num_classes, 2)
        tops = {"acc1": 1, "acc5": 5} if tops is None else tops
        tops = {name: top for name, top in tops.items() if top < ranked}
        super().__init__(2 + len(tops))
        self.tops = tops
        self._classes = torch.arange(ranked)
        # the last row counts the samples
        self._must_beat = torch.tensor([*([ranked - top] for top in self.tops.values()), [-1]])

    def update(self, losses: Tensor, logits: Tensor, targets: Tensor) -> None:
        """Add a batch: (N,) losses, (N, classes) logits, (N,) class numbers."""
        if self._classes.device != logits.device:
            self._classes = self._classes.to(logits.device)
            self._must_beat = self._must_beat.to(logits.device)
        logits = two_columns(logits)
        rows = torch.cat((losses[None], beaten(logits, targets, self._classes) > self._must_beat))
        self.sums.add_(rows.sum(1, dtype=self.sums.dtype))

    def compute(self) -> dict[str, Tensor]:
        """The means over all samples so far, by name; nan for no samples."""
        loss, *right, count = self.sums.unbind()
        return {"loss": loss / count, **{name: hits / count for name, hits in zip(self.tops, right, strict=True)}}


def two_columns(logits: Tensor) -> Tensor:
    """One logit (N, 1) as those of two classes (N, 2); any other logits as they are."""
    return F.pad(logits, (1, 0)) if logits.shape[1] == 1 else logits
