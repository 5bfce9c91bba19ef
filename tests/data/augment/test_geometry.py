import math

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from convarium.data.augment.change import AugmentKey
from convarium.data.augment.draws import noise, uniforms
from convarium.data.augment.geometry import Affine, Elastic, PlanarDistortion

N = 20_000
MANY = AugmentKey(0, 0, torch.arange(N))
FEW = AugmentKey(0, 0, torch.arange(16))
EVERYTHING = Affine(20, 0.1, 0.2, 10, 0.2, horizontal_flip=True)


@pytest.mark.parametrize(
    "change", [EVERYTHING, Affine(20, fill_mode="constant", cval=9), PlanarDistortion(), Elastic()], ids=repr
)
def test_the_contract_is_kept(change, images, keeps_the_contract):
    keeps_the_contract(change, images)


def differing(one, other):
    """Share of the levels that differ; none by more than one."""
    apart = (one.int() - other.int()).abs()
    assert apart.max() <= 1
    return (apart > 0).float().mean()


@pytest.mark.parametrize(
    "options",
    [{"rotation": 120}, {"width_shift": 0.4, "height_shift": 0.3}, {"rotation": 60, "width_shift": 0.4}],
    ids=repr,
)
def test_turns_and_shifts_are_torchvisions(options, images):
    change = Affine(**options, fill_mode="constant")
    expected = []
    for image, matrix in zip(images, change.matrices(*images.shape[-2:], FEW).double().numpy(), strict=True):
        (cos, sin, _), _ = matrix
        right, down = -np.linalg.inv(matrix[:, :2]) @ matrix[:, 2]
        angle = math.degrees(math.atan2(-sin, cos))
        expected.append(reference.affine(image, -angle, [right, down], 1.0, [0.0, 0.0], InterpolationMode.BILINEAR))
    assert differing(change(images, FEW), torch.stack(expected)) < 0.005


def test_the_matrix_is_the_product_that_keras_forms():
    drawn = 2 * uniforms(MANY, "affine", 7)[:50].numpy() - 1
    ours = EVERYTHING.matrices(30, 40, MANY)[:50].numpy()
    for (turn, shear, down, right, tall, wide, flip), matrix in zip(drawn, ours, strict=True):
        turn, shear = math.radians(20 * turn), math.radians(10 * shear)
        rotation = [[math.cos(turn), -math.sin(turn), 0], [math.sin(turn), math.cos(turn), 0], [0, 0, 1]]
        shift = [[1, 0, 0.2 * down * 30], [0, 1, 0.1 * right * 40], [0, 0, 1]]
        lean = [[1, -math.sin(shear), 0], [0, math.cos(shear), 0], [0, 0, 1]]
        zoom = np.diag([1 + 0.2 * tall, 1 + 0.2 * wide, 1])
        rows_first = np.array(rotation) @ shift @ lean @ zoom @ np.diag([1, -1 if flip < 0 else 1, 1])
        assert np.allclose(matrix, rows_first[[1, 0]][:, [1, 0, 2]], atol=1e-12)


def test_the_shear_slides_columns_and_the_height_shift_is_vertical_as_before_keras_swapped_its_axes():
    sheared = Affine(shear=30).matrices(32, 32, MANY)
    assert (sheared[:, 0, 1:] == 0).all()  # from where across: no matter which row
    assert (sheared[:, 1, 0].abs() > 0.1).double().mean() > 0.7  # from where down: by the column
    shifted = Affine(height_shift=0.5).matrices(32, 32, MANY)
    assert (shifted[:, 0, 2] == 0).all()
    assert (shifted[:, 1, 2].abs() > 1).double().mean() > 0.7


def test_each_amount_is_drawn_evenly_within_its_range():
    turned = Affine(rotation=30).matrices(32, 32, MANY)
    angles = torch.atan2(turned[:, 0, 1], turned[:, 0, 0]).rad2deg()
    assert angles.abs().max() <= 30
    assert (torch.histc(angles, 6, -30, 30) / N - 1 / 6).abs().max() < 0.01
    shifted = Affine(width_shift=0.25, height_shift=0.5).matrices(20, 40, MANY)
    assert (torch.histc(shifted[:, 0, 2], 4, -10, 10) / N - 1 / 4).abs().max() < 0.01
    assert (torch.histc(shifted[:, 1, 2], 4, -10, 10) / N - 1 / 4).abs().max() < 0.01
    zoomed = Affine(zoom=0.5).matrices(32, 32, MANY)
    for axis in (0, 1):
        assert (torch.histc(zoomed[:, axis, axis], 4, 0.5, 1.5) / N - 1 / 4).abs().max() < 0.01
    mirrored = Affine(horizontal_flip=True).matrices(32, 32, MANY)[:, 0, 0] < 0
    assert abs(mirrored.double().mean() - 0.5) < 0.01


