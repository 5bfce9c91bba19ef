"""Images out of packed shards, by index, in any order."""

from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from convarium.data.augment.change import AugmentKey
from convarium.data.packed.shards import Shards
from convarium.data.packed.storage import Read
from convarium.data.readers.reader import Box, Reader, Unreadable
from convarium.data.readers.reader import central as square_of
from convarium.data.sources import PictureSource


class Cut(NamedTuple):
    """How an image is made of a stored picture: `box` of it resized to `size`, and some rows and columns of that."""

    box: Box
    size: tuple[int, int]
    rows: slice = slice(None)
    columns: slice = slice(None)


def central(height: int, width: int, image_size: int, crop_share: float) -> Cut:
    """The shorter side resized to image_size / crop_share and the central square cut out, as `read_picture` does."""
    size, (top, left) = square_of(height, width, image_size, crop_share)
    if size == (height, width):  # nothing to resize: the square alone
        return Cut(Box(top, left, image_size, image_size), (image_size, image_size))
    return Cut(Box(0, 0, height, width), size, slice(top, top + image_size), slice(left, left + image_size))


def stored_size(height: int, width: int, size: int | None) -> tuple[int, int]:
    """Height and width of a picture as it is packed: the shorter side is at most `size`."""
    if size is None or min(height, width) <= size:
        return height, width
    return square_of(height, width, size)[0]


def resize(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W, C) to (C, *size) as Pillow's bilinear filter, which averages when it shrinks; at most 1 beside it."""
    if picture.shape[:2] == size:
        return picture.transpose(2, 0, 1)
    # Dense, writable and channels last is what torch resizes fastest, and in this thread. It is copied by numpy, since
    # torch would start a team of threads for that in each of ours.
    dense = np.require(picture, requirements=("C", "W"))
    pixels = torch.from_numpy(dense).view(1, *dense.shape).permute(0, 3, 1, 2)
    resized: NDArray[np.uint8] = F.interpolate(pixels, size=size, mode="bilinear", antialias=True)[0].numpy()
    return resized


def cut_out(picture: NDArray[np.uint8], cut: Cut) -> NDArray[np.uint8]:
    """The image in a picture; (H, W, C) to (C, rows, columns)."""
    top, left, height, width = cut.box
    return resize(picture[top : top + height, left : left + width], cut.size)[:, cut.rows, cut.columns]


@dataclass(eq=False, repr=False)
class Packed(PictureSource):
    """A split in shards of JPEG files (`reader` decodes them) or, with reader=None, of pixels.

    threads: how many decode; 0: the one that asks. The images do not depend on it.
    """

    shards: Shards
    _: KW_ONLY
    channels: int
    image_size: int
    crop_share: float = 1.0
    reader: Reader | None = None
    threads: int = 4

    def __post_init__(self) -> None:
        super().__init__(self.threads)
        index = self.shards.index
        self.targets = torch.from_numpy(index.target.astype(np.int64))
        self.sizes = torch.from_numpy(np.stack([index.height, index.width], axis=1).astype(np.int64))
        """(len, 2) heights and widths of the stored pictures."""

    def __str__(self) -> str:
        kind = "pixels" if self.reader is None else f"JPEG read by {self.reader.name}"
        return f"shards of {kind} in {self.threads} threads"

    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The central squares, uint8 (n, C, H, W) but not necessarily contiguous, and `indices`. Raises ConfigError,
        naming sample and shard, for what cannot be read."""
        sizes = self.sizes[indices].tolist()
        cuts = [central(height, width, self.image_size, self.crop_share) for height, width in sizes]
        return self._read(indices, cuts), indices

    def fetch_training(self, indices: Tensor, key: AugmentKey) -> tuple[Tensor, Tensor]:
        """As `fetch`, but with a crop the crop's boxes of the stored pictures, resized."""
        if self.crop is None:
            return self.fetch(indices)
        boxes = self.crop.boxes(self.sizes[indices], key, self.image_size).tolist()
        return self._read(indices, [Cut(Box(*box), (self.image_size, self.image_size)) for box in boxes]), indices

    def _read(self, indices: Tensor, cuts: list[Cut]) -> Tensor:
        samples = indices.tolist()
        # of pixels only the rows that a box touches
        rows = [width * self.channels for _, width in self.sizes[indices].tolist()]
        parts = [(box.top * row, (box.top + box.height) * row) for row, (box, *_) in zip(rows, cuts, strict=True)]
        reads = self.shards.start(samples, parts if self.reader is None else None)
        out = self._empty(len(samples), self.channels, self.image_size)
        pixels = out.numpy()

        def fill(rows: range) -> None:
            for row in rows:
                pixels[row] = self._image(samples[row], cuts[row], reads[row])

        shares = min(len(samples), max(1, 4 * self.threads))  # a few large ones, not a task per image
        self._map(fill, [range(share, len(samples), shares) for share in range(shares)])
        return out

    def whole(self, indices: Tensor) -> tuple[list[Tensor], Tensor]:
        """The stored pictures, uint8 (C, H, W) each, and `indices`. Raises ConfigError as `fetch` does."""
        pictures = []
        for sample, read in zip(indices.tolist(), self.shards.start(indices.tolist()), strict=True):
            size = tuple(self.sizes[sample].tolist())
            pictures.append(torch.from_numpy(self._image(sample, Cut(Box(0, 0, *size), size), read).copy()))
        return pictures, indices

    def _image(self, sample: int, cut: Cut, read: Read) -> NDArray[np.uint8]:
        data = read()
        if self.reader is None:
            rows = data.reshape(cut.box.height, -1, self.channels)
            return cut_out(rows, cut._replace(box=cut.box._replace(top=0)))
        try:
            resized = self.reader.read(data.tobytes(), cut.box, cut.size, channels=self.channels).numpy()
        except Unreadable as error:
            raise self.shards.error(sample, f"unreadable image ({error})") from None
        return resized[:, cut.rows, cut.columns]
