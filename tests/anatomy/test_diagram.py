"""What a diagram is made of, and that nothing in it lies on anything else."""

import re
import time
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image, ImageColor
from torch import Tensor, nn

from archs.catalog import NAMES, asked
from archs.networks import make_published
from convarium.anatomy.diagram import KINDS
from convarium.anatomy.diagram.draw import LEVELS, draw, scene
from convarium.anatomy.diagram.glyphs import label, shape_text
from convarium.anatomy.diagram.reasons import reason
from convarium.anatomy.diagram.scene import Line, Scene, Shape, Text
from convarium.anatomy.diagram.structure import Box, Fork, Part, Row, parts, walk
from convarium.anatomy.diagram.svg import svg
from convarium.anatomy.palette import LOOKS, OTHER, look
from convarium.anatomy.trace import Layer, trace

GOLDEN = Path(__file__).parent / "golden"
SHOWN = ("lenet5", "alexnet", "vgg16", "inception_v1", "inception_v3", "resnet50", "efficientnet_b0", "plain34", "mlp")


@cache
def layers_of(name: str) -> tuple[Layer, ...]:
    return trace(make_published(name)[0], image_of(name))


def image_of(name: str) -> tuple[int, int, int]:
    _, channels, height, width = make_published(name)[1].shape
    return channels, height, width


def touching(picture: Scene) -> list[str]:
    """Texts that leave the picture, lie on one another, or have a line through them."""
    texts = [mark for mark in picture.marks if isinstance(mark, Text)]
    wrong = [
        f"{text.text!r} leaves the picture"
        for text in texts
        if min(text.bounds) < 0 or text.bounds[2] > picture.width or text.bounds[3] > picture.height
    ]
    wrong += [
        f"{one.text!r} on {other.text!r}" for one, other in combinations(texts, 2) if over(one.bounds, other.bounds)
    ]
    boxes = [inside(mark) for mark in picture.marks if isinstance(mark, Shape) and mark.fill]
    for mark in picture.marks:
        if isinstance(mark, Line):
            for (x0, y0), (x1, y1) in pairwise(mark.points):
                ends = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
                wrong += [f"a line through {text.text!r}" for text in texts if over(ends, text.bounds)]
                wrong += [f"a line {ends} through a shape {box}" for box in boxes if over(ends, box)]
    return wrong


def inside(shape: Shape) -> tuple[float, float, float, float]:
    """The box around a shape, a little smaller: lines end at its edge."""
    xs, ys = zip(*shape.points, strict=True)
    radius = xs[1] - xs[0] if shape.form == "circle" else 0
    left, upper = (xs[0] - radius, ys[0] - radius) if radius else (min(xs), min(ys))
    right, lower = (xs[0] + radius, ys[0] + radius) if radius else (max(xs), max(ys))
    return left + 1, upper + 1, right - 1, lower - 1


