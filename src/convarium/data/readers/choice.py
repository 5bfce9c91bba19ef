"""The reader of a name, and how a whole picture becomes the square that a network sees."""

import importlib
from collections.abc import Callable
from typing import NamedTuple, cast

from torch import Tensor

from convarium.data.readers.jpeg import START
from convarium.data.readers.pillow import PillowReader
from convarium.data.readers.reader import Box, Reader, Unreadable
from convarium.errors import ConfigError
from convarium.wording import nearest


class Kind(NamedTuple):
    """Where a reader of JPEG files is, and what it needs."""

    module: str
    name: str
    needs: str


FAST = {
    "turbojpeg": Kind("convarium.data.readers.turbojpeg", "TurboJpegReader", "libturbojpeg 3 or later"),
    "simplejpeg": Kind("convarium.data.readers.simplejpeg", "SimpleJpegReader", "simplejpeg"),
    "torchcodec": Kind("convarium.data.readers.torchcodec", "TorchCodecReader", "torchcodec"),
}
"""Readers of JPEG files, the fastest first (benchmarks/decode.py)."""

NAMES = ("auto", *FAST, "pillow")


def reader(name: str = "auto") -> Reader:
    """By name: a fast reader for JPEG files, Pillow for all else; auto is the fastest that is installed.

    Raises ConfigError if there is no such reader, or it lacks its library.
    """
    if name == "auto":
        return reader(next(iter(installed())))
    if name == "pillow":
        return PillowReader()
    if name not in FAST:
        raise ConfigError(f"data.reader={name}: accepted are {', '.join(NAMES)}{nearest(name, NAMES)}")
    try:
        return WithPillow(_fast(name))
    except ImportError as error:
        raise ConfigError(
            f"data.reader={name}: {FAST[name].needs} is not installed ({error}); pip install 'convarium[decode]',"
            f" or take data.reader=auto"
        ) from None


def installed() -> list[str]:
    """The names of the readers of single pictures that work here, the fastest first."""
    working = []
    for name in FAST:
        try:
            _fast(name)
        except (ImportError, OSError, RuntimeError):  # a library built for another torch says so in many ways
            continue
        working.append(name)
    return [*working, "pillow"]


class WithPillow:
    """A fast reader of JPEG files, and Pillow for every file that is none or that it refuses.

    So it is Pillow alone that finds a file Unreadable, whichever reader was asked for.
    """

    def __init__(self, fast: Reader) -> None:
        self.fast = fast
        self.name = fast.name
        self.pillow = PillowReader()

    def size(self, data: bytes) -> tuple[int, int]:
        if data.startswith(START):
            try:
                return self.fast.size(data)
            except Unreadable:
                pass
        return self.pillow.size(data)

    def read(self, data: bytes, box: Box | None, size: tuple[int, int] | None, *, channels: int) -> Tensor:
        if data.startswith(START):
            try:
                return self.fast.read(data, box, size, channels=channels)
            except Unreadable:
                pass
        return self.pillow.read(data, box, size, channels=channels)


def read_square(reader: Reader, data: bytes, *, image_size: int, crop_share: float = 1.0, channels: int) -> Tensor:
    """The `square` of an image file, uint8 (channels, image_size, image_size). Raises Unreadable."""
    return square(
        reader.size(data),
        lambda size: reader.read(data, None, size, channels=channels),
        image_size=image_size,
        crop_share=crop_share,
    )


def square(
    stored: tuple[int, int],
    read: Callable[[tuple[int, int] | None], Tensor],
    *,
    image_size: int,
    crop_share: float = 1.0,
) -> Tensor:
    """The shorter side resized to image_size / crop_share, then the central square cut out. A picture of that very size
    is not touched.

    stored: height and width; read: gives the picture, resized to a height and width or (None) as it is.
    """
    height, width = stored
    if (height, width) == (image_size, image_size):
        return read(None)
    scale = image_size / crop_share / min(height, width)
    height, width = max(round(height * scale), image_size), max(round(width * scale), image_size)
    picture = read((height, width))
    top, left = (height - image_size) // 2, (width - image_size) // 2
    return picture[:, top : top + image_size, left : left + image_size]


def _fast(name: str) -> Reader:
    """Raises ImportError."""
    kind = FAST[name]
    return cast(Callable[[], Reader], getattr(importlib.import_module(kind.module), kind.name))()
