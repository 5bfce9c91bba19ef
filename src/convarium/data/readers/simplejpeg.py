"""simplejpeg: libjpeg-turbo in one small wheel, for every platform; decodes whole pictures."""

import torch
from torch import Tensor

from convarium.data.readers.jpeg import Head, JpegReader
from convarium.data.readers.reader import Box, Unreadable


class SimpleJpegReader(JpegReader):
    """JPEG files by simplejpeg. Raises ImportError if it is not installed."""

    name = "simplejpeg"

    def __init__(self) -> None:
        from simplejpeg import decode_jpeg

        self._decode = decode_jpeg

    def decode(self, data: bytes, head: Head, box: Box) -> Tensor:
        try:
            picture = torch.from_numpy(self._decode(data, colorspace="GRAY" if head.components == 1 else "RGB"))
        except ValueError as error:
            raise Unreadable(" ".join(str(error).split())) from None
        top, left, height, width = box
        return picture[top : top + height, left : left + width]
