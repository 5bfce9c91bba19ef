"""Whether a network says the same of an image that is moved by a few pixels."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from convarium.learn.metrics import Sums, two_columns


class ShiftTest(Sums):
    """Answers to images moved by up to `pixels` along each side, held against those to the images where they are.

    `consistency` is the share of all pairs of an image and a shift whose class is that of the image where it is (Zhang
    2019, arXiv:1904.11486, who compares two random shifts), `shifted_acc1` the accuracy over the same pairs. There are
    (2 pixels + 1)**2 - 1 shifts, so many times as long does a test take.
    """

    def __init__(self, pixels: int) -> None:
        super().__init__(3)
        self.pixels = pixels

    def update(self, logits_of: Callable[[Tensor], Tensor], images: Tensor, logits: Tensor, targets: Tensor) -> None:
        """Add a batch: the function that gives logits, (N, C, H, W) images, its (N, classes) logits of them, (N,) class
        numbers.
        """
        answers = two_columns(logits).argmax(1)
        for moved in shifted(images, self.pixels):
            others = two_columns(logits_of(moved)).argmax(1)
            rows = torch.stack((others == answers, others == targets, torch.ones_like(answers, dtype=torch.bool)))
            self.sums.add_(rows.sum(1, dtype=self.sums.dtype))

    def compute(self) -> dict[str, Tensor]:
        """The shares so far, by name; nan for no images."""
        alike, right, pairs = self.sums
        return {"consistency": alike / pairs, "shifted_acc1": right / pairs}


def shifted(images: Tensor, pixels: int) -> Iterator[Tensor]:
    """(N, C, H, W) images moved by -pixels..pixels along each side, but for not at all; edges are repeated."""
    height, width = images.shape[2:]
    wide = F.pad(images, (pixels, pixels, pixels, pixels), mode="replicate")
    for top in range(2 * pixels + 1):
        for left in range(2 * pixels + 1):
            if (top, left) != (pixels, pixels):
                yield wide[:, :, top : top + height, left : left + width]
