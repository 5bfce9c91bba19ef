"""What a reader of image files is, and how a whole picture becomes the square that a network sees."""

from typing import NamedTuple, Protocol

from torch import Tensor


class Unreadable(ValueError):
    """Bytes that are no picture, or not a whole one. The message says why, in one line, without the file's name."""


class Box(NamedTuple):
    """A part of a picture, in its pixels as a person sees it (turned as its EXIF orientation says)."""

    top: int
    left: int
    height: int
    width: int


class Reader(Protocol):
    """Decodes image files out of memory; may be called by several threads at once, which the work does not block.

    All readers give the same pixels, within 1 of Pillow's values; within 2 where the picture is turned, grey is made
    of colour, or more than a thousand pixels become one.
    """

    name: str

    def size(self, data: bytes) -> tuple[int, int]:
        """Height and width, as a person sees the picture, from the head of the file. Raises Unreadable."""
        ...

    def read(self, data: bytes, box: Box | None, size: tuple[int, int] | None, *, channels: int) -> Tensor:
        """The part of the picture in `box` (None: all of it), resized to `size` (height, width; None: as it is) by
        Pillow's antialiased bilinear filter; uint8 (channels, height, width), in any order in memory: most readers
        have the channels last, so that to copy it into a batch of that order is quickest. `channels` is 1 or 3.

        Raises Unreadable; Misplaced if the box does not lie in the picture.
        """
        ...


class Misplaced(Exception):
    """A box that does not lie in its picture: a mistake of the caller's, not the file's."""


def checked(box: Box, size: tuple[int, int]) -> Box:
    """The box, if it lies in a picture of `size` (height, width)."""
    top, left, height, width = box
    if top < 0 or left < 0 or height < 1 or width < 1 or top + height > size[0] or left + width > size[1]:
        raise Misplaced(f"{box} does not lie in a picture of {size[0]} x {size[1]}")
    return box


def central(
    height: int, width: int, image_size: int, crop_share: float = 1.0
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The size that a picture is resized to, its shorter side being image_size / crop_share, and the top left corner
    of the central square of `image_size` in it. A picture of that very size is not resized."""
    if (height, width) != (image_size, image_size):
        scale = image_size / crop_share / min(height, width)
        height, width = max(round(height * scale), image_size), max(round(width * scale), image_size)
    return (height, width), ((height - image_size) // 2, (width - image_size) // 2)


def read_square(reader: Reader, data: bytes, *, image_size: int, crop_share: float = 1.0, channels: int) -> Tensor:
    """The `central` square of an image file, uint8 (channels, image_size, image_size). Raises Unreadable."""
    size, (top, left) = central(*reader.size(data), image_size, crop_share)
    picture = reader.read(data, None, size, channels=channels)
    return picture[:, top : top + image_size, left : left + image_size]
