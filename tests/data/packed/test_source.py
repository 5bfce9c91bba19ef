import zlib
from itertools import islice

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from convarium.data.augment.change import AugmentKey
from convarium.data.loaders import TrainBatches
from convarium.data.packed.source import central, stored_size
from convarium.data.readers.reader import Box

from data.packed.packs import Anywhere, PillowReader, folder_of, packed_of, packing_of

QUICK = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def stream(source, *, world_size=1, rank=0, epochs=2, start=None, stop=None, batch_size=4, seed=3):
    """(epoch, index, checksum of the pixels) of every sample, batch by batch, augmented crops as in training."""
    loader = TrainBatches(
        Keyed(source, seed),
        torch.arange(len(source)),
        batch_size=batch_size,
        seed=seed,
        world_size=world_size,
        rank=rank,
    )
    if start is not None:
        loader.load_state_dict(start)
    found = []
    for epoch in range(loader.epoch, epochs):
        loader.set_epoch(epoch)
        loader.source.epoch = epoch
        left = None if stop is None else stop - len(found)
        for batch in islice(loader, left):
            sums = [zlib.crc32(image.numpy().tobytes()) for image in batch.images]
            found.append([(epoch, index, number) for index, number in zip(batch.index.tolist(), sums, strict=True)])
        if stop is not None and len(found) >= stop:
            break
    return found, loader.state_dict()


class Keyed:
    """A source that is asked for its random crops, as the loader will do."""

    def __init__(self, source, seed):
        self.source, self.seed, self.epoch = source, seed, 0
        self.prefetches, self.targets = source.prefetches, source.targets

    def __len__(self):
        return len(self.source)

    def images(self, indices):
        return self.source.images(indices, AugmentKey(self.seed, self.epoch, indices))


def source_of(root, **options):
    return packed_of(root, **options).read("train").cropped(Anywhere())


@QUICK
@given(
    threads=st.sampled_from([1, 2, 4]),
    world_size=st.sampled_from([1, 2, 4]),
    stop=st.integers(0, 5),
    resumed_world_size=st.sampled_from([1, 2, 4]),
)
def test_the_stream_is_the_same_for_any_threads_and_ranks_and_after_a_stop(
    packed, threads, world_size, stop, resumed_world_size
):
    expected, _ = stream(inline(packed))
    source = source_of(packed, num_workers=threads)
    shares = [stream(source, world_size=world_size, rank=rank, stop=stop) for rank in range(world_size)]
    rest = [
        stream(source, world_size=resumed_world_size, rank=rank, start=shares[0][1])
        for rank in range(resumed_world_size)
    ]
    before = [sum(batches, []) for batches in zip(*(share[0] for share in shares), strict=True)]
    after = [sum(batches, []) for batches in zip(*(share[0] for share in rest), strict=True)]
    assert before + after == expected


def inline(root):
    """The same source without any thread of its own."""
    source = source_of(root)
    source.threads, source._pool = 0, None
    return source


def test_the_stream_from_a_store_is_that_from_the_disk(packed, in_memory):
    assert stream(source_of(in_memory))[0] == stream(source_of(packed))[0]


def test_the_samples_keep_their_numbers_and_classes(packed):
    own, other = folder_of(packed.parent / "my pictures = café"), packed_of(packed)
    own.setup("fit")
    other.setup("fit")
    assert torch.equal(own._train.targets, other._train.targets)
    for ours, theirs in zip(own.train_dataloader(), other.train_dataloader(), strict=True):
        assert torch.equal(ours.index, theirs.index)
    assert torch.equal(own._members[1], other._members[1])
