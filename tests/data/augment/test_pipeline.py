import pytest
import torch

from convarium.data.augment.change import AugmentKey
from convarium.data.augment.crop import CropFlip, RandomResizedCrop, ScaleCrop
from convarium.data.augment.erase import Cutout
from convarium.data.augment.flip import Flip
from convarium.data.augment.mix import CutMix, MixUp
from convarium.data.augment.pipeline import Pipeline

IMAGES = torch.randint(0, 256, (6, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
KEY = AugmentKey(3, 1, torch.arange(6))


class Add:
    def __init__(self, number):
        self.number = number

    def __call__(self, images, key):
        return images // 2 + self.number


def test_parts_are_applied_in_their_order_however_they_are_named():
    pipeline = Pipeline({"erase": Add(1), "flip": Flip(), "crop": CropFlip(pad=2)})
    expected = Add(1)(Flip()(CropFlip(pad=2)(IMAGES, KEY), KEY), KEY)
    assert torch.equal(pipeline.change(IMAGES, KEY, cropped=False), expected)


def test_a_part_without_an_order_comes_last_whatever_it_is_called():
    pipeline = Pipeline({"aaa": Add(1), "zzz": Cutout(size=2), "flip": Flip()})
    assert [type(part) for part in pipeline.changes] == [Flip, Cutout, Add]


def test_parts_of_one_order_are_applied_by_their_names():
    assert [part.number for part in Pipeline({"b": Add(2), "a": Add(1)}).changes] == [1, 2]


def test_what_the_source_has_cropped_is_not_cropped_again():
    pipeline = Pipeline({"crop": RandomResizedCrop(), "erase": Add(5)})
    assert torch.equal(pipeline.change(IMAGES, KEY, cropped=True), Add(5)(IMAGES, KEY))
    assert not torch.equal(pipeline.change(IMAGES, KEY, cropped=False), Add(5)(IMAGES, KEY))


def test_nothing_is_nothing():
    assert not Pipeline({})
    assert Pipeline({}).mix(IMAGES.float(), KEY.index, KEY) is None


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"flip": 3}, "augment.flip: int is no augmentation: accepted are objects with boxes"),
        ({"mix": MixUp(), "more": CutMix()}, "augment.more: CutMix mixes as MixUp does: choose one"),
        ({"crop": RandomResizedCrop(), "cut": ScaleCrop()}, "augment.cut: ScaleCrop crops as RandomResizedCrop does"),
    ],
)
def test_a_part_that_has_no_place_is_refused(parts, message):
    with pytest.raises(ValueError, match=message):
        Pipeline(parts)
