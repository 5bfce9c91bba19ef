"""How a test shows a picture to the network: as one image, as several parts of it, or as a whole.

The views are cut, resized and mirrored here, batched on the device, from a picture that was decoded once.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convarium.learn.dense import dense_logits

SCALES_OF_144 = (256, 288, 320, 352)  # of the shorter side, for images of 224
MOST_ELONGATED = 8  # times as long as wide; of a longer picture the middle is taken, so that none fills the memory


@dataclass(frozen=True, kw_only=True)
class Views(ABC):
    """The views of a picture. What the network says of each becomes probabilities, and these are averaged.

    Krizhevsky et al. 2012 (section 4.1) and Szegedy et al. 2014 (section 7) average the softmax over crops, Simonyan
    and Zisserman 2014 (section 3.2) over a picture and its mirror image, and over scales.
    """

    shows: ClassVar[str]
    """What `of` is given: the "image" of one crop, the "square" that it is the centre of, or the "whole" picture."""
    image_size: int
    square: int
    """The side of the square of which an image is the centre: the shorter side of a picture before it is cropped."""
    at_once: int
    """How many images go through the network together, at most, but for those of one view."""

    @abstractmethod
    def of(self, pictures: Tensor) -> Iterator[Tensor]:
        """The views, each (N, C, h, w), of normalized pictures (N, C, H, W)."""

    @abstractmethod
    def __str__(self) -> str:
        """In a few words, for the header of a run and the line of an evaluation."""

    def logits(self, net: nn.Module, views: Tensor) -> Tensor:
        """What the network says of views: (N, C, h, w) -> (N, classes)."""
        logits: Tensor = net(views)
        return logits

    def score(self, net: nn.Module, pictures: Tensor) -> Tensor:
        """Logits (N, classes) whose softmax (one logit: sigmoid) is the mean of the views' probabilities; float32.

        They are the logarithms of the averaged probabilities, so that the cross-entropy of them is that of the mean.
        """
        return log_mean_probabilities(lambda views: self.logits(net, views), self.of(pictures), at_once=self.at_once)

    def central(self, pictures: Tensor) -> Tensor:
        """The image that one crop would show, (N, C, image_size, image_size): for a person to look at."""
        return centre(_with_shorter_side(pictures, self.square), self.image_size)


@dataclass(frozen=True, kw_only=True)
class MirroredImage(Views):
    """The image and its mirror image."""

    shows = "image"

    def of(self, pictures: Tensor) -> Iterator[Tensor]:
        yield from with_mirror_images([pictures])

    def central(self, pictures: Tensor) -> Tensor:
        return pictures

    def __str__(self) -> str:
        return "1 crop and its mirror image"


@dataclass(frozen=True, kw_only=True)
class TenCrops(Views):
    """Corners and centre of the central square, and their mirror images (Krizhevsky et al. 2012, section 4.1)."""

    shows = "square"

    def of(self, pictures: Tensor) -> Iterator[Tensor]:
        yield from with_mirror_images(corners_and_centre(pictures, self.image_size))

    def __str__(self) -> str:
        return f"10 crops of {self.image_size} out of {self.square} pixels"


@dataclass(frozen=True, kw_only=True)
class Crops144(Views):
    """Four scales of a picture, of each three squares, of each the corners, the centre and the square itself resized,
    and all mirror images (Szegedy et al. 2014, section 7).

    The squares of a picture that is a square are one; what is averaged is the same without the repetitions.
    """

    shows = "whole"

    @property
    def scales(self) -> tuple[int, ...]:
        """The shorter sides: the paper's for images of 224, in proportion for others."""
        return tuple(round(scale * self.image_size / 224) for scale in SCALES_OF_144)

    def of(self, pictures: Tensor) -> Iterator[Tensor]:
        yield from with_mirror_images(self._crops(pictures))

    def _crops(self, pictures: Tensor) -> Iterator[Tensor]:
        for scale in self.scales:
            for square in squares(_with_shorter_side(pictures, scale)):
                yield from corners_and_centre(square, self.image_size)
                yield _with_shorter_side(square, self.image_size)

    def __str__(self) -> str:
        return f"144 crops at {_listed(self.scales)}"


@dataclass(frozen=True, kw_only=True)
class Dense(Views):
    """The whole picture at one or more scales, and its mirror image with `flip`, at every position of the network.

    Simonyan and Zisserman 2014, section 3.2: the class scores, before the softmax, are averaged over the positions;
    their softmax over mirror images and (section 4.2) scales.
    """

    shows = "whole"
    scales: Sequence[int]
    """The shorter side of the picture, in pixels."""
    flip: bool

    def of(self, pictures: Tensor) -> Iterator[Tensor]:
        views = (_with_shorter_side(pictures, scale) for scale in self.scales)
        yield from with_mirror_images(views) if self.flip else views

    def logits(self, net: nn.Module, views: Tensor) -> Tensor:
        return dense_logits(net, views)

    def __str__(self) -> str:
        return f"dense at {_listed(self.scales)}{', with mirror images' if self.flip else ''}"


