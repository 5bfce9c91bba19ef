"""A split that lies in image files: decoded when asked for, by a few threads, only as far as the crop needs it."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

import torch
from torch import Tensor

from convarium.data.augment.change import AugmentKey
from convarium.data.readers.reader import Box, Reader, Unreadable, read_square
from convarium.data.sources import InMemory, PictureSource, file_name
from convarium.files import read_regular
from convarium.progress_bar import Progress

T = TypeVar("T")


class BadFile(ValueError):
    """An image file that cannot be read, where that is to end the run."""

    @classmethod
    def named(cls, path: str | Path, why: str) -> Self:
        return cls(f"{path}: unreadable image ({why}); data.on_bad_file=skip or replace goes on without it")


class Shape(NamedTuple):
    """What is made of a picture: (channels, image_size, image_size), from the centre unless a crop says otherwise."""

    channels: int
    image_size: int
    crop_share: float = 1.0

    @property
    def pixels(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.channels, self.image_size, self.image_size


@dataclass(eq=False, repr=False)
class Files(PictureSource):
    """Image files and their class numbers.

    threads: how many decode at once (readers free the interpreter); 0: the caller's own, and nothing ahead of time.
    on_bad_file: raise (BadFile), skip (the batch is smaller; of a training batch with nothing left, one is replaced) or
    replace (by the next sample that can be read; in evaluation, where a picture must not count twice, and in memory
    this is skip as well).
    note: called once for each file that cannot be read, with its path and the reason.
    """

    paths: Sequence[str | Path]
    targets: Tensor
    _: KW_ONLY
    shape: Shape
    reader: Reader
    threads: int = 4
    on_bad_file: str = "raise"
    note: Callable[[str, str], None] | None = None
    bad: dict[int, str] = field(init=False, default_factory=dict)
    """Why samples could not be read, as far as they were asked for."""

    def __post_init__(self) -> None:
        if len(self.paths) != len(self.targets):
            raise ValueError(f"{len(self.paths)} files but {len(self.targets)} targets")
        super().__init__(self.threads)

    def __str__(self) -> str:
        return f"files read by {self.reader.name} in {self.threads} threads"

    @property
    def bytes_in_memory(self) -> int:
        """What the decoded split would take."""
        return len(self) * math.prod(self.shape.pixels)

    def name(self, sample: int) -> str:
        return file_name(self.paths[sample])

    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The images of those samples that can be read, and which they are. Raises BadFile for the first that cannot,
        with on_bad_file=raise."""
        images, failed = self._decode(indices, None)
        return _without(failed, images, indices)

    def fetch_training(self, indices: Tensor, key: AugmentKey) -> tuple[Tensor, Tensor]:
        images, failed = self._decode(indices, key)
        if failed and self.on_bad_file == "replace":
            return self._replace(images, indices.clone(), failed, key)
        if failed and len(failed) == len(indices):  # a training batch is never empty: one is replaced all the same
            return self._replace(images[:1], indices[:1].clone(), failed[:1], key)
        return _without(failed, images, indices)

    def all_of_size(self) -> bool:
        """Whether a few of the pictures, from all classes alike, are squares of image_size."""
        few = range(0, len(self), max(1, len(self) // 32))
        heads = self._map(self._head, few)
        return all(head[1] == (self.shape.image_size,) * 2 for head in heads if head is not None)

    def whole(self, indices: Tensor) -> tuple[list[Tensor], Tensor]:
        """The pictures in their own sizes, uint8 (C, H, W) each, and the samples they are of; else as `fetch`."""
        read = partial(self.reader.read, box=None, size=None, channels=self.shape.channels)
        pictures = self._map(lambda sample: self._attempt(sample, read), indices.tolist())
        kept = torch.tensor([row for row, picture in enumerate(pictures) if picture is not None], dtype=torch.int64)
        return [picture for picture in pictures if picture is not None], indices[kept]

    def _decode(self, indices: Tensor, key: AugmentKey | None) -> tuple[Tensor, list[int]]:
        """uint8 (n, C, H, W), and the rows that could not be read."""
        channels, side, share = self.shape
        out = self._empty(len(indices), channels, side)
        samples = indices.tolist()
        heads: list[tuple[bytes, tuple[int, int]] | None] = [None] * len(samples)
        if key is None or self.crop is None:

            def image(row: int, data: bytes) -> Tensor:
                return read_square(self.reader, data, image_size=side, crop_share=share, channels=channels)
        else:
            heads = self._map(self._head, samples)
            sizes = torch.tensor([head[1] if head else (1, 1) for head in heads])
            boxes = [Box(*box) for box in self.crop.boxes(sizes, key, side).tolist()]

            def image(row: int, data: bytes) -> Tensor:
                return self.reader.read(data, boxes[row], (side, side), channels=channels)

        def fails(row: int) -> bool:
            data, _ = heads[row] or (None, None)
            if (picture := self._attempt(samples[row], partial(image, row), data)) is not None:
                out[row] = picture
            return picture is None

        return out, [row for row, failed in enumerate(self._map(fails, range(len(samples)))) if failed]

    def _head(self, sample: int) -> tuple[bytes, tuple[int, int]] | None:
        """A file's bytes, and its picture's height and width."""
        return self._attempt(sample, lambda data: (data, self.reader.size(data)))

    def _replace(self, images: Tensor, indices: Tensor, failed: list[int], key: AugmentKey) -> tuple[Tensor, Tensor]:
        members = torch.arange(len(self)) if self.members is None else self.members
        for row in failed:
            after = int(torch.searchsorted(members, indices[row], right=True))
            for other in members.roll(-after):
                other_key = AugmentKey(key.seed, key.epoch, other.view(1))
                if int(other) in self.bad:
                    continue
                image, unread = self._decode(other.view(1), other_key)
                if not unread:
                    images[row], indices[row] = image[0], other
                    break
            else:
                raise BadFile(f"none of {len(self)} image files can be read")
        return images, indices

    def _attempt(self, sample: int, read: Callable[[bytes], T], data: bytes | None = None) -> T | None:
        """What `read` makes of the sample's file; None, noted, if it cannot be read."""
        if sample in self.bad:
            return None
        try:
            return read(read_regular(self.paths[sample]) if data is None else data)
        except Unreadable as error:
            why = str(error)
        except OSError as error:
            why = error.strerror or str(error)
        self.note_bad(sample, why)
        return None

    def note_bad(self, sample: int, why: str) -> None:
        """A sample that cannot be read. Raises BadFile as `fetch` does."""
        known = self.bad.setdefault(sample, why) is not why
        if not known and self.note is not None:
            self.note(str(self.paths[sample]), why)
        if self.on_bad_file == "raise":
            raise BadFile.named(self.paths[sample], why)

    def load(self, out: Tensor | None = None) -> InMemory:
        """Decode everything, once, into `out` if it is given; without the samples that cannot be read."""
        pixels = torch.empty((len(self), *self.shape.pixels), dtype=torch.uint8) if out is None else out
        with Progress() as progress:
            progress.begin(len(self), "pictures", "decode")
            for part in torch.arange(len(self)).split(256):  # type: ignore[no-untyped-call]
                pixels[part[0] : part[-1] + 1] = self._decode(part, None)[0]
                progress.advance(len(part))
        return self.held(pixels)

    def held(self, pixels: Tensor) -> InMemory:
        """The split, of which all is decoded, without the samples that cannot be read."""
        paths = [path for sample, path in enumerate(self.paths) if sample not in self.bad]
        return InMemory(*_without(self.bad, pixels, self.targets), paths=paths)


def _without(rows: Iterable[int], images: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Images and their numbers but for some rows."""
    left_out = set(rows)
    if not left_out:
        return images, numbers
    kept = torch.tensor([row for row in range(len(numbers)) if row not in left_out], dtype=torch.int64)
    return images[kept], numbers[kept]
