"""From an image file, or an image of another size, to the uint8 pixels a network sees."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F

MODES = {1: "L", 3: "RGB"}
"""Pillow's mode for the channels a dataset can have."""


def _to_mode(picture: Image.Image, mode: str) -> Image.Image:
    """Grey or colour of 8 bits; 16-bit grey keeps its high byte, transparency is dropped."""
    if picture.mode.startswith("I"):  # 16-bit PNG and TIFF
        picture = Image.fromarray((np.asarray(picture).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8))
    return picture if picture.mode == mode else picture.convert(mode)


def read_picture(path: str | Path, *, channels: int, image_size: int, crop_share: float = 1.0) -> Tensor:
    """Decode an image file: the shorter side resized to image_size / crop_share (Pillow's bilinear, which averages
    when it shrinks), then the central square cut out; uint8 (channels, image_size, image_size).

    An image of that very size is not touched. Raises ValueError, naming the file, if it cannot be read.
    """
    picture = _open(path, channels)
    width, height = picture.size
    if (width, height) != (image_size, image_size):
        scale = image_size / crop_share / min(width, height)
        width, height = max(round(width * scale), image_size), max(round(height * scale), image_size)
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        left, top = (width - image_size) // 2, (height - image_size) // 2
        picture = picture.crop((left, top, left + image_size, top + image_size))
    return _pixels(picture)


def read_whole(path: str | Path, *, channels: int) -> Tensor:
    """Decode an image file as it is; uint8 (channels, H, W). Raises ValueError, naming the file, if it cannot be."""
    return _pixels(_open(path, channels))


def _open(path: str | Path, channels: int) -> Image.Image:
    if channels not in MODES:
        raise ValueError(f"channels={channels}: accepted are {', '.join(map(str, MODES))}")
    try:
        with Image.open(path) as file:
            picture = _to_mode(file, MODES[channels])
            picture.load()
    except FileNotFoundError:
        raise ValueError(f"{path}: no such image") from None
    except UnidentifiedImageError:
        raise ValueError(f"{path}: unreadable image (not a picture in a format we know)") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: unreadable image ({error})") from None
    return picture


def _pixels(picture: Image.Image) -> Tensor:
    """uint8 (channels, H, W)."""
    pixels = torch.from_numpy(np.array(picture))
    return pixels.unsqueeze(0) if pixels.ndim == 2 else pixels.permute(2, 0, 1).contiguous()


def pad_to(images: Tensor, image_size: int) -> Tensor:
    """Square uint8 images (N, C, H, H) centred in `image_size` pixels of background (0)."""
    extra = image_size - images.shape[-1]
    if extra < 0:
        raise ValueError(
            f"image_size={image_size}: padding cannot shrink {images.shape[-1]} pixels; use resize=bilinear"
        )
    before, after = extra // 2, extra - extra // 2
    return F.pad(images, (before, after, before, after))


def resize_to(images: Tensor, image_size: int) -> Tensor:
    """Square uint8 images (N, C, H, H) resized bilinearly, averaging when they shrink; rounded to uint8."""
    resized = F.interpolate(images.float(), size=(image_size, image_size), mode="bilinear", antialias=True)
    return resized.round_().clamp_(0, 255).to(torch.uint8)


FITS = {"pad": pad_to, "bilinear": resize_to}
"""How stored images reach another size, by the name used in a yaml (`resize: pad`)."""
