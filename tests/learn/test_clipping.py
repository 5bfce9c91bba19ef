"""Gradient clipping against torch's own, against a loop, and together with mixed precision and fused optimizers."""

import functools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convarium.learn.clipping import ClipStats, clip_adaptive, clip_by_norm, clip_by_value

Named = list[tuple[str, nn.Parameter]]


@pytest.fixture
def named(net: nn.Sequential, problem: tuple[Tensor, Tensor]) -> Named:
    """The parameters of the small network with the gradients of one batch, large enough to clip."""
    images, targets = problem
    (50 * nn.functional.cross_entropy(net(images), targets)).backward()
    return list(net.named_parameters())


def gradients(named: Named) -> list[Tensor]:
    return [parameter.grad for _, parameter in named if parameter.grad is not None]


def copies(named: Named) -> list[nn.Parameter]:
    """The same parameters and gradients once more, for a reference to clip."""
    twins = []
    for _, parameter in named:
        twin = nn.Parameter(parameter.detach().clone())
        twin.grad = None if parameter.grad is None else parameter.grad.clone()
        twins.append(twin)
    return twins


def naive_adaptive(weight: Tensor, gradient: Tensor, factor: float, eps: float) -> tuple[Tensor, list[bool]]:
    """Section 4 of Brock et al. 2021, unit by unit, in float64; also which units were scaled."""
    units = range(len(weight)) if weight.ndim > 1 else [slice(None)]
    result, scaled = gradient.double().clone(), []
    for unit in units:
        size = math.sqrt(sum(value**2 for value in weight[unit].flatten().double().tolist()))
        slope = math.sqrt(sum(value**2 for value in gradient[unit].flatten().double().tolist()))
        limit = factor * max(size, eps)
        scaled.append(slope > limit)
        if slope > limit:
            result[unit] *= limit / slope
    return result, scaled


@pytest.mark.parametrize("max_norm", [1e-3, 1.0, 1e6])
def test_clipping_by_norm_equals_torchs_bit_for_bit(named: Named, max_norm: float) -> None:
    twins = copies(named)
    norm = torch.nn.utils.clip_grad_norm_(twins, max_norm)
    stats = clip_by_norm(named, max_norm=max_norm)
    assert torch.equal(stats.norm, norm)
    assert stats.clipped.item() == (norm.item() > max_norm)
    assert all(torch.equal(ours, theirs.grad) for ours, theirs in zip(gradients(named), twins, strict=True))


@pytest.mark.parametrize("max_value", [1e-3, 0.1, 1e6])
def test_clipping_by_value_equals_torchs_bit_for_bit(named: Named, max_value: float) -> None:
    twins = copies(named)
    entries = torch.cat([gradient.flatten() for gradient in gradients(named)])
    stats = clip_by_value(named, max_value=max_value)
    torch.nn.utils.clip_grad_value_(twins, max_value)
    assert all(torch.equal(ours, theirs.grad) for ours, theirs in zip(gradients(named), twins, strict=True))
    assert stats.clipped.item() == pytest.approx((entries.abs() > max_value).double().mean().item())
    assert stats.norm.item() == pytest.approx(entries.norm().item())


@pytest.mark.parametrize(("factor", "eps"), [(0.01, 1e-3), (0.5, 1.0), (1e6, 1e-3)])
def test_adaptive_clipping_equals_a_loop_over_units(named: Named, factor: float, eps: float) -> None:
    expected = [naive_adaptive(parameter, parameter.grad, factor, eps) for _, parameter in named[:-2]]  # type: ignore[arg-type]
    classifier = [gradient.clone() for gradient in gradients(named)[-2:]]
    norm = torch.nn.utils.get_total_norm(gradients(named))
    stats = clip_adaptive(named, factor=factor, eps=eps)
    for ours, (theirs, _) in zip(gradients(named), expected, strict=False):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-6, atol=1e-12)
    flags = [flag for _, unit in expected for flag in unit]
    assert stats.clipped.item() == pytest.approx(sum(flags) / len(flags))
    assert torch.equal(stats.norm, norm)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(gradients(named)[-2:], classifier, strict=True))


def test_adaptive_clipping_bounds_every_unit_outside_the_classifier(named: Named) -> None:
    clip_adaptive(named, factor=0.01, eps=1e-3)
    for _, parameter in named[:-2]:
        assert parameter.grad is not None
        rows, slopes = ((t.flatten(1) if t.ndim > 1 else t[None]).norm(dim=1) for t in (parameter, parameter.grad))
        assert (slopes <= 0.01 * rows.clamp(min=1e-3) * (1 + 1e-5)).all()


def test_a_vector_and_a_single_number_are_one_unit_each() -> None:
    named = [(f"{size}.scale", nn.Parameter(torch.full(size, 2.0))) for size in ((), (4,), (3,))]
    for _, parameter in named:
        parameter.grad = torch.ones_like(parameter)
    stats = clip_adaptive(named, factor=0.1)
    assert [gradient.flatten().tolist() for gradient in gradients(named)] == [
        pytest.approx([0.2]),
        pytest.approx([0.2] * 4),
        [1.0] * 3,  # the classifier
    ]
    assert stats.clipped == 1


CLIPS: list[Callable[[Named], ClipStats]] = [
    functools.partial(clip_by_norm, max_norm=1.0),
    functools.partial(clip_by_value, max_value=0.1),
    functools.partial(clip_adaptive, factor=0.01),
]


@pytest.mark.parametrize("clip", CLIPS)
def test_parameters_without_a_gradient_are_passed_over(clip: Callable[[Named], ClipStats], named: Named) -> None:
    named[0][1].grad = None
    assert clip(named).norm > 0
    assert named[0][1].grad is None
    for _, parameter in named:
        parameter.grad = None
    assert [value.item() for value in clip(named)] == [0, 0]


@pytest.mark.parametrize("clip", CLIPS)
def test_nothing_is_clipped_when_all_gradients_are_zero(clip: Callable[[Named], ClipStats], named: Named) -> None:
    for gradient in gradients(named):
        gradient.zero_()
    assert [value.item() for value in clip(named)] == [0, 0]
    assert all((gradient == 0).all() for gradient in gradients(named))


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("fused", [True, False])
def test_clipping_after_unscaling_equals_training_without_a_scaler(
    clip: Callable[[Named], Any], fused: bool, problem: tuple[Tensor, Tensor]
) -> None:
    images, targets = problem

    def train(scaler: torch.amp.GradScaler | None) -> list[Tensor]:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4))
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, fused=fused)
        for _ in range(5):
            optimizer.zero_grad()
            loss = 50 * nn.functional.cross_entropy(net(images), targets)
            if scaler is None:
                loss.backward()
                clip(list(net.named_parameters()))
                optimizer.step()
            else:
                scaler.scale(loss).backward()
                scaler.unscale_(optimizer)
                clip(list(net.named_parameters()))
                scaler.step(optimizer)
                scaler.update()
        return [parameter.detach() for parameter in net.parameters()]

    scaled = train(torch.amp.GradScaler("cpu", init_scale=2.0**10))  # a power of two: scaling rounds nothing
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(scaled, train(None), strict=True))
