"""What a loader hands to the learner."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """One micro-batch of one rank."""

    images: Tensor
    """(N, C, H, W): uint8 out of the loader, normalized float32 once it is on the device."""
    targets: Tensor
    """(N,) int64 class numbers."""
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody needs of a batch
    """(N,) int64: which samples of the split's source these are; half of every per-sample random key."""
    epoch: int
    """The epoch, from 0."""
    number: int
    """Micro-batches since the start of training (in evaluation, of this pass)."""
    weight: float = 1.0
    """Factor on the mean loss that makes the averaged gradient the mean over the samples; 1 but in a short last one."""
    training: bool = False
    """Whether the batch is to be augmented."""
    mix: tuple[Tensor, Tensor] | None = None
    """Of images mixed in pairs: the partners' class numbers (N,), and the share (N,) of the own class in the target."""
