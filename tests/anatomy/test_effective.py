"""Effective receptive fields, and the pictures."""

from pathlib import Path

import torch
from PIL import Image
from torch import nn

from archs.networks import make
from convarium.anatomy.effective import Effective, draw_effective, measure
from convarium.anatomy.picture import LETTER, LINE, _free, draw_errors
from convarium.anatomy.trace import Span, trace


def test_nothing_outside_the_theoretical_field_matters_and_all_of_one_layer_does() -> None:
    net = make("resnet20")
    for field in measure(net, trace(net, (1, 32, 32)), (1, 32, 32)):
        inside = torch.zeros(32, 32)
        (top, high), (left, wide) = (
            (span.low + unit * span.stride, span.size) for span, unit in zip(field.field, field.unit, strict=True)
        )
        inside[max(0, top) : top + high, max(0, left) : left + wide] = 1
        assert not field.gradient[inside == 0].any()
        assert 0 < field.size <= min(32, high)


def test_the_field_of_a_linear_chain_is_that_of_its_kernels_folded() -> None:
    net = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(3)))
    with torch.no_grad():
        for conv in net:
            conv.weight.fill_(1.0)
    (field,) = measure(net, trace(net, (1, 15, 15)), (1, 15, 15))
    line = torch.tensor([1.0, 3, 6, 7, 6, 3, 1])  # (1, 1, 1) three times
    torch.testing.assert_close(field.gradient[4:11, 4:11], torch.outer(line, line))
    assert field.size == int((torch.outer(line, line) >= 0.05 * 49).sum()) ** 0.5
    assert field.field[0].size == 7


def test_a_field_larger_than_the_image_is_said() -> None:
    small, large = (Effective("c", (Span(0, last),) * 2, (0, 0), torch.eye(4)) for last in (3, 4))
    assert small.said == ("theoretical 4x4", "measured 2x2")
    assert large.said == ("theoretical 5x5, larger than the image", "measured 2x2")


def test_pictures_are_written_and_names_hide_neither_names_nor_points(tmp_path: Path) -> None:
    net = make("lenet5")
    path = draw_effective(
        measure(net, trace(net, (1, 32, 32)), (1, 32, 32)), "lenet5", "initial", (1, 32, 32), tmp_path / "a.png"
    )
    with Image.open(path) as image:
        assert image.size[0] > 600
    rows = [
        {
            "name": f"net{k}",
            "parameters": 10**6 * (k + 1),
            "multiply_adds": 10**9 + k,
            "top1_error": None,
            "top5_error": 5.0,
            "errors_on": "imagenet",
        }
        for k in range(8)
    ]
    with Image.open(draw_errors(rows, tmp_path / "b.png")) as image:
        assert image.size == (1350, 825)
    taken: list[tuple[float, float, float, float]] = []
    points = [(3 + 0.1 * k, 2.0) for k in range(8)]
    for point in points:
        left, below = _free(point, 0.1, LETTER * 8, taken, points)
        assert not any(left < b[2] and b[0] < left + LETTER * 8 and below < b[3] and b[1] < below + LINE for b in taken)
        taken.append((left, below, left + LETTER * 8, below + LINE))
