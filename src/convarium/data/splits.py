"""Carving one set of samples out of another, so that every class is represented in proportion."""

import torch
from torch import Tensor

from convarium.data.facts import carved_size
from convarium.randomness import permutation


def carve(targets: Tensor, fraction: float, *, seed: int) -> tuple[Tensor, Tensor]:
    """Two disjoint sets of sample numbers, (kept, carved), each ascending; `fraction` of the samples is carved.
    The samples are sorted by class, at random within a class, and taken at even distances: each class gives its share,
    give or take one. A function of (targets, fraction, seed) alone. Raises ValueError if either set would be empty."""
    n = len(targets)
    count = carved_size(n, fraction)
    if not 0 < count < n:
        raise ValueError(f"val_fraction={fraction}: takes {count} of {n} images; leave some on either side")
    return take(targets, count, seed=seed)


def fold(targets: Tensor, folds: int, number: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """As `carve`, but what is set aside is fold `number` of a cross-validation. Each sample is in one fold; the sizes
    of folds, and what they have of each class, differ by one at most. Raises ValueError if the fold would be empty."""
    n = len(targets)
    if folds < 2 or not 0 <= number < folds <= n:
        raise ValueError(
            f"data.fold={number}: of data.folds={folds} and {n} images; accepted: 0 to {min(folds, n) - 1}"
        )
    shuffled = permutation(n, seed, purpose="split")
    by_class = shuffled[torch.argsort(targets[shuffled], stable=True)]
    inside = torch.arange(n) % folds == number
    return by_class[~inside].sort().values, by_class[inside].sort().values


def take(targets: Tensor, count: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """As `carve`, but `count` samples, which may be none or all."""
    n = len(targets)
    shuffled = permutation(n, seed, purpose="split")
    by_class = shuffled[torch.argsort(targets[shuffled], stable=True)]
    steps = torch.arange(n + 1) * count // n  # rises by one at each sample to be taken
    taken = steps[1:] > steps[:-1]
    return by_class[~taken].sort().values, by_class[taken].sort().values
