"""Packed shards against torchvision's ImageFolder and DataLoader: photograph -> RandomResizedCrop(224) -> uint8 batch.

    CONVARIUM_DATA=FOLDER python benchmarks/packed.py [PAIRS]

FOLDER/imagenet-sample/train/CLASS/*.JPEG is packed twice, as pixels and as JPEG (shorter side 256), then read by two
threads; the peer has two workers that decode with Pillow, crop and resize. None mirrors: ours does that on the device.
The readers take turns in one process; a turn is EPOCHS epochs of all photographs, and only its own threads run. Medians
and, for each pair of turns, the ratio; exit code 1 if raw shards are less than 5 times as fast as the peer.
"""

import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from convarium.data.augment.crop import RandomResizedCrop
from convarium.data.folder import FolderImages
from convarium.data.loaders import TrainBatches
from convarium.data.packed.module import PackedImages
from convarium.data.packed.source import Packed
from convarium.data.readers.choice import reader
from convarium.run.packing import pack

LEAST = 5.0
BATCH = 50
EPOCHS = 5  # per turn of ours; the peer's turn is one epoch of as many copies
WORKERS = 2
GROWTH_EPOCHS = 20
FACTS = {"channels": 3, "image_size": 224, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


class Ours:
    """Our batches of one packed dataset."""

    def __init__(self, root: Path, num_classes: int) -> None:
        data = PackedImages(root=str(root), num_classes=num_classes, num_workers=WORKERS, val_fraction=0.0, **FACTS)
        source = data.read("train")
        assert isinstance(source, Packed)
        self.loader = TrainBatches(
            source.cropped(RandomResizedCrop()), torch.arange(len(source)), batch_size=BATCH, seed=1
        )

    def turn(self, epochs: int = EPOCHS) -> Iterator[Tensor]:
        for _ in range(epochs):
            for batch in self.loader:
                yield batch.images
            self.loader.set_epoch(self.loader.epoch + 1)


class Peer:
    """torchvision's batches of the files."""

    def __init__(self, root: Path) -> None:
        changes = v2.Compose([v2.RandomResizedCrop(224, antialias=True), v2.PILToTensor()])
        files = ConcatDataset([ImageFolder(str(root), changes)] * EPOCHS)
        self.loader = DataLoader(files, batch_size=BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True)

    def turn(self) -> Iterator[Tensor]:
        for images, _ in self.loader:
            yield images


def images_per_second(turn: Callable[[], Iterator[Tensor]]) -> float:
    """Of one turn, from asking for it to its last batch."""
    started = time.perf_counter()
    count = sum(len(images) for images in turn())
    return count / (time.perf_counter() - started)


def first_batch(make: Callable[[], Ours | Peer]) -> float:
    """Seconds from nothing to the first batch."""
    started = time.perf_counter()
    next(iter(islice(make().turn(), 1)))
    return time.perf_counter() - started


def resident() -> float:
    """Megabytes of this process's memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def main(pairs: int) -> int:
    """Measure, print the table, and say by the exit code whether raw shards are fast enough."""
    files = Path(os.environ.get("CONVARIUM_DATA", "data")) / "imagenet-sample"
    classes = len(list((files / "train").iterdir()))
    with tempfile.TemporaryDirectory() as folder:
        roots = {}
        for store in ("raw", "jpeg"):
            data = FolderImages(root=str(files), num_classes=classes, val_fraction=0.0, **FACTS)
            roots[store] = Path(folder) / store
            print(pack(data, roots[store], reader=reader("pillow"), format=store, threads=WORKERS))
        makes: dict[str, Callable[[], Ours | Peer]] = {
            "ImageFolder, PIL, DataLoader": lambda: Peer(files / "train"),
            "the same again (control)": lambda: Peer(files / "train"),
            "raw shards": lambda: Ours(roots["raw"], classes),
            "JPEG shards": lambda: Ours(roots["jpeg"], classes),
        }
        firsts = {name: first_batch(make) for name, make in makes.items()}
        readers = {name: make() for name, make in makes.items()}
        rates: dict[str, list[float]] = {name: [] for name in makes}
        for one in readers.values():  # files in memory, workers started
            images_per_second(one.turn)
        for _ in range(pairs):
            for name, one in readers.items():
                rates[name].append(images_per_second(one.turn))
        memory = [resident()]
        for _ in range(2):  # what the allocator of C still gathers comes in the first half
            for one in readers.values():
                if isinstance(one, Ours):
                    for _ in one.turn(GROWTH_EPOCHS):
                        pass
            memory.append(resident())
    peer = rates["ImageFolder, PIL, DataLoader"]
    print(f"median of {pairs} alternating turns, {WORKERS} threads or workers, {BATCH} images a batch")
    print(f"  {'':30}  images/s   ratio (of each pair)   first batch, s")
    ratio = 0.0
    for name, found in rates.items():
        ratios = sorted(ours / theirs for ours, theirs in zip(found, peer, strict=True))
        middle = statistics.median(ratios)
        if name == "raw shards":
            ratio = middle
        spread = f"{middle:6.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(f"  {name:30}  {statistics.median(found):8,.0f}   {spread:22} {firsts[name]:6.2f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
    grown = ", then ".join(f"{later - earlier:+.1f} MB" for earlier, later in pairwise(memory))
    print(f"memory: {grown} over {GROWTH_EPOCHS} epochs of either of ours; peak {peak:,.0f} MB with torch and")
    print(f"        all readers, and {children:,.0f} MB in the largest worker of the peer that has ended")
    print(f"at least {LEAST}: {'reached' if ratio >= LEAST else 'NOT reached'}")
    return 0 if ratio >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
