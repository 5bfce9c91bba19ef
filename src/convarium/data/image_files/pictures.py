"""From an image file, or an image of another size, to the uint8 pixels a network sees."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from convarium.data.readers.pillow import MODES, PillowReader
from convarium.data.readers.reader import Unreadable, read_square
from convarium.files import read_regular


def read_picture(path: str | Path, *, channels: int, image_size: int, crop_share: float = 1.0) -> Tensor:
    """Decode an image file, turned as its EXIF orientation says: the shorter side resized to image_size / crop_share
    (Pillow's bilinear, which averages when it shrinks), then the central square cut out; uint8 (channels, image_size,
    image_size).

    An image of that very size is not touched. Raises ValueError, naming the file, if it cannot be read.
    """
    if channels not in MODES:
        raise ValueError(f"channels={channels}: accepted are {', '.join(map(str, MODES))}")
    square = partial(read_square, PillowReader(), image_size=image_size, crop_share=crop_share, channels=channels)
    return read_file(path, square).contiguous()


def read_file(path: str | Path, decode: Callable[[bytes], Tensor]) -> Tensor:
    """What `decode` makes of a file's bytes. Raises ValueError, naming the file, if it cannot be read."""
    try:
        return decode(read_regular(path))
    except FileNotFoundError:
        raise ValueError(f"{path}: no such image") from None
    except OSError as error:
        raise ValueError(f"{path}: unreadable image ({error.strerror})") from None
    except Unreadable as error:
        raise ValueError(f"{path}: unreadable image ({error})") from None


def pad_to(images: Tensor, image_size: int) -> Tensor:
    """Square uint8 images (N, C, H, H) centred in `image_size` pixels of background (0)."""
    extra = image_size - images.shape[-1]
    before, after = extra // 2, extra - extra // 2
    return F.pad(images, (before, after, before, after))


def resize_to(images: Tensor, image_size: int) -> Tensor:
    """Square uint8 images (N, C, H, H) resized bilinearly, averaging when they shrink; rounded to uint8."""
    resized = F.interpolate(images.float(), size=(image_size, image_size), mode="bilinear", antialias=True)
    return resized.round_().clamp_(0, 255).to(torch.uint8)


FITS = {"pad": pad_to, "bilinear": resize_to}
"""How stored images reach another size, by the name used in a yaml (`resize: pad`)."""