def choose_views(
    *,
    views: int = 1,
    dense: bool = False,
    scales: Sequence[int] | None = None,
    flip: bool = False,
    image_size: int,
    crop_share: float,
    at_once: int,
) -> Views | None:
    """The views that the keys under `test` ask for; None: the image of one crop, as in validation.

    crop_share: side of the image as a share of the picture's shorter side.
    """
    square = round(image_size / crop_share)
    if dense:
        return Dense(
            image_size=image_size, square=square, at_once=at_once, scales=tuple(scales or (square,)), flip=flip
        )
    if views == 1 and not flip:
        return None
    kinds: dict[int, Callable[..., Views]] = {1: MirroredImage, 10: TenCrops, 144: Crops144}
    return kinds[views](image_size=image_size, square=square, at_once=at_once)


def log_mean_probabilities(net: Callable[[Tensor], Tensor], views: Iterable[Tensor], *, at_once: int) -> Tensor:
    """The logarithm of the mean over the views (N, C, h, w) of the softmax of `net`; (N, classes), float32.

    For a network with one logit it is the one whose sigmoid is the mean of the sigmoids. Summed as logarithms, so that
    no probability is too small. `at_once`: how many images go through the network together, at most, but for a view.
    """
    total: Tensor | None = None
    count, binary = 0, False
    for together in _of_one_shape(views, at_once):
        logits = net(torch.cat(together)).float()
        binary = logits.shape[1] == 1
        logs = F.pad(logits, (1, 0)).log_softmax(1) if binary else logits.log_softmax(1)
        logs = logs.view(len(together), -1, logs.shape[1]).logsumexp(0)
        total = logs if total is None else torch.logaddexp(total, logs)
        count += len(together)
    assert total is not None
    return total[:, 1:] - total[:, :1] if binary else total - math.log(count)


def _of_one_shape(views: Iterable[Tensor], at_once: int) -> Iterator[list[Tensor]]:
    """Views that follow one another, of one shape, and together no more than `at_once` images unless it is one."""
    together: list[Tensor] = []
    for view in views:
        if together and (view.shape != together[0].shape or (len(together) + 1) * len(view) > at_once):
            yield together
            together = []
        together.append(view)
    if together:
        yield together


def with_mirror_images(views: Iterable[Tensor]) -> Iterator[Tensor]:
    """Each view, and the same with left and right exchanged."""
    for view in views:
        yield view
        yield view.flip(3)


def corners_and_centre(images: Tensor, size: int) -> Iterator[Tensor]:
    """The five squares of `size` pixels in the corners and the centre of (N, C, H, W)."""
    height, width = images.shape[2:]
    for top in (0, height - size):
        for left in (0, width - size):
            yield images[:, :, top : top + size, left : left + size]
    yield centre(images, size)


def centre(images: Tensor, size: int) -> Tensor:
    """The central square of `size` pixels of (N, C, H, W)."""
    top, left = (images.shape[2] - size) // 2, (images.shape[3] - size) // 2
    return images[:, :, top : top + size, left : left + size]


def squares(images: Tensor) -> Iterator[Tensor]:
    """The largest squares at the left, in the centre and at the right of (N, C, H, W), or top, centre and bottom; of a
    square the one that it is.
    """
    height, width = images.shape[2:]
    size = min(height, width)
    longer = height + width - 2 * size
    for start in (0, longer // 2, longer) if longer else (0,):
        yield images[:, :, :, start : start + size] if width > height else images[:, :, start : start + size]


def _with_shorter_side(pictures: Tensor, size: int) -> Tensor:
    """Pictures (N, C, H, W) resized bilinearly, averaging when they shrink; of very long ones the middle."""
    height, width = pictures.shape[2:]
    most = MOST_ELONGATED * min(height, width)
    if max(height, width) > most:
        top, left = max(height - most, 0) // 2, max(width - most, 0) // 2
        pictures = pictures[:, :, top : top + most, left : left + most]
        height, width = pictures.shape[2:]
    shorter = min(height, width)
    if shorter == size:
        return pictures
    to = (round(height * size / shorter), round(width * size / shorter))
    return F.interpolate(pictures, size=to, mode="bilinear", antialias=True)


def _listed(scales: Sequence[int]) -> str:
    *first, last = map(str, scales)
    return f"{', '.join(first)} and {last} pixels" if first else f"{last} pixels"
