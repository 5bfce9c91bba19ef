"""torchcodec: PyTorch's own decoder; its image decoders need no FFmpeg."""

from collections.abc import Callable

import torch
from torch import Tensor

from convarium.data.readers.jpeg import Head, JpegReader
from convarium.data.readers.reader import Box, Unreadable


class TorchCodecReader(JpegReader):
    """JPEG files by torchcodec. Raises ImportError if it is not installed."""

    name = "torchcodec"

    def __init__(self) -> None:
        from torchcodec.decoders import decode_jpeg

        self._decode: Callable[..., Tensor] = decode_jpeg

    def decode(self, data: bytes, head: Head, box: Box) -> Tensor:
        # given bytes it changes the warning filters of the whole process, in every thread at once
        source = bytearray(data)
        if head.tagged:  # it would turn the picture; its tags are hidden, so that one code turns for all readers
            source = source.replace(b"\xff\xe1", b"\xff\xef")
        mode = "GRAY" if head.components == 1 else "RGB"
        try:
            picture = self._decode(torch.frombuffer(source, dtype=torch.uint8), mode=mode)
        except RuntimeError as error:
            raise Unreadable(" ".join(str(error).split())) from None
        top, left, height, width = box
        return picture[:, top : top + height, left : left + width].permute(1, 2, 0)
