"""Pixels in a matplotlib figure as they are; `imshow` takes them to floating point and back, which takes its time."""

from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.transforms import Affine2D, BboxBase
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F


class Bitmap(Artist):
    """An image whose pixels become equal rectangles, drawn into a box of the canvas.

    pixels: uint8 (3, H, W). box: where, in the units of the canvas.
    """

    def __init__(self, pixels: Tensor, box: BboxBase) -> None:
        super().__init__()
        self.pixels = pixels
        self.box = box
        self.set_zorder(0)

    def draw(self, renderer: Any) -> None:
        """What matplotlib calls. A vector format takes the pixels and scales them itself."""
        left, bottom, right, top = self.box.extents
        context = renderer.new_gc()
        if renderer.option_scale_image():
            scale = Affine2D().scale(right - left, top - bottom)
            renderer.draw_image(context, left, bottom, self._rgba(), scale)
        else:
            left, bottom, right, top = (round(edge) for edge in (left, bottom, right, top))
            renderer.draw_image(context, left, bottom, self._rgba(max(1, top - bottom), max(1, right - left)))
        context.restore()

    def _rgba(self, height: int | None = None, width: int | None = None) -> NDArray[np.uint8]:
        """(height, width, 4) from the bottom to the top, opaque; by default of the size that it has."""
        opaque = F.pad(self.pixels, (0, 0, 0, 0, 0, 1), value=255).permute(1, 2, 0).contiguous().numpy()
        words = opaque.view(np.uint32)[..., 0]  # a pixel is four bytes, and moved as one
        rows, columns = words.shape
        across = np.arange(width or columns) * columns // (width or columns)
        down = np.arange(height or rows) * rows // (height or rows)
        return np.ascontiguousarray(words[down[::-1, None], across]).view(np.uint8).reshape(len(down), len(across), 4)
