"""Views of a picture against torchvision's functions, one picture at a time."""

from typing import Any

import pytest
import torch
import torchvision.transforms.v2.functional as tv
from torch import Tensor, nn

from convarium.learn.views import (
    Crops144,
    Dense,
    MirroredImage,
    TenCrops,
    Views,
    choose_views,
    log_mean_probabilities,
    squares,
)

ONE = {"image_size": 8, "crop_share": 0.8, "at_once": 5}


def network(classes: int = 4) -> nn.Module:
    """For pictures of any size; what it says changes when they are moved or mirrored."""
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.Tanh(),
        nn.Conv2d(6, 6, 3, 2),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(6, classes),
    ).eval()


def chosen(**keys: Any) -> Views:
    views = choose_views(**ONE, **keys)
    assert views is not None
    return views


def same_views(own: list[Tensor], others: list[Tensor]) -> None:
    """The same tensors in whatever order."""
    assert len(own) == len(others)
    left = list(others)
    for view in own:
        left.pop(next(place for place, other in enumerate(left) if torch.equal(view, other)))


def resized(pictures: Tensor, shorter: int) -> Tensor:
    height, width = pictures.shape[2:]
    scale = shorter / min(height, width)
    return tv.resize(pictures, [round(height * scale), round(width * scale)], antialias=True)


# what is shown --------------------------------------------------------------------------------------------------------


def test_nothing_asked_for_is_the_image_of_one_crop() -> None:
    assert choose_views(**ONE) is None


@pytest.mark.parametrize("size", [10, 12])
def test_ten_crops_are_torchvisions(size: int) -> None:
    pictures = torch.randn(2, 3, size, size)
    same_views(list(chosen(views=10).of(pictures)), list(tv.ten_crop(pictures, [8, 8])))


def test_an_image_is_mirrored_left_to_right() -> None:
    image = torch.arange(12.0).view(1, 1, 3, 4)
    first, second = chosen(flip=True).of(image)
    assert torch.equal(first, image)
    assert second[0, 0, 0].tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize(("height", "width"), [(20, 30), (30, 20), (8, 13)])
