"""Pillow: reads every format, and has the last word on whether a file is a picture."""

import warnings
from io import BytesIO

import numpy as np
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

from convarium.data.readers.reader import Box, Unreadable, checked
from convarium.wording import one_line

MODES = {1: "L", 3: "RGB"}  # Pillow's mode for the channels a dataset can have

FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF"),
    *("TGA", "PCX", "ICO", "SGI", "PSD", "QOI", "DDS", "SPIDER", "XBM"),
)
"""What is opened, likely ones first. Not all that Pillow knows: to read EPS, for one, it starts another program."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""From the picture as stored to the picture as seen, by EXIF orientation."""


class PillowReader:
    """Every format of FORMATS; what a picture has beyond 8 bits of grey or colour goes:

    - transparency is dropped, not blended with a background (the colour below it shows), as torchvision's loader does;
    - 16-bit samples keep their high byte;
    - of an animation the first frame is read;
    - CMYK is converted by formula, without colour profiles;
    - a picture of more than `PIL.Image.MAX_IMAGE_PIXELS` (89 million) pixels is refused.
    """

    name = "pillow"

    def __init__(self) -> None:
        # Pillow warns of large pictures, of damaged EXIF, ...: what matters of it is in Unreadable
        warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", module=r"PIL\.")

    def size(self, data: bytes) -> tuple[int, int]:
        picture = opened(data)
        width, height = picture.size
        return (width, height) if orientation(picture) >= 5 else (height, width)

    def read(self, data: bytes, box: Box | None, size: tuple[int, int] | None, *, channels: int) -> Tensor:
        picture = opened(data)
        turn = TURNS.get(orientation(picture))
        try:
            picture.load()
        except Exception as error:  # what a damaged file raises depends on its format: OSError, SyntaxError, IndexError
            raise Unreadable(one_line(error)) from None
        if turn is not None:
            picture = picture.transpose(turn)
        return pixels(picture, box, size, channels=channels)


def pixels(picture: Image.Image, box: Box | None, size: tuple[int, int] | None, *, channels: int) -> Tensor:
    """What a reader gives of a picture that is decoded and upright."""
    if box is not None:
        top, left, height, width = checked(box, (picture.height, picture.width))
        picture = picture.crop((left, top, left + width, top + height))
    picture = _to_mode(picture, MODES[channels])
    if size is not None and size != (picture.height, picture.width):
        picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    values = torch.from_numpy(np.array(picture))
    return values.unsqueeze(0) if channels == 1 else values.permute(2, 0, 1)


def opened(data: bytes) -> Image.Image:
    """The picture, its head read. Raises Unreadable."""
    if not data:
        raise Unreadable("empty: 0 bytes")
    try:
        Image.init()
        picture = Image.open(BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN])
    except UnidentifiedImageError:
        raise Unreadable("not a picture in a format we know") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Unreadable(f"more than {Image.MAX_IMAGE_PIXELS} pixels") from None
    except Exception as error:  # see read()
        raise Unreadable(one_line(error)) from None
    refuse_huge(picture.height, picture.width)
    return picture


def refuse_huge(height: int, width: int) -> None:
    """Raises Unreadable for a picture that would fill the memory."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and height * width > limit:
        raise Unreadable(f"{height} x {width} is more than {limit} pixels")


def orientation(picture: Image.Image) -> int:
    """1 to 8 as in EXIF; 1, upright, also where the tag is absent or damaged."""
    try:
        tag = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # the picture is whole where its tags are not
        return 1
    return tag if tag in TURNS else 1


def _to_mode(picture: Image.Image, mode: str) -> Image.Image:
    """Grey or colour of 8 bits."""
    picture.info.pop("transparency", None)  # or Pillow works on it, and warns
    if picture.mode.startswith("I"):  # 16-bit PNG and TIFF
        picture = Image.fromarray((np.asarray(picture).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8))
    return picture if picture.mode == mode else picture.convert(mode)
