from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from convarium.data.augment.change import AugmentKey, Change


def pictures(count: int, channels: int, height: int = 32, width: int = 32) -> Tensor:
    """Smooth random pictures, among them a dark, a bright and a flat one, and one of two levels."""
    coarse = torch.rand(count, channels, 6, 6, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    images = (255 * smooth).to(torch.uint8)
    images[0] //= 4
    images[1] = 255 - images[1] // 3
    images[2] = 77
    images[3] = torch.where(images[3] > 128, 200, 40).to(torch.uint8)
    return images


@pytest.fixture(params=[(1, 28, 28), (3, 32, 32), (3, 17, 24)], ids=str)
def images(request: pytest.FixtureRequest) -> Tensor:
    """Sixteen pictures: grey, coloured, and not square."""
    return pictures(16, *request.param)


@pytest.fixture
def colored() -> Tensor:
    """Sixteen coloured pictures of 3 x 32 x 32."""
    return pictures(16, 3)


@pytest.fixture
def keeps_the_contract() -> Callable[[Change, Tensor], None]:
    """Assert what every random change of images promises."""

    def check(change: Change, images: Tensor) -> None:
        before, index = images.clone(), torch.arange(len(images)) * 7 + 3
        together = change(images, AugmentKey(1, 2, index))
        assert together.shape == images.shape
        assert together.dtype == torch.uint8
        assert torch.equal(images, before), "the argument was written to"
        order = torch.randperm(len(images))
        for part in order.split(5):
            assert torch.equal(change(images[part], AugmentKey(1, 2, index[part])), together[part])
        for other in (AugmentKey(1, 3, index), AugmentKey(2, 2, index), AugmentKey(1, 2, index + 1000)):
            assert not torch.equal(change(images, other), together)

    return check
