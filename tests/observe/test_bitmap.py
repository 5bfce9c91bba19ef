"""Pixels in a figure: each at its place, none mixed with its neighbour."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from convarium.observe.bitmap import Bitmap


def figure_of(pixels: Tensor, *, inches: tuple[float, float] = (4.0, 2.0)) -> Figure:
    figure = Figure(figsize=inches, dpi=10)
    axes = figure.add_axes((0.25, 0.5, 0.5, 0.5))
    axes.axis("off")
    axes.add_artist(Bitmap(pixels, axes.bbox))
    return figure


@pytest.fixture
def pixels() -> Tensor:
    return torch.randint(0, 255, (3, 2, 4), dtype=torch.uint8)


def test_every_pixel_is_a_rectangle_at_its_place(pixels: Tensor) -> None:
    canvas = FigureCanvasAgg(figure_of(pixels))
    canvas.draw()
    drawn = torch.from_numpy(np.asarray(canvas.buffer_rgba())[..., :3].copy()).permute(2, 0, 1)
    assert drawn.shape == (3, 20, 40)
    assert torch.equal(drawn[:, :10, 10:30], pixels.repeat_interleave(5, 1).repeat_interleave(5, 2))
    assert drawn[:, 10:].unique().tolist() == [255]
    assert drawn[:, :, :10].unique().tolist() == drawn[:, :, 30:].unique().tolist() == [255]


@pytest.mark.parametrize("inches", [(0.1, 0.1), (3.7, 1.9), (13.0, 7.0)])
def test_a_size_that_is_no_multiple_shows_its_pixels_and_no_others(inches: tuple[float, float], pixels: Tensor) -> None:
    canvas = FigureCanvasAgg(figure_of(pixels, inches=inches))
    canvas.draw()
    drawn = {tuple(color) for color in np.asarray(canvas.buffer_rgba())[..., :3].reshape(-1, 3).tolist()}
    assert drawn <= {*map(tuple, pixels.flatten(1).T.tolist()), (255, 255, 255)}


def test_a_vector_format_holds_the_pixels_themselves(pixels: Tensor, tmp_path: Path) -> None:
    figure_of(pixels).savefig(tmp_path / "figure.svg")
    [encoded] = re.findall(r"data:image/png;base64,\s*([A-Za-z0-9+/=\s]+)\"", (tmp_path / "figure.svg").read_text())
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        found = torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1)
    assert torch.equal(found, pixels) or torch.equal(found, pixels.flip(1))
