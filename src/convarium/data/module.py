"""A dataset as Lightning takes it: its facts, its splits, its loaders, and what happens to a batch on the device."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import lightning.pytorch as L
import torch
from torch import Tensor

from convarium.batch import Batch
from convarium.data.augment.change import AugmentKey
from convarium.data.augment.pipeline import Pipeline
from convarium.data.image_files.tables import are_classes_of
from convarium.data.loaders import EpochSize, EvalBatches, PictureBatches, TrainBatches, epoch_size
from convarium.data.sources import Source
from convarium.data.splits import carve, fold, take

DECODED_TOGETHER = 16  # whole pictures, which may be large


class Samples(NamedTuple):
    """Some training images before and after."""

    stored: list[Tensor]  # uint8 (C, H, W), each of its own size
    seen: list[Tensor]  # of each epoch what the network sees of them: uint8 (n, C, image_size, image_size)
    labels: list[str]


def batches_within(limit: int | float, images: int, size: int) -> int:
    """How many batches of `size` images a limit leaves of a split: so many, or such a share and at least one."""
    batches = math.ceil(images / size)
    at_most = limit if isinstance(limit, int) or not limit else max(1, int(batches * limit))
    return min(batches, int(at_most))


@dataclass(kw_only=True, eq=False, repr=False)
class ImageData(L.LightningDataModule):
    """Images in classes. The fields are the keys of a yaml in conf/data; a subclass says where the images come from.

    Nothing is read before it is needed: `setup("fit")` reads training and validation, the test split is read by
    `check_test`, as far as must be, and by `test_dataloader`.
    """

    num_classes: int
    """1: binary data for a network with one logit, of class numbers 0 and 1; `classes` name both, or the second."""
    channels: int
    image_size: int
    mean: list[float]  # per channel (or one for all), of pixels scaled to 0..1, over the training split before carving
    std: list[float]
    classes: list[str] | None = None  # names in the order of the class numbers; None: the numbers
    train_size: int | None = None
    """Images of the training split before carving, checked when it is read; None: not known beforehand."""
    test_size: int | None = None
    val_fraction: float = 0.1
    """Share of the training split set aside for validation where the dataset brings no validation split."""
    split_seed: int = 0
    """Chooses which images are set aside; apart from `seed`, so that runs of several seeds share their validation."""
    folds: int = 5  # equal parts of the training split in a cross-validation
    fold: int | None = None
    """The fold that is set aside for validation, in the place of `val_fraction` and of a validation split that the
    dataset brings; None: no cross-validation."""
    sampler: str = "shuffle"
    """How an epoch is drawn: every image once, or ("balanced") as many images, of each class equally many."""
    batch_size: int = 64  # global: devices x nodes x accumulated micro-batches x images per micro-batch
    eval_batch_size: int = 64  # global as well; each device takes its part
    seed: int = 1  # of the sample order and the augmentation
    augment: Mapping[str, Any] | None = None  # the parts of the augmentation by name, see `Pipeline`; None: none
    drop_last: bool = True
    """Whether an epoch's incomplete last batch is left out (False: it is trained on, weighted by its count)."""
    measured: bool = field(init=False, default=False)
    """Whether an evaluation reads them that are not a run's own: what is divided into no splits is the test as a whole,
    and classes may be missing."""
    whole: bool = field(init=False, default=False)
    """Whether evaluation gets whole pictures, one a batch where they are files, in the place of images."""

    def __post_init__(self) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # a rank may have no validation image
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.channels):
                accepted = "give one per channel, or one for all"
                raise ValueError(f"data.{name} has {len(values)} values for data.channels={self.channels}: {accepted}")
        if self.classes is not None and not are_classes_of(self.num_classes, len(self.classes)):
            raise ValueError(f"data.num_classes={self.num_classes}: but data.classes names {len(self.classes)}")
        self.pipeline = Pipeline(self.augment or {})
        self._affine: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def __str__(self) -> str:
        """The shape in one line; Lightning's own looks for torch DataLoaders."""
        return f"{type(self).__name__}({self.channels}x{self.image_size}x{self.image_size}, {self.num_classes} classes)"

    # what a dataset defines

    def read(self, split: str) -> Source | None:
        """The images of "train", "val" or "test" as the dataset has them; None if it has no such split.
        Raises MissingData if the dataset is not on this disk."""
        raise NotImplementedError  # abstract: a dataset says

    def open_image(self, path: Path) -> Tensor:
        """An image file as uint8 (C, H, W), decoded and sized exactly as the dataset's own images."""
        raise NotImplementedError  # abstract: a dataset says

    def fetch(self) -> None:
        """Download what is missing; needs the network. Nothing to do for a dataset that is made or shipped."""

    def count_test(self) -> int:
        """How many images the test split has, without reading them; 0 if there is none."""
        return self.test_size or 0

    def check_test(self) -> None:
        """Raise before a run what its test would at the end: ValueError for a split that is not as it should be."""
        if self._own_test_size:
            _ = self._test

    def advice(self) -> str:
        """What to change where the device waits for data, in one line."""
        if self.pipeline:
            return f"the augmentation ({self.pipeline}) keeps the device waiting; a lighter one is faster"
        return "slicing batches keeps the device waiting; a larger batch_size has fewer of them"

    def showing(self, what: str) -> Self:
        """The same data, of which an evaluation is shown the "image", the "whole" picture, or the "square" that the
        image is the centre of: its `image_size` is the side of that square, and an image has no part in it any more."""
        if what == "image":
            return self
        if what == "square":
            return self._as_squares()
        shown = replace(self)
        shown.whole = True
        return shown

    def _as_squares(self) -> Self:
        raise ValueError("its images are the whole pictures, there is nothing around them")

    # facts

    @property
    def class_names(self) -> list[str]:
        """What to call each class; one logit stands for two."""
        if self.classes is None:
            return [str(number) for number in range(max(2, self.num_classes))]
        return self.classes if len(self.classes) > 1 else [f"not {self.classes[0]}", *self.classes]

    @property
    def num_train(self) -> int:
        """Images that are trained on, validation set aside."""
        return len(self._members[0])

    @property
    def num_val(self) -> int:
        """Validation images; 0 if all are trained on."""
        return len(self._own_val) if self._own_val is not None else len(self._members[1])

    @property
    def num_test(self) -> int:
        """Test images, without reading them."""
        return self._own_test_size or self.num_val

    @property
    def test_is_val(self) -> bool:
        """Whether the validation split also serves as the test split, for want of one."""
        return self._own_test_size == 0 and self.num_val > 0

    @property
    def class_counts(self) -> Tensor:
        """Images of each class that are trained on, int64 (classes,); one logit stands for two."""
        return torch.bincount(self._train.targets[self._members[0]].cpu(), minlength=len(self.class_names))

    @property
    def training_source(self) -> str:
        """Where training images come from, in words."""
        return str(self._train)

    def check_limit(self, split: str, limit: int | float, ranks: int) -> None:
        """Raise ValueError where `limit` is a share of less than one batch of val or test."""
        images, size = self.num_val if split == "val" else self.num_test, max(1, self.eval_batch_size // ranks) * ranks
        batches = math.ceil(images / size)
        if images and 0 < limit < 1 and int(batches * limit) == 0:
            accepted = "a number of batches, or a larger share"
            raise ValueError(
                f"trainer.limit_{split}_batches={limit}: less than one of the {batches} batches of {split};"
                f" accepted: {accepted}"
            )

    def epoch_size(self, parts: int = 1) -> EpochSize:
        """The optimizer steps of an epoch whose batches are cut into `parts` micro-batches, and what it leaves out."""
        return epoch_size(self.num_train, self.batch_size, parts=parts, drop_last=self.drop_last)

    @cached_property
    def _train(self) -> Source:
        return self._checked(self.read("train"), "train", self.train_size)

    @property
    def carves(self) -> bool:
        """Whether validation is a part of the training split."""
        return self.fold is not None or self.val_fraction > 0

    @cached_property
    def _own_val(self) -> Source | None:
        source = self.read("val") if self.fold is None else None
        return None if source is None else self._checked(source, "val", None)

    @cached_property
    def _test(self) -> Source:
        return self._checked(self.read("test"), "test", self.test_size)

    @cached_property
    def _own_test_size(self) -> int:
        return self.count_test()

    @cached_property
    def _members(self) -> tuple[Tensor, Tensor]:
        """The samples of the training split to train on and those set aside."""
        if self.fold is not None:
            return fold(self._train.targets, self.folds, self.fold, seed=self.split_seed)
        if self._own_val is not None or self.val_fraction == 0:
            return torch.arange(len(self._train)), torch.arange(0)
        return carve(self._train.targets, self.val_fraction, seed=self.split_seed)

    def _checked(self, source: Source | None, split: str, expected: int | None) -> Source:
        assert source is not None
        if expected is not None and len(source) != expected:
            raise ValueError(f"data.{split}_size={expected}: but {split} has {len(source)} images")
        lowest, highest = int(source.targets.min()), int(source.targets.max())
        if lowest < 0 or highest >= max(2, self.num_classes):
            numbers = f"class numbers {lowest} to {highest}"
            raise ValueError(f"data.num_classes={self.num_classes}: but {split} has {numbers}")
        return source

    # what the network sees

    def samples(self, count: int, epochs: int) -> Samples:
        """A few training images, of as many classes as can be, as they are stored and as the network sees them."""
        members = self._members[0]
        by_class = members[torch.argsort(self._train.targets[members], stable=True)]
        places = torch.linspace(0, len(by_class) - 1, min(count, len(by_class))).round().long()
        chosen = by_class[places]
        stored, chosen = self._train.whole(chosen)  # without those that cannot be read
        source = self._train.for_training(self.pipeline.crop)
        seen = []
        for epoch in range(epochs):
            images, index = source.fetch_training(chosen, AugmentKey(self.seed, epoch, chosen))
            batch = Batch(images, self._train.targets[index], index, epoch, 0, 1.0, True)
            seen.append(self.denormalize(self.on_after_batch_transfer(batch, 0).images))
        return Samples(stored, seen, [self.class_names[target] for target in self._train.targets[chosen]])

    # what Lightning calls

    def setup(self, stage: str | None = None) -> None:
        """Read what `stage` needs (None: as for "fit"); a second call costs nothing."""
        if stage in (None, "fit"):
            _ = self._train, self._members
        if stage in (None, "fit", "validate"):
            _ = self._own_val, self._members

    def train_dataloader(self) -> TrainBatches:
        """This rank's training batches."""
        trainer = self.trainer
        return TrainBatches(
            self._placed(self._train).for_training(self.pipeline.crop, self._members[0]),
            self._members[0],
            batch_size=self.batch_size,
            seed=self.seed,
            world_size=trainer.world_size if trainer else 1,
            rank=trainer.global_rank if trainer else 0,
            accumulate=trainer.accumulate_grad_batches if trainer else 1,
            drop_last=self.drop_last,
            balanced=self.sampler == "balanced",
            fixed_order=getattr(trainer, "overfit_batches", 0) > 0,
        )

    def val_dataloader(self, split: str = "val") -> EvalBatches:
        """This rank's share of the validation split; without batches if there is none. split: for which it stands."""
        if self._own_val is not None:
            return self._evaluation(self._own_val, torch.arange(len(self._own_val)), split)
        return self._evaluation(self._train, self._members[1], split)

    def test_dataloader(self) -> EvalBatches:
        """This rank's share of the test split."""
        if self._own_test_size == 0:
            return self.val_dataloader("test")
        return self._evaluation(self._test, torch.arange(len(self._test)), "test")

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """The batch on `device`; without a copy if it is there already."""
        if batch.images.device == device or device.type == "cpu":
            return batch
        images, targets, index = (tensor.to(device, non_blocking=True) for tensor in batch[:3])
        return Batch(images, targets, index, *batch[3:])

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment (training only) and normalize, batched, on the device."""
        if not batch.images.is_contiguous():  # decoded, with the channels last
            batch = batch._replace(images=batch.images.contiguous())
        if not batch.training or not self.pipeline:
            return Batch(self.normalize(batch.images), *batch[1:])
        key = AugmentKey(self.seed, batch.epoch, batch.index)
        cropped = self.pipeline.crop is not None and self._train.crops  # as it was read
        normalized = self.normalize(self.pipeline.change(batch.images, key, cropped=cropped))
        mixed = self.pipeline.mix(normalized, batch.targets, key)
        if mixed is None:
            return Batch(normalized, *batch[1:])
        return batch._replace(images=mixed.images, mix=(mixed.partners, mixed.share))

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 (N, C, H, W) to float32 of about zero mean and unit variance per channel."""
        if images.device not in self._affine:
            mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.std))
            self._affine[images.device] = ((1 / (255 * std)).to(images.device), (-mean / std).to(images.device))
        scale, shift = self._affine[images.device]
        if images.is_cuda:  # one kernel that converts as it reads; on a CPU the same call is 20 times slower
            return torch.addcmul(shift, images, scale)
        return images.to(torch.float32).mul_(scale).add_(shift)

    def denormalize(self, images: Tensor) -> Tensor:
        """What `normalize` was given, as near as it can be had: uint8 (N, C, H, W)."""
        mean, std = (torch.tensor(values, device=images.device).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return (images * (255 * std) + 255 * mean).round().clamp(0, 255).to(torch.uint8)

    def _evaluation(self, source: Source, members: Tensor, split: str) -> EvalBatches:
        world_size, rank = (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        pictures = self.whole and source.crops
        size = 1 if pictures else max(1, self.eval_batch_size // world_size)
        key = f"limit_{split}_batches"
        batches = batches_within(getattr(self.trainer, key, 1.0), len(members), size * world_size)
        if batches * size * world_size < len(members):  # a share of every class, not the first that there are
            chosen = take(source.targets[members], batches * size * world_size, seed=self.split_seed)[1]
            members = members[chosen]
            setattr(self.trainer, key, batches)  # Lightning would take its share of the share
        if pictures:
            return PictureBatches(source, members, batch_size=DECODED_TOGETHER, world_size=world_size, rank=rank)
        return EvalBatches(self._placed(source), members, batch_size=size, world_size=world_size, rank=rank)

    def _placed(self, source: Source) -> Source:
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        return source.near(device)
