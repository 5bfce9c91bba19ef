import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convarium.data.splits import carve, fold


@given(st.lists(st.integers(0, 5), min_size=10, max_size=300), st.floats(0.1, 0.9), st.integers(0, 1000))
@settings(deadline=None)
def test_the_two_parts_are_a_partition_with_every_class_in_proportion(labels, fraction, seed):
    targets = torch.tensor(labels)
    kept, carved = carve(targets, fraction, seed=seed)
    assert torch.equal(torch.cat([kept, carved]).sort().values, torch.arange(len(labels)))
    assert len(carved) == round(len(labels) * fraction)
    share = len(carved) / len(labels)
    for label in set(labels):
        assert abs(int((targets[carved] == label).sum()) - share * labels.count(label)) <= 1


def test_the_seed_chooses_the_samples_and_nothing_else_does():
    targets = torch.arange(1000) % 10
    first, again, other = (carve(targets, 0.1, seed=seed)[1] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_a_fraction_that_empties_one_part_is_refused(fraction):
    with pytest.raises(ValueError, match=f"val_fraction={fraction}: takes"):
        carve(torch.arange(100) % 10, fraction, seed=0)


@given(st.lists(st.integers(0, 5), min_size=10, max_size=300), st.integers(2, 10), st.integers(0, 1000))
@settings(deadline=None)
def test_every_sample_is_in_one_fold_and_folds_are_alike(labels, folds, seed):
    targets = torch.tensor(labels)
    parts = [fold(targets, folds, number, seed=seed) for number in range(folds)]
    inside = [part[1] for part in parts]
    assert torch.equal(torch.cat(inside).sort().values, torch.arange(len(labels)))
    for kept, held in parts:
        assert torch.equal(torch.cat([kept, held]).sort().values, torch.arange(len(labels)))
    assert max(map(len, inside)) - min(map(len, inside)) <= 1
    for label in set(labels):
        counts = [int((targets[held] == label).sum()) for held in inside]
        assert max(counts) - min(counts) <= 1


def test_the_split_seed_alone_chooses_what_is_in_a_fold():
    targets = torch.arange(100) % 10
    first, again, other = (fold(targets, 5, 2, seed=seed)[1] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("folds", "number"), [(5, 5), (5, -1), (1, 0), (101, 0)])
def test_a_fold_that_there_is_not_is_refused(folds, number):
    with pytest.raises(ValueError, match=rf"data.fold={number}: of data.folds={folds} and 100 images"):
        fold(torch.arange(100) % 10, folds, number, seed=0)
