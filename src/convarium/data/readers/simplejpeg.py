"""simplejpeg: libjpeg-turbo in one small wheel, for every platform; decodes whole pictures."""

import torch
from torch import Tensor

from convarium.data.readers.jpeg import Head, JpegReader
from convarium.data.readers.reader import Box, Unreadable
from convarium.wording import one_line


class SimpleJpegReader(JpegReader):
    """JPEG files by simplejpeg."""

    name = needs = "simplejpeg"

    def __init__(self) -> None:
        from simplejpeg import decode_jpeg

        self._decode = decode_jpeg

    def decode(self, data: bytes, head: Head, box: Box) -> Tensor:
        try:
            picture = torch.from_numpy(self._decode(data, colorspace="GRAY" if head.components == 1 else "RGB"))
        except ValueError as error:
            raise Unreadable(one_line(error)) from None
        top, left, height, width = box
        return picture[top : top + height, left : left + width]
