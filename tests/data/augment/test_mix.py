import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convarium.data.augment.change import AugmentKey
from convarium.data.augment.mix import CutMix, MixUp, beta

IMAGES = torch.rand(64, 3, 16, 12, generator=torch.Generator().manual_seed(0))
TARGETS = torch.arange(64) % 7


def keyed(n, *, epoch=0, seed=1):
    return AugmentKey(seed, epoch, torch.arange(n))


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 3.0])
def test_shares_have_the_moments_of_the_beta_distribution(alpha):
    drawn = beta(alpha, keyed(100_000), "test")
    assert ((drawn >= 0) & (drawn <= 1)).all()
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.005)
    assert drawn.var(correction=0).item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.02)
    fourth = ((drawn - 0.5) ** 4).mean().item()  # of Beta(a, a): 3 / (16 (2a + 1) (2a + 3))
    assert fourth == pytest.approx(3 / (16 * (2 * alpha + 1) * (2 * alpha + 3)), rel=0.02)


def test_the_smallest_alpha_that_the_key_accepts_draws_one_image_or_the_other():
    drawn = beta(1e-30, keyed(1000), "test")
    assert set(drawn.tolist()) == {0.0, 1.0}


def test_a_mean_image_is_as_mixed_as_its_target():
    images, partners, share = MixUp(alpha=1.0).mix(IMAGES, TARGETS, keyed(64))
    assert torch.equal(partners, TARGETS.roll(1))
    weight = share.view(-1, 1, 1, 1)
    torch.testing.assert_close(images, weight * IMAGES + (1 - weight) * IMAGES.roll(1, 0))


def test_the_share_of_a_pasted_rectangle_is_that_of_its_pixels():
    ones, zeros = torch.ones(1, 1, 16, 12), torch.zeros(1, 1, 16, 12)
    images, _, share = CutMix().mix(torch.cat([ones, zeros] * 500), torch.zeros(1000).long(), keyed(1000))
    kept = images.mean((1, 2, 3))[::2]  # of a one among zeros
    torch.testing.assert_close(kept, share[::2])
    assert 0 <= share.min() < 0.4
    assert 0.9 < share.max() <= 1
    for image in images[::2][:50, 0]:  # what is pasted is one rectangle
        pasted = image == 0
        rows, columns = pasted.any(1), pasted.any(0)
        assert torch.equal(pasted, rows.unsqueeze(1) & columns.unsqueeze(0))


@given(st.integers(0, 50))
@settings(deadline=None, max_examples=10)
def test_the_share_of_a_sample_does_not_depend_on_its_batch(epoch):
    for mix in (MixUp(), CutMix()):
        together = mix.mix(IMAGES, TARGETS, keyed(64, epoch=epoch)).share
        part = mix.mix(IMAGES[10:20], TARGETS[10:20], AugmentKey(1, epoch, torch.arange(10, 20))).share
        assert torch.equal(part, together[10:20])
        assert not torch.equal(together, mix.mix(IMAGES, TARGETS, keyed(64, epoch=epoch + 1)).share)