def test_144_crops_are_four_scales_of_three_squares_of_six_and_their_mirror_images(height: int, width: int) -> None:
    pictures = torch.randn(1, 3, height, width)
    expected = []
    for scale in (9, 10, 11, 13):  # 256, 288, 320, 352 of 224
        whole = resized(pictures, scale)
        longer = max(whole.shape[2:]) - scale
        for start in (0, longer // 2, longer):
            square = (
                tv.crop(whole, 0, start, scale, scale) if width > height else tv.crop(whole, start, 0, scale, scale)
            )
            five = [(0, 0), (0, scale - 8), (scale - 8, 0), (scale - 8, scale - 8), ((scale - 8) // 2,) * 2]
            crops = [tv.crop(square, top, left, 8, 8) for top, left in five]
            for crop in (*crops, tv.resize(square, [8, 8], antialias=True)):
                expected += [crop, tv.horizontal_flip(crop)]
    views = list(chosen(views=144).of(pictures))
    assert len(views) == 144
    same_views(views, expected)


def test_the_three_squares_of_a_square_are_one() -> None:
    assert len(list(chosen(views=144).of(torch.randn(1, 3, 20, 20)))) == 48
    assert [part.shape for part in squares(torch.randn(1, 3, 4, 4))] == [(1, 3, 4, 4)]


def test_the_scales_of_144_are_the_papers_at_224_and_in_proportion_elsewhere() -> None:
    scales = {size: Crops144(image_size=size, square=size, at_once=1).scales for size in (224, 299, 32)}
    assert scales == {224: (256, 288, 320, 352), 299: (342, 384, 427, 470), 32: (37, 41, 46, 50)}


def test_dense_shows_the_whole_picture_at_each_scale() -> None:
    pictures = torch.randn(2, 3, 16, 24)
    views = list(chosen(dense=True, scales=[8, 16], flip=True).of(pictures))
    assert [tuple(view.shape[2:]) for view in views] == [(8, 12), (8, 12), (16, 24), (16, 24)]
    assert torch.equal(views[2], pictures)
    assert torch.equal(views[0], resized(pictures, 8))
    assert torch.equal(views[1], views[0].flip(3))


def test_without_scales_dense_shows_it_as_large_as_one_crop_is_cut_from() -> None:
    assert [view.shape[2:] for view in chosen(dense=True).of(torch.randn(1, 3, 40, 20))] == [(20, 10)]


@pytest.mark.parametrize("shape", [(4, 1000), (1000, 4)])
def test_of_a_very_long_picture_the_middle_is_shown(shape: tuple[int, int]) -> None:
    pictures = torch.zeros(1, 3, *shape)
    pictures[:, :, *(slice(484, 516) if side == 1000 else slice(None) for side in shape)] = 1.0
    (view,) = chosen(dense=True, scales=[8]).of(pictures)
    assert sorted(view.shape[2:]) == [8, 64]
    assert torch.equal(view, torch.ones_like(view))


def test_a_person_is_shown_the_image_of_one_crop() -> None:
    picture = torch.randn(1, 3, 20, 32)
    one_crop = tv.center_crop(resized(picture, 10), [8, 8])
    assert torch.equal(chosen(views=144).central(picture), one_crop)
    assert torch.equal(chosen(dense=True).central(picture), one_crop)
    assert torch.equal(chosen(views=10).central(resized(picture, 10)[..., 3:13]), one_crop)
    assert chosen(flip=True).central(one_crop) is one_crop


def test_each_protocol_is_told_in_a_few_words() -> None:
    rest = {"image_size": 224, "crop_share": 0.875, "at_once": 1}
    assert [
        str(choose_views(**keys, **rest))
        for keys in (
            {"flip": True},
            {"views": 10},
            {"views": 144},
            {"dense": True},
            {"dense": True, "scales": [256, 384, 512], "flip": True},
        )
    ] == [
        "1 crop and its mirror image",
        "10 crops of 224 out of 256 pixels",
        "144 crops at 256, 288, 320 and 352 pixels",
        "dense at 256 pixels",
        "dense at 256, 384 and 512 pixels, with mirror images",
    ]


def test_what_is_to_be_decoded_for_each() -> None:
    assert [kind.shows for kind in (MirroredImage, TenCrops, Crops144, Dense)] == ["image", "square", "whole", "whole"]


# what is made of it ---------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("keys", [{"views": 10}, {"views": 144}, {"flip": True}, {"dense": True, "scales": [12, 14]}])
def test_the_score_is_the_logarithm_of_the_mean_softmax(keys: dict[str, Any]) -> None:
    net, views = network(), chosen(**keys)
    pictures = torch.randn(3, 3, 10, 10 if views.shows == "square" else 15)
    expected = torch.stack([net(view).double().softmax(1) for view in views.of(pictures)]).mean(0)
    score = views.score(net, pictures)
    torch.testing.assert_close(score.double().exp(), expected, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(score.softmax(1), score.exp())


@torch.no_grad()
def test_one_logit_is_that_of_the_mean_sigmoid() -> None:
    net, pictures = network(classes=1), torch.randn(3, 3, 10, 10)
    expected = torch.stack([net(view).double().sigmoid() for view in chosen(views=10).of(pictures)]).mean(0)
    score = chosen(views=10).score(net, pictures)
    assert score.shape == (3, 1)
    torch.testing.assert_close(score.double().sigmoid(), expected, rtol=1e-5, atol=1e-7)


def test_no_probability_is_too_small() -> None:
    logits = iter([torch.tensor([[0.0, 500.0]]), torch.tensor([[0.0, 300.0]])])
    score = log_mean_probabilities(lambda _: next(logits), [torch.zeros(1, 1, 1, 1)] * 2, at_once=1)
    torch.testing.assert_close(score, torch.tensor([[-300.0 - torch.log(torch.tensor(2.0)), 0.0]]))


@torch.no_grad()
@pytest.mark.parametrize(("at_once", "largest"), [(1, 2), (2, 2), (7, 6), (100, 20)])
def test_no_more_images_than_allowed_go_through_the_network_together(at_once: int, largest: int) -> None:
    net, sizes = network(), []
    net.register_forward_hook(lambda layer, inputs, output: sizes.append(len(output)))
    pictures = torch.randn(2, 3, 10, 10)
    score = choose_views(views=10, image_size=8, crop_share=0.8, at_once=at_once).score(net, pictures)  # type: ignore[union-attr]
    assert max(sizes) == largest
    assert sum(sizes) == 20
    torch.testing.assert_close(score, chosen(views=10).score(net, pictures))
