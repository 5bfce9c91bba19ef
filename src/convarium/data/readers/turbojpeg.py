"""TurboJPEG 3's own C interface through ctypes: only the rows and columns that survive the crop are transformed.

What cannot be skipped is the entropy code above the box (and beside it): a baseline JPEG file has no index. Below the
box nothing is read. Differs from decoding all and slicing: in nothing, once the box is widened to whole blocks on
its left and by a few columns on its right, from which smooth upsampling of the colours takes neighbours.
"""

import ctypes
import functools
import importlib.util
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from convarium.data.readers.jpeg import Head, JpegReader
from convarium.data.readers.reader import Box, Unreadable

# turbojpeg.h
DECOMPRESS = 1
SUBSAMPLING, WIDTH, HEIGHT = 4, 5, 6
RGB, GREY = 0, 6
BLOCK_WIDTHS = {0: 8, 1: 16, 2: 16, 3: 8, 4: 8, 5: 32, 6: 8}
"""Columns of the smallest piece that can be decoded alone, by subsampling (4:4:4, 4:2:2, 4:2:0, grey, 4:4:0, ...)."""

NEIGHBOURS = 2  # columns on the right that smooth upsampling of the colours takes into account

NAMES = {"linux": ("libturbojpeg.so.0",), "darwin": ("libturbojpeg.dylib",), "win32": ("turbojpeg.dll",)}
PLACES = {
    "linux": ("/opt/libjpeg-turbo/lib64",),
    "darwin": ("/opt/homebrew/opt/jpeg-turbo/lib", "/usr/local/opt/jpeg-turbo/lib", "/opt/libjpeg-turbo/lib64"),
}
SHARED = re.compile(r"\.(so|dylib|dll)(\.|$)")


class Region(ctypes.Structure):
    """tjregion: what of the picture to decode; all 0: all of it."""

    _fields_ = (("x", ctypes.c_int), ("y", ctypes.c_int), ("width", ctypes.c_int), ("height", ctypes.c_int))


class TurboJpegReader(JpegReader):
    """JPEG files by libjpeg-turbo 3 or later."""

    name = "turbojpeg"
    needs = "libturbojpeg 3 or later"

    def __init__(self) -> None:
        library()

    def decode(self, data: bytes, head: Head, box: Box) -> Tensor:
        decoder: Decoder | None = getattr(_of_this_thread, "decoder", None)
        if decoder is None:
            decoder = _of_this_thread.decoder = Decoder()
        return decoder.part(data, head, box)


class Decoder:
    """One TurboJPEG handle; used by one thread at a time."""

    def __init__(self) -> None:
        self._slow, self._quick = library()
        self._handle = self._quick.tj3Init(DECOMPRESS)
        if not self._handle:
            raise MemoryError("TurboJPEG: no decoder")

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._quick.tj3Destroy(self._handle)

    def part(self, data: bytes, head: Head, box: Box) -> Tensor:
        """uint8 (height, width, components)."""
        handle, quick = self._handle, self._quick
        self._check(quick.tj3DecompressHeader(handle, data, len(data)))
        if (quick.tj3Get(handle, HEIGHT), quick.tj3Get(handle, WIDTH)) != (head.height, head.width):
            raise Unreadable("two sizes in one file")
        top, left, height, width = box
        first, end = 0, head.width
        block = BLOCK_WIDTHS.get(quick.tj3Get(handle, SUBSAMPLING))
        if block is None:  # an unusual subsampling cannot be read in parts
            rows, region = slice(top, top + height), Region(0, 0, 0, 0)
        else:
            first, end = max(0, left - 1) // block * block, min(left + width + NEIGHBOURS, head.width)
            rows, region = slice(None), Region(first, top, end - first, height)
        self._check(quick.tj3SetCroppingRegion(handle, region))
        shape = (head.height if block is None else height, end - first, head.components)
        pixels = torch.empty(shape, dtype=torch.uint8)
        kind = GREY if head.components == 1 else RGB
        self._check(self._slow.tj3Decompress8(handle, data, len(data), pixels.data_ptr(), 0, kind))
        return pixels[rows, left - first : left - first + width]

    def _check(self, answer: int) -> None:
        """-1 stands for warnings too: a picture with them is left to Pillow."""
        if answer != 0:
            raise Unreadable(" ".join(self._quick.tj3GetErrorStr(self._handle).decode("ascii", "replace").split()))


_of_this_thread = threading.local()


@functools.cache
def library() -> tuple[ctypes.CDLL, ctypes.PyDLL]:
    """libjpeg-turbo 3 or later: for calls during which other threads may run Python, and for those too short for that.
    Raises ImportError."""
    for path in _candidates():
        try:
            slow, quick = ctypes.CDLL(path), ctypes.PyDLL(path)
            _declare(slow)
            _declare(quick)
        except (OSError, AttributeError):  # not there; or older than 3
            continue
        return slow, quick
    raise ImportError(f"{TurboJpegReader.needs} was not found")


def _candidates() -> Iterator[str]:
    """The environment's own library, the system's, and the one in the wheel `turbojpeg`, which need not be imported."""
    names = NAMES.get(sys.platform, ())
    environment = [Path(sys.prefix, "lib"), Path(sys.prefix, "Library", "bin")]  # conda's
    for folder in (*environment, *map(Path, PLACES.get(sys.platform, ()))):
        yield from (str(folder / name) for name in names if (folder / name).exists())
    yield from names
    wheel = importlib.util.find_spec("turbojpeg")
    if wheel is not None and wheel.origin is not None:
        beside = Path(wheel.origin).parent
        for folder in (beside / "turbojpeg.libs", beside / ".dylibs", beside):
            paths = map(str, sorted(folder.glob("*turbojpeg*.*")))
            yield from (path for path in paths if path != wheel.origin and SHARED.search(path))


def _declare(library: ctypes.CDLL) -> None:
    """The types of what is called. Raises AttributeError if the library lacks any of it."""
    handle, number, data, length = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t
    for name, result, arguments in (
        ("tj3Init", handle, (number,)),
        ("tj3Destroy", None, (handle,)),
        ("tj3GetErrorStr", ctypes.c_char_p, (handle,)),
        ("tj3Get", number, (handle, number)),
        ("tj3DecompressHeader", number, (handle, data, length)),
        ("tj3SetCroppingRegion", number, (handle, Region)),
        ("tj3Decompress8", number, (handle, data, length, ctypes.c_void_p, number, number)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
