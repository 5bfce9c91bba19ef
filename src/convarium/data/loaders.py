"""Which samples form a batch: the training order and its split over ranks and micro-batches, and evaluation's.

Plain iterables, not torch DataLoaders: a batch is one slice of a tensor, and the order is a function of (seed, epoch)
that every rank computes for itself.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, field
from itertools import count
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from convarium.batch import Batch
from convarium.data.augment.change import AugmentKey
from convarium.data.sources import Source, in_order
from convarium.randomness import permutation

AHEAD = 2  # batches that a slow source decodes while the device computes: the threads stay busy at the end of each

T = TypeVar("T")


def _fetched(fetch: Callable[[Tensor], T], chunks: Sequence[Tensor], *, ahead: bool) -> Iterator[T]:
    """`fetch` of each chunk of sample numbers in order; `ahead`: that of the next ones begins in threads meanwhile."""
    if ahead:
        with ThreadPoolExecutor(AHEAD, thread_name_prefix="prefetch") as threads:
            yield from in_order(threads, fetch, chunks, AHEAD)
    else:
        yield from map(fetch, chunks)


class EpochSize(NamedTuple):
    """How long an epoch of training is."""

    steps: int  # optimizer steps
    remainder: int  # samples that are not trained on, because they do not fill a batch


def epoch_size(samples: int, batch_size: int, *, parts: int = 1, drop_last: bool = True) -> EpochSize:
    """The size of an epoch whose global batches are cut into `parts` micro-batches, see `TrainBatches`."""
    full, last = divmod(samples, batch_size)
    keeps_last = not drop_last and last >= parts
    return EpochSize(full + keeps_last, 0 if keeps_last else last)


@dataclass(eq=False, repr=False)
class TrainBatches:
    """This rank's micro-batches of every epoch, in an order drawn afresh per epoch.

    Global batch k is `order[k * batch_size : (k + 1) * batch_size]`; it is cut into `accumulate * world_size` equal
    contiguous parts, of which micro-batch a on rank r is part `a * world_size + r`. The incomplete last batch is
    dropped, or, with `drop_last=False`, cut into nearly equal parts whose `weight` makes the averaged gradient the
    mean over its samples (a last batch with fewer samples than parts is dropped all the same).

    The position (epoch, micro-batch) is the whole state: `state_dict` and `load_state_dict` resume anywhere.

    members: (n,) int64, the samples of `source` to train on.
    balanced: an epoch has as many draws, of each class equally many (give or take one): `members` of a small class
        come several times, those of a large one not all.
    fixed_order: keep `members` in the order of epoch 0 in every epoch (to overfit a few batches).
    batch_size: divides by `world_size` x `accumulate`, and is no more than the samples.
    """

    source: Source
    members: Tensor
    _: KW_ONLY
    batch_size: int
    seed: int
    world_size: int = 1
    rank: int = 0
    accumulate: int = 1
    drop_last: bool = True
    balanced: bool = False
    fixed_order: bool = False
    epoch: int = field(init=False, default=0)
    position: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        parts, size, samples = self.world_size * self.accumulate, self.batch_size, len(self.members)
        self.steps, self.remainder = epoch_size(samples, size, parts=parts, drop_last=self.drop_last)
        self._full, last = divmod(samples, size)
        self._last = last - self.remainder
        # Lightning calls set_epoch on `loader.batch_sampler.sampler`; an attribute `sampler` of the loader itself
        # would make `overfit_batches` try to replace it
        self.batch_sampler = SimpleNamespace(sampler=self)

    def __len__(self) -> int:
        """Micro-batches per epoch, the same on every rank."""
        return self.steps * self.accumulate

    def set_epoch(self, epoch: int) -> None:
        """Start `epoch` from its first batch, unless we are in it already: Lightning also calls this after a load."""
        if epoch != self.epoch:
            self.epoch, self.position = epoch, 0

    def state_dict(self) -> dict[str, int]:
        """The epoch and the micro-batches of it already handed out; the same for every world size."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after the batches that `state` counts."""
        self.epoch, self.position = int(state["epoch"]), int(state["position"])

    def order(self, epoch: int) -> Tensor:
        """The samples of `epoch` in training order, (n,) int64, incomplete last batch included.

        A sample's second coming in an epoch is its number plus that of all samples of the source, its third plus twice
        as many, and so on: each is augmented in its own way.
        """
        epoch = 0 if self.fixed_order else epoch
        shuffled = permutation(len(self.members), self.seed, epoch=epoch)
        return (self._drawn(epoch) if self.balanced else self.members)[shuffled]

    def _drawn(self, epoch: int) -> Tensor:
        """What a balanced epoch is made of, (n,) int64: which classes come once more than others, and which samples of
        a class, changes with the epoch."""
        targets = self.source.targets[self.members].cpu()
        classes = torch.bincount(targets).nonzero()[:, 0]
        turns = permutation(len(classes), self.seed, epoch=epoch, purpose="classes")
        least, more = divmod(len(self.members), len(classes))
        drawn = []
        for turn, number in enumerate(classes[turns].tolist()):
            own, wanted = self.members[targets == number], least + (turn < more)
            for again in range(math.ceil(wanted / len(own))):
                order = permutation(len(own), self.seed, epoch=epoch, purpose=f"class {number}, {again}")
                drawn.append(own[order][: wanted - again * len(own)] + again * len(self.source))
        return torch.cat(drawn)

    def micro_batches(self, epoch: int) -> list[Tensor]:
        """The sample numbers of each of this rank's micro-batches."""
        order = self.order(epoch).to(self.source.targets.device)
        end = self._full * self.batch_size
        micro = self.batch_size // (self.world_size * self.accumulate)
        own = list(order[:end].view(-1, micro)[self.rank :: self.world_size].unbind())
        if self._last:
            cut = order[end:].tensor_split(self.world_size * self.accumulate)
            own += cut[self.rank :: self.world_size]
        return own

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the current epoch. The position advances before a batch is handed out, never after: the
        consumer knows our length and does not come back after the last batch."""
        if self.position >= len(self):
            return
        epoch, first, whole = self.epoch, self.epoch * len(self), self._full * self.accumulate
        source, micro_batches = self.source, self.micro_batches(epoch)

        def fetch(draws: Tensor) -> tuple[Tensor, Tensor]:
            samples = draws % len(source) if self.balanced else draws
            images, index = source.fetch_training(samples, AugmentKey(self.seed, epoch, draws))
            if self.balanced:
                index = draws[torch.isin(samples, index)] if len(index) < len(draws) else draws
            return images, index

        for images, index in _fetched(fetch, micro_batches[self.position :], ahead=source.prefetches):
            position, self.position = self.position, self.position + 1
            wanted = len(micro_batches[position])
            if not len(index):
                raise ValueError(f"none of a batch's {wanted} images can be read; convarium data check names them")
            weight = len(index) / wanted  # where some could not be read, the others count as much as ever
            if position >= whole:
                weight = len(index) * self.world_size * self.accumulate / self._last
            samples = index % len(source) if self.balanced else index
            yield Batch(images, source.targets.index_select(0, samples), index, epoch, first + position, weight, True)


class EvalBatches:
    """This rank's share of a split, rank r taking samples r, r + W, r + 2W, ...: each sample once, none added.

    Ranks may differ in the number of batches, and a rank may have none. batch_size: images per batch on this rank.
    """

    def __init__(self, source: Source, members: Tensor, *, batch_size: int, world_size: int = 1, rank: int = 0) -> None:
        self.source = source
        self.members = own = members[rank::world_size].to(source.targets.device)
        self._chunks = [own[first : first + batch_size] for first in range(0, len(own), batch_size)]

    def __len__(self) -> int:
        return len(self._chunks)

    def __iter__(self) -> Iterator[Batch]:
        source = self.source
        for number, (images, index) in enumerate(_fetched(source.fetch, self._chunks, ahead=source.prefetches)):
            if len(index):  # else none could be read
                yield Batch(images, source.targets.index_select(0, index), index, 0, number)


class PictureBatches(EvalBatches):
    """This rank's share of a split, but whole pictures of any size, one a batch; `batch_size` are decoded together."""

    def __len__(self) -> int:
        return sum(map(len, self._chunks))

    def __iter__(self) -> Iterator[Batch]:
        numbers = count()
        for pictures, index in _fetched(self.source.whole, self._chunks, ahead=self.source.prefetches):
            for picture, one in zip(pictures, index.unsqueeze(1), strict=True):
                yield Batch(picture.unsqueeze(0), self.source.targets.index_select(0, one), one, 0, next(numbers))
