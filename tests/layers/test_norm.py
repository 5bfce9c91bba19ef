"""Normalization layers: the statistics they remove, and their formulas."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from convarium.layers import norm


def maps(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64) * 3 + 5


def test_local_response_gives_the_worked_example() -> None:
    example = norm.LocalResponse(4, n=2, k=0, alpha=1, beta=1)
    a = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64).view(1, 4, 1, 1)
    expected = torch.tensor([1 / 5, 2 / 14, 3 / 29, 4 / 25], dtype=torch.float64)
    torch.testing.assert_close(example(a).flatten(), expected)


def test_local_response_without_k_has_no_value_where_all_is_zero() -> None:
    assert norm.LocalResponse(4, n=2, k=0, alpha=1, beta=1)(torch.zeros(1, 4, 1, 1)).isnan().all()


def test_local_response_is_torchs_with_alpha_times_n() -> None:
    x = maps(2, 7, 3, 3) * 20
    torchs = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2)
    torch.testing.assert_close(norm.LocalResponse(7)(x), torchs(x))


def test_local_response_survives_squares_beyond_half_precision() -> None:
    y = norm.LocalResponse(3)(torch.full((1, 3, 1, 1), 1000.0, dtype=torch.float16))
    assert y.dtype == torch.float16
    assert y.min() > 0


@pytest.mark.parametrize(
    ("factory", "over"),
    [(norm.batch, (0, 2, 3)), (norm.sync_batch, (0, 2, 3)), (norm.instance, (2, 3)), (norm.layer, (1, 2, 3))],
)
def test_statistics_are_removed_over(factory: Callable[[int], nn.Module], over: tuple[int, ...]) -> None:
    y = factory(6).double()(maps(4, 6, 5, 5))
    torch.testing.assert_close(y.mean(over), torch.zeros_like(y.mean(over)), atol=1e-12, rtol=0)
    torch.testing.assert_close(y.std(over, correction=0), torch.ones_like(y.mean(over)), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("channels", "groups"), [(6, 6), (64, 32), (48, 24), (300, 30), (37, 1), (1, 1)])
def test_groups_are_the_largest_divisor_up_to_32(channels: int, groups: int) -> None:
    assert norm.Group(channels).num_groups == groups
    y = norm.Group(channels).double()(maps(2, channels, 3, 3)).view(2, groups, -1)
    torch.testing.assert_close(y.mean(2), torch.zeros(2, groups, dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("channels", "groups"),
    [(6, 1), (16, 1), (31, 1), (32, 2), (48, 3), (64, 4), (512, 32), (1024, 32), (100, 5)],
)
def test_a_group_has_at_least_as_many_channels_as_asked_for(channels: int, groups: int) -> None:
    assert norm.Group(channels, channels_per_group=16).num_groups == groups


def test_sixteen_channels_a_group_are_those_of_the_paper_at_any_width() -> None:
    of_the_paper = partial(norm.Group, groups=128, channels_per_group=16)
    assert [of_the_paper(channels).num_groups for channels in (64, 256, 2048)] == [4, 16, 128]


def test_a_group_of_a_single_value_is_refused() -> None:
    with pytest.raises(ValueError, match="32 groups of one value"):
        norm.Group(32)(maps(2, 32, 1, 1))


def test_instance_norm_refuses_1x1_maps_also_in_evaluation() -> None:
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        norm.instance(4).eval().double()(maps(2, 4, 1, 1))


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize(
    "factory",
    [
        *(partial(norm.LocalResponse, k=1e-6, alpha=alpha, beta=beta) for alpha in (0.0, 1.0) for beta in (0.75, 2.0)),
        *(partial(factory, eps=1e-12) for factory in (norm.batch, norm.Group, norm.layer, norm.instance)),
    ],
)
def test_constant_maps_are_no_division_by_zero_with_the_smallest_numbers_that_the_keys_accept(
    factory: Callable[[int], nn.Module], value: float
) -> None:
    x = torch.full((4, 8, 3, 3), value, requires_grad=True)
    y = factory(8)(x)
    y.sum().backward()
    assert x.grad is not None
    assert y.isfinite().all()
    assert x.grad.isfinite().all()


def test_none_changes_nothing() -> None:
    x = maps(2, 3, 4, 4)
    assert norm.none(3)(x) is x
