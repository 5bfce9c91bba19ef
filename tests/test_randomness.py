import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convarium import randomness
from convarium.randomness import bits, integers, permutation, scalar_seed, uniform

seeds = st.integers(-(2**70), 2**70)
epochs = st.integers(0, 10**9)


def test_the_hash_is_splitmix64():
    # the first outputs of the reference implementation for the state 1234567 (Vigna, prng.di.unimi.it/splitmix64.c)
    state, outputs = 1234567, [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    z = torch.tensor([randomness._signed(state + (k + 1) * randomness._GAMMA) for k in range(4)])
    assert [value % 2**64 for value in randomness._mix_tensor(z).tolist()] == outputs
    assert [randomness._mix((state + (k + 1) * randomness._GAMMA) % 2**64) for k in range(4)] == outputs


def test_bits_are_the_same_on_every_machine():
    assert bits(1, "order", epoch=2, index=torch.arange(3)).tolist() == [
        3393326006533230257,
        -5414147388448977971,
        -8885924560481721081,
    ]
    assert permutation(8, 1, epoch=2).tolist() == [2, 4, 7, 1, 5, 3, 0, 6]


@given(seeds, epochs, st.lists(st.integers(0, 2**40), min_size=1, max_size=20))
def test_a_draw_depends_on_its_own_index_only(seed, epoch, numbers):
    index = torch.tensor(numbers)
    together = bits(seed, "x", epoch=epoch, index=index)
    alone = torch.cat([bits(seed, "x", epoch=epoch, index=one.view(1)) for one in index])
    assert torch.equal(together, alone)


@given(seeds, st.lists(epochs, min_size=1, max_size=10))
def test_an_epoch_tensor_draws_as_the_number_does(seed, numbers):
    index = torch.arange(len(numbers)) * 7
    mixed = bits(seed, "x", epoch=torch.tensor(numbers), index=index)
    single = torch.stack([bits(seed, "x", epoch=e, index=i) for e, i in zip(numbers, index, strict=True)])
    assert torch.equal(mixed, single)


def test_seed_purpose_and_epoch_each_change_every_draw():
    index = torch.arange(1000)
    base = bits(1, "a", epoch=0, index=index)
    for other in (bits(2, "a", index=index), bits(1, "b", index=index), bits(1, "a", epoch=1, index=index)):
        assert not (base == other).any()


def test_the_index_keeps_its_shape_and_is_not_written_to():
    index = torch.arange(6).view(2, 3)
    assert bits(1, "x", index=index).shape == (2, 3)
    assert torch.equal(index, torch.arange(6).view(2, 3))


def test_uniform_fills_the_unit_interval_evenly():
    drawn = uniform(3, "x", index=torch.arange(200_000))
    assert drawn.dtype == torch.float32
    assert drawn.min() >= 0
    assert drawn.max() < 1
    counts = torch.histc(drawn, bins=100, min=0, max=1)
    chi_square = ((counts - 2000) ** 2 / 2000).sum()
    assert 60 < chi_square < 150  # 99 degrees of freedom: mean 99, deviation 14


def test_neighbouring_indices_and_epochs_are_uncorrelated():
    drawn = torch.stack([uniform(0, "x", epoch=e, index=torch.arange(20_000)) for e in range(4)])
    drawn = torch.cat([drawn, drawn[:1].roll(1, 1)])
    off_diagonal = torch.corrcoef(drawn.double()) - torch.eye(5, dtype=torch.float64)
    assert off_diagonal.abs().max() < 0.03  # four deviations of 1/sqrt(20000)


@pytest.mark.parametrize("high", [1, 2, 9, 10, 1000])
def test_integers_take_each_value_equally_often(high):
    drawn = integers(high, 5, "x", index=torch.arange(100 * high))
    counts = torch.bincount(drawn, minlength=high)
    assert len(counts) == high
    assert (counts - 100).abs().max() < 50


@given(st.integers(1, 2**31), seeds)
def test_integers_stay_in_their_range(high, seed):
    drawn = integers(high, seed, "x", index=torch.arange(50))
    assert drawn.min() >= 0
    assert drawn.max() < high


@pytest.mark.parametrize("high", [0, -1, 2**31 + 1])
def test_integers_refuse_a_range_they_cannot_draw_from(high):
    with pytest.raises(ValueError, match=f"high={high}: accepted are 1 to"):
        integers(high, 1, "x", index=torch.arange(3))


@given(st.integers(1, 500), seeds, epochs)
@settings(max_examples=50)
def test_a_permutation_holds_every_number_once(n, seed, epoch):
    assert torch.equal(permutation(n, seed, epoch=epoch).sort().values, torch.arange(n))


def test_two_epochs_and_two_seeds_have_different_orders():
    orders = [permutation(100, seed, epoch=epoch) for seed in (1, 2) for epoch in (0, 1)]
    assert all(not torch.equal(a, b) for k, a in enumerate(orders) for b in orders[:k])


def test_scalar_seed_tells_steps_and_ranks_apart():
    drawn = {scalar_seed(1, "dropout", step, rank) for step in range(100) for rank in range(8)}
    assert len(drawn) == 800
    assert all(0 <= value < 2**63 for value in drawn)
    torch.manual_seed(max(drawn))


@given(seeds, st.lists(st.integers(-(2**62), 2**62), max_size=4))
def test_scalar_seed_is_a_function_of_its_arguments(seed, numbers):
    assert scalar_seed(seed, "x", *numbers) == scalar_seed(seed, "x", *numbers)
    assert scalar_seed(seed, "x", *numbers) != scalar_seed(seed, "x", *numbers, 0)
