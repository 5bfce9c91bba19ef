from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convarium.data.image_files.files import Files, Shape
from convarium.data.image_files.listing import walk
from convarium.data.loaders import EvalBatches, TrainBatches
from convarium.data.readers.choice import reader
from convarium.data.sources import InMemory
from convarium.randomness import permutation


def split_of(n):
    samples = torch.arange(n)
    return InMemory((samples % 256).to(torch.uint8).view(n, 1, 1, 1), samples % 10)


def train(n=50, *, batch_size=8, seed=1, **options):
    return TrainBatches(split_of(n), torch.arange(n), batch_size=batch_size, seed=seed, **options)


def drawn(loader, epoch=0):
    """The sample numbers of an epoch, one list per micro-batch."""
    loader.set_epoch(epoch)
    return [batch.index.tolist() for batch in loader]


layouts = st.sampled_from([(1, 1), (2, 1), (4, 1), (1, 2), (2, 2), (4, 3), (3, 1)])


@given(st.integers(24, 200), layouts, st.integers(1, 3), st.integers(0, 5), st.booleans())
@settings(deadline=None)
def test_ranks_and_micro_batches_partition_every_global_batch_exactly(n, layout, per_device, epoch, drop_last):
    world_size, accumulate = layout
    batch_size = min(per_device, n // (world_size * accumulate)) * world_size * accumulate
    ranks = [
        train(n, batch_size=batch_size, world_size=world_size, rank=r, accumulate=accumulate, drop_last=drop_last)
        for r in range(world_size)
    ]
    order = permutation(n, 1, epoch=epoch).tolist()
    shares = [drawn(loader, epoch) for loader in ranks]
    assert len({len(share) for share in shares}) == 1
    for step in range(ranks[0].steps):
        micro = range(step * accumulate, (step + 1) * accumulate)
        together = [sample for a in micro for share in shares for sample in share[a]]
        assert together == order[step * batch_size : (step + 1) * batch_size]
    assert sum(len(micro) for share in shares for micro in share) == n - ranks[0].remainder


@pytest.mark.parametrize(("world_size", "accumulate"), [(1, 1), (2, 1), (4, 1), (2, 2), (1, 4)])
def test_the_global_batches_are_the_same_for_every_layout(world_size, accumulate):
    ranks = [train(50, world_size=world_size, rank=r, accumulate=accumulate) for r in range(world_size)]
    shares = [drawn(loader, 3) for loader in ranks]
    steps = [
        sorted(s for share in shares for micro in share[k * accumulate : (k + 1) * accumulate] for s in micro)
        for k in range(6)
    ]
    alone = [sorted(micro) for micro in drawn(train(50), 3)]
    assert steps == alone


def test_two_epochs_have_two_orders_and_an_epoch_has_one():
    loader = train()
    first, second = drawn(loader, 0), drawn(loader, 1)
    assert first != second
    assert drawn(train(), 1) == second


def test_a_batch_holds_the_images_and_targets_of_its_samples():
    for batch in train():
        assert batch.images.flatten().tolist() == batch.index.tolist()
        assert torch.equal(batch.targets, batch.index % 10)
        assert batch.training
        assert batch.weight == 1.0


def test_micro_batches_are_numbered_since_the_start_of_training():
    loader = train(accumulate=2)
    loader.set_epoch(3)
    assert [batch.number for batch in loader] == list(range(3 * 12, 4 * 12))
    assert len(loader) == 12
    assert loader.steps == 6


def test_only_the_members_are_drawn():
    members = torch.arange(0, 60, 3)
    loader = TrainBatches(split_of(60), members, batch_size=5, seed=1)
    assert sorted(sample for micro in drawn(loader) for sample in micro) == members.tolist()


@given(st.integers(0, 12), st.sampled_from([(1, 1), (2, 2)]), st.booleans())
@settings(deadline=None)
def test_a_loaded_position_continues_with_the_remaining_batches(position, layout, drop_last):
    world_size, accumulate = layout
    options = {"world_size": world_size, "rank": world_size - 1, "accumulate": accumulate, "drop_last": drop_last}
    whole = train(54, **options)
    whole.set_epoch(2)
    expected = list(whole)
    stopped = train(54, **options)
    stopped.set_epoch(2)
    list(islice(stopped, position))

    resumed = train(54, **options)
    resumed.load_state_dict(stopped.state_dict())
    resumed.set_epoch(2)  # Lightning calls it after the load
    rest = list(resumed)

    assert [b.index.tolist() for b in rest] == [b.index.tolist() for b in expected[position:]]
    assert [b.number for b in rest] == [b.number for b in expected[position:]]
    assert [b.weight for b in rest] == [b.weight for b in expected[position:]]


def test_a_position_counts_a_batch_as_soon_as_it_is_handed_out():
    loader = train()
    next(iter(loader))
    assert loader.state_dict() == {"epoch": 0, "position": 1}


def test_a_new_epoch_starts_from_its_first_batch_although_the_last_was_not_read_to_its_end():
    loader = train()
    list(islice(loader, len(loader)))  # as Lightning does: it never comes back after the last batch
    assert len(drawn(loader, 1)) == len(loader)
    list(islice(loader, 2))
    assert len(drawn(loader, 2)) == len(loader)


def test_a_position_means_the_same_step_for_another_number_of_devices():
    alone, one_of_two = train(), train(world_size=2)
    list(islice(alone, 2))
    one_of_two.load_state_dict(alone.state_dict())
    assert set(next(iter(one_of_two)).index.tolist()) < set(next(iter(alone)).index.tolist())


@given(st.integers(16, 60), st.sampled_from([(1, 1), (2, 1), (2, 2), (4, 1), (1, 4)]))
@settings(deadline=None)
def test_weights_make_the_last_batch_the_mean_over_its_samples(n, layout):
    world_size, accumulate = layout
    ranks = [
        train(n, batch_size=16, world_size=world_size, rank=r, accumulate=accumulate, drop_last=False)
        for r in range(world_size)
    ]
    value = torch.rand(n, dtype=torch.float64)  # stands for each sample's gradient
    last = [batch for loader in ranks for batch in list(loader)[-accumulate:]]
    averaged = sum(value[b.index].mean() * b.weight for b in last) / (world_size * accumulate)
    samples = torch.cat([b.index for b in last])
    torch.testing.assert_close(averaged, value[samples].mean())
    assert max(len(b.index) for b in last) - min(len(b.index) for b in last) <= 1


def test_an_incomplete_last_batch_is_dropped_and_counted():
    loader = train(50, batch_size=8)
    assert (len(loader), loader.remainder) == (6, 2)
    kept = train(50, batch_size=8, drop_last=False)
    assert (len(kept), kept.remainder) == (7, 0)


def test_a_last_batch_smaller_than_its_pieces_is_dropped_even_if_the_last_is_kept():
    loader = train(50, batch_size=8, world_size=4, drop_last=False)
    assert (len(loader), loader.remainder) == (6, 2)


def test_a_fixed_order_repeats_the_first_epoch():
    loader = train(fixed_order=True)
    assert drawn(loader, 0) == drawn(loader, 5) == drawn(train(), 0)


def test_lightning_finds_set_epoch_but_no_sampler_to_replace():
    loader = train()
    assert not hasattr(loader, "sampler")
    assert loader.batch_sampler.sampler is loader


@given(st.integers(0, 60), st.integers(1, 5), st.integers(1, 9))
@settings(deadline=None)
def test_evaluation_sees_each_sample_once_and_pads_nothing(n, world_size, batch_size):
    shares = [
        EvalBatches(split_of(n), torch.arange(n), batch_size=batch_size, world_size=world_size, rank=r)
        for r in range(world_size)
    ]
    seen = [sample for loader in shares for batch in loader for sample in batch.index.tolist()]
    assert sorted(seen) == list(range(n))
    assert [len(list(loader)) for loader in shares] == [len(loader) for loader in shares]
    assert all(0 < len(batch.index) <= batch_size for loader in shares for batch in loader)


def test_evaluation_is_in_order_and_never_augmented():
    batches = list(EvalBatches(split_of(7), torch.arange(7), batch_size=3, world_size=2, rank=1))
    assert [b.index.tolist() for b in batches] == [[1, 3, 5]]
    assert not any(b.training for b in batches)
    assert torch.equal(batches[0].targets, torch.tensor([1, 3, 5]))


def test_a_slow_source_is_read_ahead_in_the_same_order(class_folders):
    paths = list(walk(class_folders(images=10)))
    files = Files(paths, torch.arange(20), shape=Shape(3, 12), reader=reader("pillow"), threads=3)
    slow = TrainBatches(files, torch.arange(20), batch_size=4, seed=1)
    fast = TrainBatches(files.load(), torch.arange(20), batch_size=4, seed=1)
    slow.set_epoch(1)
    fast.set_epoch(1)
    for ahead, held in zip(slow, fast, strict=True):
        assert torch.equal(ahead.index, held.index)
        assert torch.equal(ahead.images, held.images)


def test_reading_ahead_does_not_advance_the_position(class_folders):
    paths = list(walk(class_folders(images=10)))
    loader = TrainBatches(
        Files(paths, torch.arange(20), shape=Shape(3, 12), reader=reader("pillow")),
        torch.arange(20),
        batch_size=4,
        seed=1,
    )
    batches = iter(loader)
    next(batches)
    assert loader.state_dict()["position"] == 1
    batches.close()


# a balanced epoch


def unequal(counts, **options):
    """Batches of a split with so many samples of each class."""
    targets = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    pixels = torch.zeros(len(targets), 1, 1, 1, dtype=torch.uint8)
    source = InMemory(pixels, targets)
    return TrainBatches(source, torch.arange(len(targets)), batch_size=4, seed=1, balanced=True, **options)


@given(st.lists(st.integers(1, 40), min_size=2, max_size=6).filter(lambda counts: sum(counts) > 8), st.integers(0, 4))
@settings(deadline=None)
def test_a_balanced_epoch_has_each_class_equally_often_and_no_draw_twice(counts, epoch):
    loader = unequal(counts)
    order, n = loader.order(epoch), sum(counts)
    drawn = torch.bincount(loader.source.targets[order % n], minlength=len(counts))
    assert len(order) == n
    assert drawn.max() - drawn.min() <= 1
    assert len(order.unique()) == n
    times = torch.bincount(order % n, minlength=n)
    for number in range(len(counts)):  # nobody comes a third time before all have come twice
        own = times[loader.source.targets == number]
        assert own.max() - own.min() <= 1


def test_a_balanced_order_is_that_of_the_seed_and_epoch_for_any_ranks_and_after_a_resume():
    counts = [3, 30, 7]
    whole = [batch.index for batch in unequal(counts)]
    ranks = [[batch.index for batch in unequal(counts, world_size=2, rank=rank)] for rank in (0, 1)]
    assert all(torch.equal(one, torch.cat(two)) for one, two in zip(whole, zip(*ranks, strict=True), strict=True))
    resumed = unequal(counts)
    resumed.load_state_dict({"epoch": 0, "position": 4})
    assert all(torch.equal(a, batch.index) for a, batch in zip(whole[4:], resumed, strict=True))
    other = unequal(counts)
    other.set_epoch(1)
    assert not torch.equal(torch.cat(whole), torch.cat([batch.index for batch in other]))


def test_a_batch_of_a_balanced_epoch_has_the_targets_of_its_samples():
    for batch in unequal([2, 17, 5]):
        assert torch.equal(batch.targets, unequal([2, 17, 5]).source.targets[batch.index % 24])
