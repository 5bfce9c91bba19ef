"""Files that a folder of images may hold, each wrong or unusual in its own way."""

import os
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image


class BadFile(NamedTuple):
    path: Path
    what: str
    """What is wrong with it, or unusual."""
    readable: bool
    """Whether it is a picture all the same."""


def colours(height: int = 40, width: int = 60, seed: int = 0) -> np.ndarray:
    """Something like a photograph: smooth patches, edges and noise; uint8 (height, width, 3)."""
    generator = np.random.default_rng(seed)
    patches = generator.integers(0, 256, (-(-height // 12), -(-width // 12), 3))
    pixels = np.kron(patches, np.ones((12, 12, 1)))[:height, :width] + generator.normal(0, 6, (height, width, 3))
    return pixels.clip(0, 255).astype(np.uint8)


def encoded(picture: Image.Image | np.ndarray, kind: str, **options: object) -> bytes:
    out = BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(out, kind, **options)
    return out.getvalue()


def png(height: int, width: int, rows: bytes) -> bytes:
    """A grey PNG file of 8 bits whose head may lie about its rows."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def bad_files(folder: Path) -> list[BadFile]:
    """Writes them all into `folder`, which must not exist."""
    folder.mkdir(parents=True)
    picture = Image.fromarray(colours())
    jpeg, progressive = encoded(picture, "JPEG"), encoded(picture, "JPEG", progressive=True)
    plain, frames = encoded(picture, "PNG"), [Image.fromarray(colours(seed=seed)) for seed in (1, 2)]
    palette = picture.quantize(16)
    deep = np.arange(2400, dtype=np.uint16).reshape(40, 60) * 27
    damaged_tags = encoded(picture, "JPEG", exif=turned(6)).replace(b"Exif\0\0", b"Exif\0\0\xff\xff\xff\xff\xff", 1)
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    contents = {
        "empty.jpg": (b"", "zero bytes", False),
        "zeros.jpg": (bytes(5000), "5,000 bytes of zero", False),
        "text.jpg": (b"n01440764 is a fish\n", "text", False),
        "page.jpg": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "a web page", False),
        "drawing.png": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "a drawing in SVG", False),
        "document.jpg": (b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n", "a document in PDF", False),
        "program.jpg": (eps, "a PostScript program", False),
        "archive.png": (b"PK\x03\x04" + bytes(60), "a zip archive", False),
        "half.jpg": (jpeg[: len(jpeg) // 2], "a JPEG file cut in its middle", False),
        "almost.jpg": (jpeg[:-60], "a JPEG file without its last 60 bytes", False),
        "head.jpg": (jpeg[:100], "the first 100 bytes of a JPEG file", False),
        "half progressive.jpg": (
            progressive[: len(progressive) // 2],
            "a progressive JPEG file cut in its middle",
            False,
        ),
        "half.png": (plain[: len(plain) // 2], "a PNG file cut in its middle", False),
        "half.gif": (encoded(picture, "GIF")[:1500], "a GIF file cut in its middle", False),
        "half.webp": (encoded(picture, "WEBP", lossless=True)[:2000], "a WebP file cut in its middle", False),
        "damaged.png": (plain[:30] + bytes([plain[30] ^ 255]) + plain[31:], "a PNG file with a damaged head", False),
        "bomb.png": (png(30_000, 30_000, bytes(100)), "30,000 x 30,000 pixels", False),
        "wide.png": (png(2, 30_000, bytes(2 * 30_001)), "30,000 x 2 pixels", True),
        "png.jpg": (plain, "a PNG file named .jpg", True),
        "jpeg.png": (jpeg, "a JPEG file named .png", True),
        "trailing.jpg": (jpeg + b"\0" * 50, "a JPEG file with more bytes behind its end", True),
        "progressive.jpg": (progressive, "a progressive JPEG file", True),
        "grey.jpg": (encoded(picture.convert("L"), "JPEG"), "a grey JPEG file", True),
        "cmyk.jpg": (encoded(picture.convert("CMYK"), "JPEG"), "a JPEG file for print, of four inks", True),
        "turned.jpg": (encoded(picture, "JPEG", exif=turned(6)), "turned by its EXIF orientation", True),
        "damaged tags.jpg": (damaged_tags, "a JPEG file with damaged EXIF tags", True),
        "one.jpg": (encoded(picture.resize((1, 1)), "JPEG"), "1 x 1 pixel, JPEG", True),
        "one.png": (encoded(picture.resize((1, 1)), "PNG"), "1 x 1 pixel, PNG", True),
        "deep.png": (encoded(deep, "PNG"), "16-bit grey, PNG", True),
        "deep.tif": (encoded(deep, "TIFF"), "16-bit grey, TIFF", True),
        "print.tif": (encoded(picture.convert("CMYK"), "TIFF"), "a TIFF file for print, of four inks", True),
        "bits.png": (encoded(picture.convert("1"), "PNG"), "black and white, 1 bit", True),
        "palette.png": (encoded(palette, "PNG", transparency=bytes(range(16))), "a palette with transparency", True),
        "grey transparent.png": (encoded(picture.convert("LA"), "PNG"), "grey with transparency", True),
        "transparent.png": (encoded(picture.convert("RGBA"), "PNG"), "colour with transparency", True),
        "animated.gif": (
            encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
            "an animated GIF file",
            True,
        ),
        "animated.webp": (
            encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
            "an animated WebP file",
            True,
        ),
        "animated.png": (
            encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]),
            "an animated PNG file",
            True,
        ),
    }
    found = []
    for name, (data, what, readable) in contents.items():
        (folder / name).write_bytes(data)
        found.append(BadFile(folder / name, what, readable))
    (folder / "folder.jpg").mkdir()
    (folder / "lost.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "loop.jpg").symlink_to(folder / "pool.jpg")
    (folder / "pool.jpg").symlink_to(folder / "loop.jpg")
    (folder / "locked.jpg").write_bytes(jpeg)
    (folder / "locked.jpg").chmod(0)
    return [
        *found,
        BadFile(folder / "folder.jpg", "a folder", False),
        BadFile(folder / "lost.jpg", "a link to nothing", False),
        BadFile(folder / "loop.jpg", "a link to itself", False),
        BadFile(folder / "pool.jpg", "a link to itself", False),
        BadFile(folder / "locked.jpg", "a file nobody may read", os.access(folder / "locked.jpg", os.R_OK)),
    ]
