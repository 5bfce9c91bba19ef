"""What the answers of a run to its test images say of its classes and of its confidence. No torch here."""

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from convarium.results.predictions import Answers

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

BINS = 15
"""Of equal width, over the confidence, for the calibration (Guo et al. 2017, arXiv:1706.04599)."""


class PerClass(NamedTuple):
    """The test images of one class; a share of none is nan."""

    number: int
    name: str
    support: int
    recall: float  # the share of its images that are right: its accuracy
    precision: float
    f1: float
    taken_for: str  # the class that most of its other images are called, and how many


class Pair(NamedTuple):
    """How many images of one class are taken for another, and which share of that class."""

    truth: str
    prediction: str
    images: int
    share: float


class Bin(NamedTuple):
    """The images whose confidence lies between `low` and `high`: how many, their mean confidence and accuracy."""

    low: float
    high: float
    images: int
    confidence: float
    accuracy: float


class Measured:
    """What follows from the answers to the test images."""

    def __init__(self, answers: Answers) -> None:
        self.answers, self.classes = answers, answers.classes
        self.target, self.prediction = answers.target.astype("int64"), answers.prediction.astype("int64")
        self.images = len(self.target)
        self.right = int((self.target == self.prediction).sum())

    @property
    def loss(self) -> float:
        return float(self.answers.loss.mean(dtype="float64"))

    @property
    def brier(self) -> float | None:
        """None of runs that have not kept it."""
        return None if self.answers.brier is None else float(self.answers.brier.mean(dtype="float64"))

    @property
    def nll(self) -> float:
        """The mean of -log of the probability of the true class, in nats; of a probability of 0 that of 1e-45."""
        import numpy as np

        return float(-np.log(np.maximum(self.answers.truth.astype("float64"), 1e-45)).mean())

    def cells(self) -> "tuple[Array, Array, Array]":
        """Truth, prediction and number of images of each cell of the confusion matrix that is not empty."""
        import numpy as np

        has = self.prediction >= 0
        codes, counts = np.unique(self.target[has] * len(self.classes) + self.prediction[has], return_counts=True)
        return codes // len(self.classes), codes % len(self.classes), counts

    def support(self) -> "Array":
        """The images of each class."""
        import numpy as np

        return np.bincount(self.target, minlength=len(self.classes))

    def per_class(self) -> list[PerClass]:
        """A row for each class."""
        import numpy as np

        there = self.support()
        guesses = np.bincount(self.prediction[self.prediction >= 0], minlength=len(there))
        hits = np.bincount(self.target[self.target == self.prediction], minlength=len(there))
        with np.errstate(invalid="ignore"):
            columns = (hits / there, hits / guesses, 2 * hits / (there + guesses))
        rows = zip(self.classes, there.tolist(), *(column.tolist() for column in columns), strict=True)
        mostly = {pair.truth: f"{pair.prediction} ({pair.images:,})" for pair in reversed(self.confused(None))}
        return [
            PerClass(number, name, images, recall, precision, f1, mostly.get(name, ""))
            for number, (name, images, recall, precision, f1) in enumerate(rows)
        ]

    def confused(self, most: int | None) -> list[Pair]:
        """The pairs of classes that are confused most often, the most frequent first; None: all."""
        truths, predictions, counts = self.cells()
        wrong, there = truths != predictions, self.support()
        rows = sorted(zip(-counts[wrong], truths[wrong], predictions[wrong], strict=True))[:most]
        return [
            Pair(self.classes[truth], self.classes[prediction], int(-count), float(-count / there[truth]))
            for count, truth, prediction in rows
        ]

    def bins(self) -> list[Bin]:
        """The bins of the confidence that hold images. The upper edge of a bin belongs to it."""
        import numpy as np

        confidence, right = self.answers.confidence.astype("float64"), self.target == self.prediction
        which = np.clip(np.ceil(confidence * BINS) - 1, 0, BINS - 1)  # nan is in none
        found = []
        for place in range(BINS):
            if (inside := which == place).any():
                means = float(confidence[inside].mean()), float(right[inside].mean())
                found.append(Bin(place / BINS, (place + 1) / BINS, int(inside.sum()), *means))
        return found

    def ece(self) -> float:
        """The expected calibration error: the mean over images of |accuracy - confidence| of their bin."""
        bins = self.bins()
        total = sum(bin.images for bin in bins)
        return sum(bin.images * abs(bin.accuracy - bin.confidence) for bin in bins) / total if total else math.nan
