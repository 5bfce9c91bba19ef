import pytest
import torch

from convarium.data.augment.change import AugmentKey
from convarium.data.augment.crop import CropFlip, RandomResizedCrop
from convarium.data.augment.flip import Flip
from convarium.data.augment.mix import MixUp
from convarium.data.augment.pipeline import PARTS, Pipeline

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


def test_equal_parts_are_all_applied():
    pipeline = Pipeline({name: Flip() for name in PARTS if name not in ("crop", "mix")})
    assert len(pipeline.changes) == len(PARTS) - 2


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
        ({"ploicy": Flip()}, "augment=ploicy: accepted are crop, flip, geometry, policy, color, lighting, erase, mix"),
        ({"mix": Flip()}, "augment.mix: Flip does something else"),
        ({"flip": MixUp()}, "augment.flip: MixUp does something else"),
        ({"erase": RandomResizedCrop()}, "augment.erase: RandomResizedCrop does something else"),
    ],
)
def test_a_part_that_is_out_of_place_is_refused(parts, message):
    with pytest.raises(ValueError, match=message):
        Pipeline(parts)
