"""The sheet of training images: every picture stands where it belongs, pixel by pixel."""

from typing import Any

import matplotlib.text
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from convarium.observe.contact_sheet import CELL, GAP, contact_sheet, draw_pixels

STEP = CELL + 2 * GAP


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def sheet_of(figure: Any) -> Tensor:
    """The pixels that the figure shows, (3, H, W)."""
    [axes] = figure.axes
    [image] = axes.images
    return torch.from_numpy(np.ascontiguousarray(image.get_array())).permute(2, 0, 1)


def cell(sheet: Tensor, row: int, column: int) -> Tensor:
    """A picture on the sheet without the white around it; row 0: as stored."""
    top = GAP + row * STEP + (2 * GAP if row else 0)
    return sheet[:, top : top + CELL, GAP + column * STEP :][:, :, :CELL]


def test_every_picture_stands_in_its_row_and_column() -> None:
    stored, seen = list(noise(3, 3, CELL, CELL)), [noise(3, 3, CELL, CELL, seed=seed) for seed in (1, 2)]
    sheet = sheet_of(contact_sheet(stored, seen, ["a", "b", "c"]))
    assert sheet.shape == (3, 3 * STEP + 2 * GAP, 3 * STEP)
    for column in range(3):
        assert torch.equal(cell(sheet, 0, column), stored[column])
        for epoch in (0, 1):
            assert torch.equal(cell(sheet, 1 + epoch, column), seen[epoch][column])
    sheet = sheet.clone()
    for row in range(3):
        for column in range(3):
            cell(sheet, row, column).fill_(255)
    assert sheet.unique().tolist() == [255]  # white between them


def test_a_small_image_is_enlarged_by_whole_pixels() -> None:
    image = noise(3, 32, 32)
    shown = cell(sheet_of(contact_sheet([image], [], ["a"])), 0, 0)
    border = (CELL - 96) // 2
    assert torch.equal(shown[:, border:-border, border:-border][:, 1::3, 1::3], image)
    assert shown[:, :border].unique().tolist() == [255]


@pytest.mark.parametrize(("height", "width"), [(200, 400), (56, 112), (28, 56), (1, 900)])
def test_a_picture_that_is_not_square_keeps_its_shape(height: int, width: int) -> None:
    shown = cell(sheet_of(contact_sheet([torch.full((3, height, width), 10, dtype=torch.uint8)], [], ["a"])), 0, 0)
    rows = (shown == 10).all(0).any(1).nonzero().flatten()
    across = (shown == 10).all(0).any(0).sum()
    assert (len(rows), across) == (max(1, round(CELL * height / width)), CELL)
    assert abs(int(rows[0]) + int(rows[-1]) - (CELL - 1)) <= 1  # in the middle


def test_a_large_picture_is_averaged() -> None:
    stripes = torch.zeros(3, 8 * CELL, 8 * CELL, dtype=torch.uint8)
    stripes[:, ::2] = 200
    shown = cell(sheet_of(contact_sheet([stripes], [], ["a"])), 0, 0)
    assert (shown[:, 2:-2].int() - 100).abs().max() <= 1


def test_a_grey_image_is_grey_in_all_three_colours() -> None:
    image = noise(1, CELL, CELL)
    shown = sheet_of(contact_sheet([image], [image.unsqueeze(0)], ["a"]))
    assert torch.equal(cell(shown, 0, 0), image.expand(3, -1, -1))
    assert torch.equal(cell(shown, 1, 0), image.expand(3, -1, -1))


def test_rows_and_columns_are_named() -> None:
    long = "a class of a very long name"
    contact_sheet([noise(3, 8, 8)], [], [r"$\oops{$"]).draw_without_rendering()  # no mathematics
    figure = contact_sheet([noise(3, 8, 8)] * 2, [noise(2, 3, 8, 8)] * 2, ["cat", long])
    figure.draw_without_rendering()
    found = {text.get_text() for text in figure.findobj(matplotlib.text.Text)}
    assert {"stored", "epoch 1", "epoch 2", "cat", "a class of a ve…"} <= found
    assert long not in found


def test_a_sheet_of_no_images_is_refused() -> None:
    with pytest.raises(ValueError, match="there are no training images"):
        contact_sheet([], [], [])


def drawn(pixels: Tensor, inches: tuple[float, float], first: float = 0.0) -> Tensor:
    """What a figure of 10 dots per inch shows, (3, H, W), whose axes fill the right half of it with the pixels."""
    figure = Figure(figsize=inches, dpi=10)
    axes = figure.add_axes((0.5, 0.0, 0.5, 1.0))
    axes.axis("off")
    _, height, width = pixels.shape
    axes.set(xlim=(first, width + first), ylim=(height + first, first))
    draw_pixels(axes, pixels, first=first)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return torch.from_numpy(np.asarray(canvas.buffer_rgba())[..., :3].copy()).permute(2, 0, 1)


@pytest.mark.parametrize("first", [0.0, -0.5])
def test_every_pixel_is_a_rectangle_at_its_place(first: float) -> None:
    pixels = noise(3, 4, 2)
    shown = drawn(pixels, (2.0, 2.0), first)
    assert torch.equal(shown[:, :, 10:], pixels.repeat_interleave(5, 1).repeat_interleave(5, 2))
    assert shown[:, :, :10].unique().tolist() == [255]


@pytest.mark.parametrize("inches", [(0.2, 0.1), (3.7, 1.9), (13.0, 7.0)])
def test_a_size_that_is_no_multiple_shows_the_colours_of_the_pixels_and_no_others(inches: tuple[float, float]) -> None:
    pixels = noise(3, 4, 2)
    colours = {*map(tuple, drawn(pixels, inches).flatten(1).T.tolist())}
    assert colours <= {*map(tuple, pixels.flatten(1).T.tolist()), (255, 255, 255)}
