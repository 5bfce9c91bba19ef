"""The reader of a name."""

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from torch import Tensor

from convarium.data.readers.jpeg import START, JpegReader
from convarium.data.readers.pillow import PillowReader
from convarium.data.readers.reader import Box, Reader, Unreadable
from convarium.data.readers.simplejpeg import SimpleJpegReader
from convarium.data.readers.turbojpeg import TurboJpegReader
from convarium.errors import ConfigError

T = TypeVar("T")

FAST: dict[str, type[JpegReader]] = {"turbojpeg": TurboJpegReader, "simplejpeg": SimpleJpegReader}
"""Readers of JPEG files, the fastest first (benchmarks/decode.py)."""


def reader(name: str = "auto") -> Reader:
    """By name: a fast reader for JPEG files, Pillow for all else; auto is the fastest that is installed.
    Raises ConfigError if the reader lacks its library."""
    name = installed()[0] if name == "auto" else name
    if name == "pillow":
        return PillowReader()
    try:
        return WithPillow(FAST[name]())
    except ImportError as error:
        raise ConfigError(
            f"data.reader={name}: {FAST[name].needs} is not installed ({error}); pip install 'convarium[decode]',"
            f" or take data.reader=auto"
        ) from None


def installed() -> list[str]:
    """The names of the readers of single pictures that work here, the fastest first."""
    working = []
    for name, kind in FAST.items():
        with suppress(ImportError, OSError):
            kind()
            working.append(name)
    return [*working, "pillow"]


class WithPillow:
    """A fast reader of JPEG files, and Pillow for every file that is none or that it refuses.
    So it is Pillow alone that finds a file Unreadable, whichever reader was asked for."""

    def __init__(self, fast: JpegReader) -> None:
        self.fast = fast
        self.name = fast.name
        self.pillow = PillowReader()

    def size(self, data: bytes) -> tuple[int, int]:
        return self._ask(data, lambda reader: reader.size(data))

    def read(self, data: bytes, box: Box | None, size: tuple[int, int] | None, *, channels: int) -> Tensor:
        return self._ask(data, lambda reader: reader.read(data, box, size, channels=channels))

    def _ask(self, data: bytes, question: Callable[[Reader], T]) -> T:
        if data.startswith(START):
            with suppress(Unreadable):
                return question(self.fast)
        return question(self.pillow)
