import torch

from convarium.data.augment.change import AugmentKey
from convarium.data.augment.draws import noise, normals, uniforms

N = 50_000
KEY = AugmentKey(0, 1, torch.arange(N))


def test_uniforms_fill_the_unit_interval_and_are_uncorrelated():
    drawn = uniforms(KEY, "x", 3)
    assert drawn.shape == (N, 3)
    assert drawn.dtype == torch.float64
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert (torch.histc(drawn, 10, 0, 1) / (3 * N) - 0.1).abs().max() < 0.003
    assert (torch.corrcoef(drawn.T) - torch.eye(3)).abs().max() < 0.02


def test_normals_have_the_moments_of_the_normal_distribution():
    drawn = normals(KEY, "x", 3)
    assert abs(drawn.mean()) < 0.01
    assert abs(drawn.var() - 1) < 0.02
    assert abs((drawn**4).mean() - 3) < 0.1
    assert (torch.corrcoef(drawn.T) - torch.eye(3)).abs().max() < 0.02


def test_noise_takes_every_level_equally_often():
    levels = noise(AugmentKey(0, 0, torch.arange(1000)), "x", (3, 11, 7), torch.uint8)
    assert levels.shape == (1000, 3, 11, 7)
    counts = torch.bincount(levels.flatten().long(), minlength=256)
    assert (counts / levels.numel() * 256 - 1).abs().max() < 0.15
    assert torch.unique(levels.flatten(1), dim=0).shape[0] == 1000
    signed = noise(AugmentKey(0, 0, torch.arange(1000)), "x", (5, 5), torch.int16).double()
    assert signed.min() < -32700
    assert signed.max() > 32700


def test_a_draw_depends_on_its_own_sample_only():
    for draw in (uniforms, normals):
        alone = torch.cat([draw(AugmentKey(0, 1, torch.tensor([k])), "x", 5) for k in range(20)])
        assert torch.allclose(alone, draw(KEY, "x", 5)[:20], rtol=1e-12)
