import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from convarium.data.augment.change import AugmentKey
from convarium.data.augment.erase import Cutout, RandomErasing

N = 20_000
MANY = AugmentKey(0, 0, torch.arange(N))
FEW = AugmentKey(0, 0, torch.arange(16))


@pytest.mark.parametrize(
    "change", [RandomErasing(), RandomErasing(value="zero"), RandomErasing(value="mean"), Cutout(8)], ids=repr
)
def test_the_contract_is_kept(change, images, keeps_the_contract):
    keeps_the_contract(change, images)


@pytest.mark.parametrize("value", ["random", "zero", "mean"])
def test_what_is_erased_is_torchvisions_for_the_same_box(value, images):
    change = RandomErasing(p=0.8, value=value)
    boxes = change.rectangles(*images.shape[-2:], FEW).tolist()
    erased = change(images, FEW)
    assert sum(box[2] > 0 for box in boxes) in range(8, 16)
    for image, result, (top, left, tall, wide) in zip(images, erased, boxes, strict=True):
        level = {
            "zero": torch.zeros(len(image), 1, 1),
            "mean": image.double().mean((1, 2), keepdim=True).round(),
            "random": result[:, top : top + tall, left : left + wide],
        }[value]
        assert torch.equal(reference.erase(image, top, left, tall, wide, level.to(torch.uint8)), result)
        if value == "random" and tall * wide > 50:
            assert 90 < level.float().mean() < 165
            assert level.float().std() > 55  # of even levels 74


def test_boxes_have_the_areas_the_ratios_and_the_places_that_are_asked_for():
    boxes = RandomErasing(p=0.5, scale=(0.1, 0.2), ratio=(0.5, 2)).rectangles(100, 200, MANY).double()
    top, left, tall, wide = boxes.unbind(1)
    some = tall > 0
    assert abs(some.double().mean() - 0.5) < 0.01
    assert (boxes[~some, 2:] == 0).all()
    area, ratio = (tall * wide)[some] / 20_000, (tall / wide)[some].log2()
    assert (torch.histc(area, 4, 0.0985, 0.2015) / some.sum() - 1 / 4).abs().max() < 0.02
    assert (torch.histc(ratio, 4, -1.02, 1.02) / some.sum() - 1 / 4).abs().max() < 0.02
    assert (top + tall).max() == 100
    assert (left + wide).max() == 200
    assert boxes.min() == 0
    places = (top / (100 - tall + 1))[some]
    assert (torch.histc(places, 4, 0, 1) / some.sum() - 1 / 4).abs().max() < 0.03


def test_a_box_that_never_fits_erases_nothing(images):
    assert torch.equal(RandomErasing(p=1.0, scale=(1.0, 1.0))(images, FEW), images)


def test_cutout_hides_a_square_about_any_pixel_clipped_at_the_border():
    images = torch.full((N, 1, 8, 6), 200, dtype=torch.uint8)
    hidden = Cutout(3, (0.0,))(images, MANY)[:, 0] == 0
    boxes = Cutout(3).rectangles(8, 6, MANY)
    assert torch.equal(boxes[:, 2:], torch.full((N, 2), 3))
    centres = boxes[:, :2] + 1
    counts = torch.bincount(centres[:, 0] * 6 + centres[:, 1], minlength=48)
    assert len(counts) == 48
    assert (counts / N - 1 / 48).abs().max() < 0.005
    for mask, (row, column) in zip(hidden[:200], centres[:200].tolist(), strict=True):
        expected = torch.zeros(8, 6, dtype=torch.bool)
        expected[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = True
        assert torch.equal(mask, expected)


def test_cutout_fills_each_channel_with_its_own_level(colored):
    means = (0.5, 0.25, 1.0)
    hidden = Cutout(64, means)(colored, FEW)  # larger than the image from wherever it is
    assert torch.equal(hidden, torch.tensor([128, 64, 255], dtype=torch.uint8).view(1, 3, 1, 1).expand_as(colored))
    with pytest.raises(ValueError, match=r"value=\[0.5, 0.25\]: accepted is one number, or 3, as many as channels"):
        Cutout(4, (0.5, 0.25))(colored, FEW)


def test_a_list_is_as_good_as_a_tuple(colored):
    assert torch.equal(Cutout(4, [0.1, 0.2, 0.3])(colored, FEW), Cutout(4, (0.1, 0.2, 0.3))(colored, FEW))
    assert RandomErasing(scale=[0.1, 0.2], ratio=[1, 2])(colored, FEW).shape == colored.shape
