"""Loss and accuracy of a split, as sums that stay on the device until the epoch ends."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
import torchmetrics
from torch import Tensor


class Tally(torchmetrics.Metric):
    """Mean loss, top-1 and top-5 accuracy, exact for any number of batches, sizes and devices.

    `sums` (4,) is the whole state: loss, correct among the first one, among the first five, samples. Classes with
    equal logits rank by their number, the lowest first, so that a network that says the same of all classes is right as
    often as the first class comes; a target whose logit is nan is never right. One logit says class 1 where positive.
    """

    full_state_update = False
    higher_is_better = None
    sums: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__(compute_with_cache=False)  # `sums` may also be set from a checkpoint
        self.num_classes = num_classes
        self.add_state("sums", torch.zeros(4, dtype=torch.float64), dist_reduce_fx="sum")
        ranked = max(num_classes, 2)
        self._classes = torch.arange(ranked)
        self._must_beat = torch.tensor([[ranked - 1], [ranked - 5], [-1]])  # the last row counts the samples

    def update(self, losses: Tensor, logits: Tensor, targets: Tensor) -> None:
        """Add a batch: (N,) losses, (N, classes) logits, (N,) class numbers. Ten small kernels, no synchronization."""
        if self._classes.device != logits.device:
            self._classes = self._classes.to(logits.device)
            self._must_beat = self._must_beat.to(logits.device)
        if self.num_classes == 1:
            logits = F.pad(logits, (1, 0))
        target = targets[:, None]
        score = logits.gather(1, target)
        beaten = torch.where(self._classes >= target, logits <= score, logits < score).sum(1)  # itself included
        rows = torch.cat((losses[None], beaten > self._must_beat))
        self.sums.add_(rows.sum(1, dtype=self.sums.dtype))

    def compute(self) -> dict[str, Tensor]:
        """The means over all samples so far: loss, acc1 and, for five classes or more, acc5; nan for no samples."""
        loss, correct1, correct5, count = self.sums.unbind()
        means = {"loss": loss / count, "acc1": correct1 / count}
        if self.num_classes >= 5:
            means["acc5"] = correct5 / count
        return means

    @property
    def update_called(self) -> bool:
        """Always: that a rank has had no batch is no reason for torchmetrics to warn."""
        return True

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> torch.nn.Module:
        if fn(torch.empty(0)).device.type == "mps" and self.sums.dtype == torch.float64:  # which has no float64
            self.set_dtype(torch.float32)
        return super()._apply(fn, exclude_state)
