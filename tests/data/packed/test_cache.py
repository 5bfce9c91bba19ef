import logging

import fsspec
import numpy as np
import pytest
import torch

from convarium.data.augment.change import AugmentKey
from convarium.data.packed import cache as cache_file
from convarium.errors import ConfigError
from data.packed.packs import Anywhere, packed_of

EVERY = torch.arange(12)


@pytest.fixture
def cached(in_memory, tmp_path):
    """A split from the store, through a cache."""

    def make(**options):
        return packed_of(in_memory, cache_dir=str(tmp_path / "cache"), **options).read("train")

    return make


def take_away(in_memory):
    """The store's shards: what is read from now on is in the cache."""
    files = fsspec.filesystem("memory")
    for path in files.glob(f"{in_memory.removeprefix('memory:/')}/train-*"):
        files.pipe_file(path, b"")


def test_what_was_fetched_once_is_not_fetched_again(cached, in_memory, packed):
    expected = packed_of(packed).read("train").fetch(EVERY)[0]
    first = cached()
    assert torch.equal(first.fetch(EVERY)[0], expected)
    take_away(in_memory)
    assert torch.equal(first.fetch(EVERY)[0], expected)
    assert torch.equal(cached().fetch(EVERY)[0], expected)  # another process, later


def test_a_part_of_a_sample_comes_from_the_cache_too(cached, in_memory, packed):
    key = AugmentKey(0, 0, EVERY)
    expected = packed_of(packed).read("train").for_training(Anywhere()).fetch_training(EVERY, key)[0]
    first = cached().for_training(Anywhere())
    assert torch.equal(first.fetch_training(EVERY, key)[0], expected)
    take_away(in_memory)
    assert torch.equal(first.fetch_training(EVERY, key)[0], expected)
    assert torch.equal(cached().for_training(Anywhere()).fetch_training(EVERY, key)[0], expected)


def test_two_ranks_share_what_each_fetched(cached, in_memory, packed):
    one, other = cached(), cached()
    one.fetch(EVERY[::2])[0]
    other.fetch(EVERY[1::2])[0]
    take_away(in_memory)
    assert torch.equal(one.fetch(EVERY)[0], packed_of(packed).read("train").fetch(EVERY)[0])


def test_a_sample_asked_for_twice_in_a_batch_is_fetched_once(cached, packed):
    twice = torch.tensor([5, 5, 2, 5])
    assert torch.equal(cached().fetch(twice)[0], packed_of(packed).read("train").fetch(twice)[0])


def test_a_damaged_sample_is_fetched_again(cached, packed, tmp_path):
    expected = cached().fetch(EVERY)[0]
    for shard in (tmp_path / "cache").rglob("train-00000*.*"):
        shard.write_bytes(bytes(shard.stat().st_size))
    assert torch.equal(cached().fetch(EVERY)[0], expected)


def test_a_file_missing_from_the_cache_is_fetched_again(cached, tmp_path):
    expected = cached().fetch(EVERY)[0]
    for shard in (tmp_path / "cache").rglob("train-00000*.*"):
        shard.unlink()
    assert torch.equal(cached().fetch(EVERY)[0], expected)


def test_a_damaged_sample_that_cannot_be_had_again_is_named(cached, in_memory, tmp_path, monkeypatch):
    from convarium.data.packed import storage

    monkeypatch.setattr(storage, "PAUSES", (0.0,))
    cached().fetch(EVERY)[0]
    take_away(in_memory)
    for shard in (tmp_path / "cache").rglob("train-00000*.*"):
        shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(ConfigError, match=r"train-00000\.\w+ \(bytes \d+ to \d+\): 0 bytes came: cut short"):
        cached().fetch(EVERY)[0]


def test_the_first_to_come_stay_up_to_the_limit(cached, packed):
    source = cached(cache_gb=2.5e-6)  # two samples or so
    lengths = source.shards.index.length
    for _ in range(3):
        source.fetch(EVERY.flip(0))[0]
    kept = np.flatnonzero(source.shards._there)
    assert source.shards.used == lengths[kept].sum() <= 2500
    assert 0 < len(kept) < 12
    before = kept.tolist()
    source.fetch(EVERY)[0]
    assert np.flatnonzero(source.shards._there).tolist() == before


def test_a_full_disk_ends_the_keeping_and_nothing_else(cached, packed, monkeypatch, caplog):
    def full(*rest):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_file.os, "pwrite", full)
    source = cached()
    with caplog.at_level(logging.WARNING, logger="convarium.data"):
        found = source.fetch(EVERY)[0]
    assert torch.equal(found, packed_of(packed).read("train").fetch(EVERY)[0])
    assert "nothing more is kept: No space left on device" in caplog.text
    assert source.shards.used == 0
