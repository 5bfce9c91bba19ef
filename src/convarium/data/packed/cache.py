"""Samples of a dataset in object storage, kept on this disk as they come: what was fetched once is not fetched again.

Samples are kept, not shards: in a random order every batch touches every shard, and a rank fetches its own alone. Up to
the limit the first to come stay, and nothing is thrown out: every epoch asks for every sample once, and those that were
used least recently are the ones that come next. No torch here.
"""

import logging
import math
import os
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from convarium.data.packed.shards import Index, Shards, Split
from convarium.data.packed.storage import Bytes, Folder, Read, Storage
from convarium.errors import ConfigError

LOG = logging.getLogger("convarium.data")


class Cache:
    """A folder that keeps samples of several splits, together at most `limit` bytes (None: all)."""

    def __init__(self, folder: str | Path, limit: int | None = None) -> None:
        self.folder = Path(folder).expanduser()
        self.limit = limit
        self._splits: list[CachedShards] = []

    def shards(self, name: str, storage: Storage, split: Split, index: Index) -> "CachedShards":
        """The shards of one split, kept here as they are read. Raises OSError if the folder cannot be written to."""
        folder = self.folder / f"{name}-{split.index.sha256[:16]}"
        self._splits.append(CachedShards(storage, split, index, cache=self, folder=folder))
        return self._splits[-1]

    def room(self) -> float:
        """Bytes that may still be kept, whoever filled the rest: the ranks of a machine share the folder."""
        return math.inf if self.limit is None else self.limit - sum(split.used for split in self._splits)


class CachedShards(Shards):
    """A split and what is kept of it: a sparse copy of each shard, and one byte a sample that says whether it is there.

    The byte is set after the sample is written. Whether it reached the disk before a power cut is not known: a sample
    that an earlier process wrote is compared with its CRC when it is first read.
    """

    def __init__(self, storage: Storage, split: Split, index: Index, *, cache: Cache, folder: Path) -> None:
        super().__init__(storage, split, index)
        folder.mkdir(parents=True, exist_ok=True)
        self._cache = cache
        self._files = Folder(folder)
        there = folder / "there"
        with there.open("ab") as file:  # several ranks may do this at once
            file.truncate(len(index))
        self._there = np.memmap(there, dtype=np.uint8, mode="r+", shape=(len(index),))
        self._seen = np.zeros(len(index), dtype=bool)
        self._room = 0.0
        self._lock = threading.Lock()
        self._gave_up = False

    @property
    def used(self) -> int:
        """Bytes of the samples that are there."""
        return int(self.index.length[self._there != 0].sum(dtype=np.int64))

    def start(self, samples: Sequence[int], parts: Sequence[tuple[int, int]] | None = None) -> list[Read]:
        """As Shards.start; what is not here is fetched whole."""
        self._room = self._cache.room()
        absent = [sample for sample in dict.fromkeys(samples) if not self._there[sample]]
        fetches = dict(zip(absent, self.storage.start([self.range(sample) for sample in absent]), strict=True))
        every = [None] * len(samples) if parts is None else parts
        wanted = zip(samples, every, strict=True)
        return [partial(self._read, sample, part, fetches.get(sample)) for sample, part in wanted]

    def _read(self, sample: int, part: tuple[int, int] | None, fetch: Read | None) -> Bytes:
        if fetch is None:
            kept = self._kept(sample, part)
            if kept is not None:
                return kept
            [fetch] = self.storage.start([self.range(sample)])
        data = self.read_intact(sample, fetch)
        self._keep(sample, data)
        return data if part is None else data[slice(*part)]

    def _kept(self, sample: int, part: tuple[int, int] | None) -> Bytes | None:
        """What is kept of a sample; None if that is damaged or gone."""
        seen = bool(self._seen[sample])
        [read] = self._files.start([self.range(sample, part if seen else None)])
        try:
            data = read()
        except ConfigError:
            data = None
        if data is None or not (seen or self.is_intact(sample, data)):
            self._there[sample] = 0
            return None
        self._seen[sample] = True
        return data if seen or part is None else data[slice(*part)]

    def _keep(self, sample: int, data: Bytes) -> None:
        with self._lock:
            if self._gave_up or len(data) > self._room:
                return
            self._room -= len(data)
        name, start, _ = self.range(sample)
        try:
            number = os.open(self._files.folder / name, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                written = os.pwrite(number, data.data, start)
            finally:
                os.close(number)
        except OSError as error:
            self._gave_up = True
            LOG.warning("data.cache_dir=%s: nothing more is kept: %s", self._cache.folder, error.strerror)
            return
        if written == len(data):
            self._there[sample] = 1
            self._seen[sample] = True