def test_an_affine_change_of_nothing_changes_nothing(images):
    assert torch.equal(Affine()(images, FEW), images)
    either = Affine(horizontal_flip=True)(images, FEW)
    mirrored = (either == images.flip(-1)).flatten(1).all(1)
    assert (mirrored | (either == images).flatten(1).all(1)).all()
    assert 2 < mirrored.sum() < 14


def test_planar_distortions_stay_within_their_amounts_and_reach_them():
    matrix = torch.eye(3, dtype=torch.float64).repeat(N, 1, 1)
    matrix[:, :2] = PlanarDistortion(0.1, 0.2, 0.3, 0.4).matrices(20, 40, MANY)
    there = torch.linalg.inv(matrix)  # from the image to the result
    assert there[:, 1, 0].abs().max() < 1e-12
    wide, tall = there[:, 0, 0], there[:, 1, 1]
    for amounts, most in (
        ((wide * tall).sqrt().log(), math.log(1.2)),
        ((wide / tall).sqrt().log(), math.log(1.3)),
        (there[:, 0, 1] / wide, 0.4),
        (there[:, 0, 2], 4.0),
        (there[:, 1, 2], 2.0),
    ):
        assert amounts.abs().max() <= most + 1e-9
        assert (torch.histc(amounts, 4, -most, most) / N - 1 / 4).abs().max() < 0.01


def test_planar_distortions_are_torchvisions(images):
    # torchvision has no squeezing; its shear is an angle, and turned the other way
    change = PlanarDistortion(translate=0.1, scale=0.3, squeeze=0.0, shear=0.3)
    matrix = torch.eye(3, dtype=torch.float64).repeat(16, 1, 1)
    matrix[:, :2] = change.matrices(*images.shape[-2:], FEW)
    expected = []
    for image, there in zip(images, torch.linalg.inv(matrix), strict=True):
        scale, lean = there[0, 0].item(), math.degrees(math.atan(there[0, 1] / there[0, 0]))
        expected.append(
            reference.affine(image, 0, there[:2, 2].tolist(), scale, [-lean, 0.0], InterpolationMode.BILINEAR)
        )
    assert differing(change(images, FEW), torch.stack(expected)) < 0.005


def test_an_elastic_distortion_by_a_field_is_torchvisions(images):
    change, (height, width) = Elastic(alpha=20, sigma=3), images.shape[-2:]
    fields = change.fields(height, width, FEW)
    shares = fields * 2 / torch.tensor([width, height]).view(2, 1, 1)  # torchvision's image is 2 wide
    expected = torch.stack(
        [reference.elastic(image, field.permute(1, 2, 0)[None]) for image, field in zip(images, shares, strict=True)]
    )
    assert differing(change(images, FEW), expected) < 0.005


def test_an_elastic_field_is_smoothed_noise_around_the_border():
    raw = noise(FEW, "elastic", (2, 24, 28), torch.int16) / 2**15
    goes_on = torch.nn.functional.pad(raw, [16] * 4, mode="circular")
    smooth = reference.gaussian_blur(goes_on, [25, 25], [3.0, 3.0])[..., 16:-16, 16:-16]
    assert torch.allclose(Elastic(alpha=10, sigma=3).fields(24, 28, FEW), 10 * smooth, atol=0.01)


def test_an_elastic_field_has_the_deviation_of_smoothed_noise():
    fields = Elastic().fields(32, 32, AugmentKey(0, 0, torch.arange(1000)))
    # of even draws 1/sqrt(3), divided by 2 sqrt(pi) sigma
    expected = 34 / math.sqrt(3) / (2 * math.sqrt(math.pi) * 4)
    assert abs(fields.std() - expected) < 0.03
    assert abs(fields[..., 0].std() - expected) < 0.1  # at the border, too
    assert fields.mean().abs() < 0.03
