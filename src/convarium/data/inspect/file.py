"""What can be said of one image file: whether it decodes to its end, and what is odd about it. No torch here."""

import errno
import hashlib
import io
import os
import warnings
from collections.abc import Iterator
from typing import NamedTuple

# the plugins of FORMATS that Pillow does not load by itself, so that it need not load all it has
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin  # noqa: F401

from convarium.files import read_regular
from convarium.wording import one_line

FORMATS = {
    **dict.fromkeys((".jpg", ".jpeg"), ("JPEG", "MPO")),  # MPO: a camera's JPEG with more pictures behind the first
    **{f".{name.lower()}": (name,) for name in ("PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")},
    ".pgm": ("PPM",),
    ".tif": ("TIFF",),
}
"""Pillow's names of the formats that a suffix stands for. No other is opened: Pillow hands PostScript to a program."""
_OPENED = tuple(dict.fromkeys(names[0] for names in FORMATS.values()))  # Pillow finds out by itself that it is an MPO

_BAND = 1 << 22  # pixels converted at a time

_HEADS = {
    b"version https://git-lfs": "a pointer of Git LFS, not the file",
    b"<": "a web page",
    b"{": "JSON",
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
    b"%!PS": "PostScript",
    b"\xff\xd8\xff": "it begins as a JPEG",
    b"\x89PNG": "it begins as a PNG",
    b"GIF8": "it begins as a GIF",
}
"""What else lies in a file named as a picture, by its first bytes."""


class FileReport(NamedTuple):
    """An image file, decoded and thrown away. Of one that does not decode `bad` says why, and pixels are not known."""

    stored: int = 0  # bytes of the file
    width: int = 0  # as a person sees it, turned as its EXIF orientation says
    height: int = 0
    mode: str = ""  # Pillow's
    digest: bytes = b""  # 16 bytes, the same for the same pixels: as stored, in colour of 8 bits, without transparency
    notes: tuple[tuple[str, str], ...] = ()  # what is odd about it, as kind and detail
    bad: str = ""


def inspect_file(path: str) -> FileReport:
    """Decode an image file to its last pixel. Raises nothing that a file can cause, but fatal errors of the decoder."""
    data = b""
    try:
        data = read_regular(path)
        if not data:
            return FileReport(bad="empty: 0 bytes")
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            return _decode(path, data, said)
    except UnidentifiedImageError:
        head = next((what for start, what in _HEADS.items() if data.lstrip().startswith(start)), "")
        return FileReport(len(data), bad=f"not a picture: {head or 'of no format we read'}")
    except Image.DecompressionBombError as error:
        return FileReport(len(data), bad=f"too large: {one_line(error, 200).partition(',')[0]}")
    except MemoryError:
        return FileReport(len(data), bad="too large: not enough memory to decode it")
    except Exception as error:  # a damaged file brings any error out of a decoder, and none may stop a scan
        return FileReport(len(data), bad=_why(error, path))


def digest(pixels: bytes, width: int, height: int) -> bytes:
    """16 bytes that are the same for the same pixels of the same size."""
    return hashlib.sha256(b"%d,%d," % (width, height) + pixels).digest()[:16]


def _decode(path: str, data: bytes, said: list[warnings.WarningMessage]) -> FileReport:
    with Image.open(io.BytesIO(data), formats=_OPENED) as picture:
        deep = any(_is_deep(tile[3]) for tile in picture.tile)
        picture.load()
        mode, form = picture.mode, str(picture.format)
        deep |= mode.startswith(("I", "F"))
        suffix, (width, height) = os.path.splitext(path)[1].lower(), picture.size
        transparent = mode in ("LA", "RGBA", "PA", "La", "RGBa") or "transparency" in picture.info
        frames = getattr(picture, "is_animated", False) and getattr(picture, "n_frames", "several")
        orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
        if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
            raise Image.DecompressionBombError(f"{width}x{height} is more than {Image.MAX_IMAGE_PIXELS} pixels")
        hashed, last_row = hashlib.sha256(b"%d,%d," % (width, height)), b""
        for pixels in _bands(picture):
            hashed.update(pixels)
            last_row = pixels[-3 * width :]
    ends_grey = form == "JPEG" and last_row == b"\x80" * (3 * width)
    kinds = (
        (form not in FORMATS.get(suffix, (form,)), "other format", f"is {form}, named {suffix}"),
        (mode == "CMYK", "CMYK", "four inks, read as colour"),
        (deep, "16-bit", f"{'32' if mode in ('I', 'F') else '16'} bits a channel, read as 8"),
        (mode in ("P", "PA"), "palette", "numbers of a palette, read as colour"),
        (transparent, "alpha", "transparency, dropped when read"),
        (frames, "several pictures", f"{frames} in one file, the first is read"),
        (orientation in range(2, 9), "rotated", f"EXIF orientation {orientation}"),
        (min(width, height) == 1, "1 pixel", f"{width}x{height}"),
        (ends_grey, "grey end", "its last row is the grey that stands for missing data"),
    )
    notes = [(kind, detail) for is_so, kind, detail in kinds if is_so]
    notes += [("warning", one_line(warning.message, 200)) for warning in said]
    if orientation in (5, 6, 7, 8):
        width, height = height, width
    return FileReport(len(data), width, height, mode, hashed.digest()[:16], tuple(notes))


def _is_deep(layout: object) -> bool:
    """Whether the stored pixels have 16 bits a channel, of which Pillow keeps 8 if they are coloured."""
    name = str(layout[0] if isinstance(layout, tuple) and layout else layout)
    return ";16" in name and not name.startswith("BGR")  # 16 bits for all three


def _bands(picture: Image.Image) -> Iterator[bytes]:
    """The pixels in colour of 8 bits without transparency, top to bottom; a huge picture is not held twice."""
    width, height = picture.size
    rows = max(1, _BAND // width)
    for top in range(0, height, rows):
        part = picture if rows >= height else picture.crop((0, top, width, min(top + rows, height)))
        if part.mode.startswith("I"):  # 16-bit grey keeps its high byte
            part = part.convert("I").point(lambda value: value / 256).convert("L")
        yield (part if part.mode == "RGB" else part.convert("RGB")).tobytes()


def _why(error: Exception, path: str) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        if error.errno == errno.ENOENT:
            return f"broken link to {os.readlink(path)}" if os.path.islink(path) else "unreadable: it is gone"
        return f"unreadable: {error.strerror}"
    message = one_line(error, 200)
    if "truncated" in message.lower():
        left = message.partition("(")[2].partition(")")[0]
        return f"truncated: {left}" if left else "truncated"
    return f"damaged: {message}"