def over(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", asked(NAMES, SHOWN))
def test_no_text_lies_on_anything(name: str, level: str) -> None:
    picture = scene(layers_of(name), image_of(name), title=name, level=level, explain=True)
    assert touching(picture) == []
    assert picture.width <= 1240


def test_what_would_lie_on_something_is_noticed() -> None:
    picture = Scene(100, 100)
    picture.text(10, 50, "one")
    picture.text(20, 52, "another")
    picture.text(90, 90, "beyond the edge")
    picture.line((0, 47), (100, 47))
    assert len(touching(picture)) == 4


def outline(spine: tuple[Part, ...]) -> str:
    """A spine as text: a line for each part, what is inside it indented, branches begun by |."""
    lines = []
    for part in spine:
        why = reason(part, spine)
        times = f" x{len(part.copies)}" if len(part.copies) > 1 else ""
        lines.append(f"{why.name if why else 'block'}{times} -> {shape_text(part.layers[-1].outputs)}")
        lines += rows(part.row, "  ")
        for head in part.heads:
            lines += ["  head", *rows(head, "    ")]
    return "\n".join(lines).replace("×", "x") + "\n"


def rows(row: Row, indent: str) -> list[str]:
    lines = []
    for item in row:
        after = "".join(f" + {layer.kind}" for layer in item.after)
        if isinstance(item, Box):
            lines.append(f"{indent}{label(item.layer)}{after}")
        else:
            for branch in item.branches:
                lines += [f"{indent}|", *rows(branch, indent + "  ")]
            lines.append(f"{indent}{item.join.kind if item.join else 'no join'}{after}")
    return lines


@pytest.mark.parametrize("name", SHOWN)
def test_a_diagram_has_the_boxes_branches_and_repeats_of_its_golden_outline(name: str) -> None:
    assert outline(parts(layers_of(name), exact=False)) == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def test_resnet152_is_resnet50_with_more_repeats() -> None:
    shallow, deep = (outline(parts(layers_of(name), exact=True)) for name in ("resnet50", "resnet152"))
    assert shallow != deep
    assert re.sub(r" x\d+ ", " ", shallow) == re.sub(r" x\d+ ", " ", deep)


def test_every_layer_is_in_one_part() -> None:
    layers = layers_of("inception_v1")
    for exact in (True, False):
        spine = parts(layers, exact=exact)
        heads = [layer for part in spine for row in part.heads for item in row for layer in item.layers]
        drawn = [layer for part in spine for layer in part.layers] + heads
        assert sorted(layer.name for layer in drawn) == sorted(layer.name for layer in layers)


def test_layers_that_read_all_before_them_are_drawn_in_a_row_and_their_connections_counted() -> None:
    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convs = nn.ModuleList(nn.Conv2d(3 + 4 * k, 4, 3, padding=1) for k in range(3))

        def forward(self, x: Tensor) -> Tensor:
            maps = [x]
            for conv in self.convs:
                maps.append(conv(torch.cat(maps, 1)))
            return torch.cat(maps, 1)

    layers = trace(Dense(), (3, 8, 8))
    [part] = parts(layers, exact=False)
    inner = [item for item in walk(part.row) if isinstance(item, Fork) and item.passing]
    assert [len(fork.branches[0]) for fork in inner] == [6]
    picture = scene(layers, (3, 8, 8), title="dense", level="layers")
    assert any("more connections" in mark.text for mark in picture.marks if isinstance(mark, Text))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("diagrams")
    paths = {kind: folder / f"lenet5.{kind}" for kind in KINDS}
    for kind, path in paths.items():
        draw(layers_of("lenet5"), image_of("lenet5"), path, kind=kind, title="LeNet-5 <1998>", explain=True)
    return paths


def test_an_svg_has_every_text_of_the_scene_and_the_colors_of_the_palette(files: dict[str, Path]) -> None:
    root = ElementTree.fromstring(files["svg"].read_text(encoding="utf-8"))
    picture = scene(layers_of("lenet5"), image_of("lenet5"), title="LeNet-5 <1998>", explain=True)
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert texts == [mark.text for mark in picture.marks if isinstance(mark, Text)]
    assert {look(kind).fill for kind in ("conv", "linear", "average_pool", "activation")} <= {
        element.get("fill") for element in root.iter()
    }


def test_a_png_has_two_pixels_for_each_of_the_scene(files: dict[str, Path]) -> None:
    picture = scene(layers_of("lenet5"), image_of("lenet5"), title="LeNet-5 <1998>", explain=True)
    with Image.open(files["png"]) as image:
        assert image.size == pytest.approx((2 * picture.width, 2 * picture.height), abs=2)
        colors = {color for _, color in image.getcolors(image.width * image.height) or []}
    assert {ImageColor.getrgb(look(kind).fill) for kind in ("conv", "linear")} <= colors


def test_a_pdf_is_one(files: dict[str, Path]) -> None:
    assert files["pdf"].read_bytes().startswith(b"%PDF-")


def test_a_page_opens_each_part_and_fetches_nothing(files: dict[str, Path]) -> None:
    text = files["html"].read_text(encoding="utf-8")
    assert text.count("<details>") == len(parts(layers_of("lenet5"), exact=False))
    assert "default-src 'none'" in text
    assert not re.search(r"https?:|src=|href=|<script| style=", text)
    for layer in layers_of("lenet5"):
        assert layer.name in text
    assert "LeCun et al. 1998, section II.A" in text


def test_a_reason_stands_beside_every_block_of_every_paper() -> None:
    for name in SHOWN:
        spine = parts(layers_of(name), exact=False)
        assert all(reason(part, spine) for part in spine), name


def test_a_line_is_drawn_for_each_reason_when_it_is_asked_for() -> None:
    said, silent = (
        scene(layers_of("alexnet"), image_of("alexnet"), title="AlexNet", explain=explain) for explain in (True, False)
    )
    texts = " ".join(mark.text for mark in said.marks if isinstance(mark, Text))
    assert "Krizhevsky et al. 2012, section 3.4" in texts
    assert len(said.marks) > len(silent.marks)


def test_the_text_on_every_color_can_be_read() -> None:
    for style in (*LOOKS.values(), OTHER):
        light, dark = sorted((luminance(style.fill), luminance(style.ink)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, style.name


def luminance(color: str) -> float:
    """Of WCAG 2, of "#rrggbb"."""
    parts_ = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts_]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.slow
def test_all_diagrams_take_less_than_a_minute_of_a_core() -> None:
    began = time.process_time()
    for name in NAMES:
        assert svg(scene(layers_of.__wrapped__(name), image_of(name), title=name), name).startswith("<svg")
    assert time.process_time() - began < 60
