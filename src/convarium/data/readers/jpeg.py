"""What the fast readers of JPEG files share: the head of a file, its orientation, the resize."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from convarium.data.readers.pillow import opened, orientation, refuse_huge
from convarium.data.readers.reader import Box, Unreadable, checked

START, END = b"\xff\xd8", b"\xff\xd9"
SCAN, TAGS = 0xDA, 0xE1
FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended and progressive by Huffman codes; what is rarer is Pillow's
OTHER_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}


class Head(NamedTuple):
    """What a JPEG file says of itself before its pixels."""

    height: int
    width: int
    components: int
    tagged: bool  # whether it has EXIF or XMP tags


def head(data: bytes) -> Head:
    """Of a JPEG file of 8 bits, grey or three colours, with its end. Raises Unreadable for any other."""
    if not data.startswith(START):
        raise Unreadable("not a JPEG file")
    at, tagged, frame = 2, False, None
    try:
        while (marker := data[at + 1]) != SCAN:
            if data[at] != 0xFF or marker in OTHER_FRAMES:
                raise Unreadable("not a JPEG file of the usual kind")
            if marker == 0xFF:  # a fill byte
                at += 1
                continue
            if marker in FRAMES:
                frame = data[at + 4 : at + 10]
            tagged |= marker == TAGS
            at += 2 + int.from_bytes(data[at + 2 : at + 4])
    except IndexError:
        raise Unreadable("the file ends within its head") from None
    if frame is None or len(frame) < 6:
        raise Unreadable("a JPEG file without a frame")
    # Readers of a part do not come to a missing end, and whether a file is whole must not depend on the part
    if not data.endswith(END) and data.rfind(END, at) < 0:
        raise Unreadable("the end of the file is missing")
    height, width, components = int.from_bytes(frame[1:3]), int.from_bytes(frame[3:5]), frame[5]
    if frame[0] != 8 or components not in (1, 3) or not height or not width:
        raise Unreadable("not a JPEG file of 8 bits, grey or colour")
    refuse_huge(height, width)
    return Head(height, width, components, tagged)


class Turn(NamedTuple):
    """From the picture as stored to the picture as seen: transposed first, then its rows, columns reversed."""

    transposed: bool = False
    rows: bool = False
    columns: bool = False

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Of the picture on the other side of the turn."""
        return (width, height) if self.transposed else (height, width)

    def stored(self, box: Box, seen: tuple[int, int]) -> Box:
        """Where a box of the picture as seen, of that height and width, lies in the picture as stored."""
        top, left, height, width = box
        if self.rows:
            top = seen[0] - top - height
        if self.columns:
            left = seen[1] - left - width
        return Box(left, top, width, height) if self.transposed else Box(top, left, height, width)

    def seen(self, image: Tensor) -> Tensor:
        """(C, H, W) as stored to (C, H, W) or (C, W, H) as seen."""
        if self.transposed:
            image = image.transpose(1, 2)
        reverse = [dim for dim, wanted in ((1, self.rows), (2, self.columns)) if wanted]
        return image.flip(reverse) if reverse else image


UPRIGHT = Turn()
TURNS = {
    2: Turn(columns=True),
    3: Turn(rows=True, columns=True),
    4: Turn(rows=True),
    5: Turn(transposed=True),
    6: Turn(transposed=True, columns=True),
    7: Turn(transposed=True, rows=True, columns=True),
    8: Turn(transposed=True, rows=True),
}
"""By EXIF orientation."""


class JpegReader(ABC):
    """A reader of JPEG files alone; any other is Unreadable. Raises ImportError without its library."""

    name: str
    needs: str  # the library, in words

    def size(self, data: bytes) -> tuple[int, int]:
        header = head(data)
        return turn_of(data, header).size(header.height, header.width)

    def read(self, data: bytes, box: Box | None, size: tuple[int, int] | None, *, channels: int) -> Tensor:
        header = head(data)
        turn = turn_of(data, header)
        seen = turn.size(header.height, header.width)
        box = Box(0, 0, *seen) if box is None else checked(box, seen)
        pixels = self.decode(data, header, turn.stored(box, seen))
        image = turn.seen(resized(pixels, turn.size(*size or (box.height, box.width))))
        if header.components == channels:
            return image
        return image.repeat(3, 1, 1) if channels == 3 else _grey(image)

    @abstractmethod
    def decode(self, data: bytes, head: Head, box: Box) -> Tensor:
        """The pixels in a box of the picture as stored; uint8 (height, width, components). Raises Unreadable."""


def resized(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 (H, W, C) to uint8 (C, *size) by torch's own port of Pillow's filter, vectorized for channels last."""
    image = pixels.permute(2, 0, 1).unsqueeze(0)
    if size != tuple(image.shape[2:]):
        image = image.contiguous(memory_format=torch.channels_last)
        image = F.interpolate(image, size=size, mode="bilinear", antialias=True)
    return image[0]


def turn_of(data: bytes, head: Head) -> Turn:
    """How the picture is to be turned; UPRIGHT itself if it is not."""
    return TURNS.get(orientation(opened(data)), UPRIGHT) if head.tagged else UPRIGHT


def _grey(image: Tensor) -> Tensor:
    """Colour (3, H, W) to grey (1, H, W), rounded as Pillow does (ITU-R 601 in 16 bits)."""
    red, green, blue = image.to(torch.int32)
    grey: Tensor = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
    return grey.to(torch.uint8).unsqueeze(0)
