"""What a reader of image files is."""

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
    """Decodes image files out of memory; may be called by several threads at once."""

    def size(self, data: bytes) -> tuple[int, int]:
        """Height and width, as a person sees the picture, from the head of the file. Raises Unreadable."""
        ...

    def read(self, data: bytes, box: Box | None, size: tuple[int, int] | None, *, channels: int) -> Tensor:
        """The part of the picture in `box` (None: all of it), resized to `size` (height, width; None: as it is) by
        Pillow's antialiased bilinear filter; uint8 (channels, height, width). Raises Unreadable.
        """
        ...
