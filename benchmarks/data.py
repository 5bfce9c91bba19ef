"""How fast batches come, against torchvision's datasets in a DataLoader of two workers; two CPU cores.

    CONVARIUM_DATA=... python benchmarks/data.py [memory] [files] [raw] [jpeg] [pairs=7]

memory: CIFAR-10 in batches of 512: random crop of the padded image, mirror, normalization. The peer is torchvision's
CIFAR10 with its customary transforms, image by image on Pillow's.
files: ImageNet photographs in batches of 64: RandomResizedCrop(224), antialiased, mirror, to uint8. The peer is
torchvision's ImageFolder on Pillow's images.
raw, jpeg: the same from shards that `convarium data pack` makes first, of pixels or of JPEG, the shorter side 256.

Ours, the peer, and ours again as a control take turns in one process: medians of images per second, and of the paired
ratios with their range. Then, each in a process of its own, the time to the first batch, and the peak memory, workers
included, after 2 epochs and after 20. Without the data, noise of the same shapes is used.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from convarium.config.compose import compose
from convarium.config.instantiate import build
from convarium.config.resolvers import register
from convarium.data.augment.change import AugmentKey
from convarium.data.sources import InMemory

SECTIONS = ("memory", "files", "raw", "jpeg")
WORKERS = 2
CIFAR, PHOTOS = 512, 64  # images in a batch
SECONDS = 2.0  # of each turn
MEAN, STD = [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]


class Endless:
    """Batch after batch, epoch after epoch; counts the images."""

    def __init__(self, epoch: Callable[[int], Iterator[int]]) -> None:
        self.epoch = epoch
        self.batches = self._all()

    def _all(self) -> Iterator[int]:
        number = 0
        while True:
            yield from self.epoch(number)
            number += 1

    def rate(self) -> float:
        """Images per second over one turn. What was made ahead while others had their turn is used up before."""
        for _ in range(2 * WORKERS):
            next(self.batches)
        images, start = 0, time.perf_counter()
        while (taken := time.perf_counter() - start) < SECONDS:
            images += next(self.batches)
        return images / taken


def ours(section: str, folder: Path) -> Callable[[int], Iterator[int]]:
    """Epochs of the platform's batches, as far as the peer makes them."""
    crop, batch_size = ("crop_flip", CIFAR) if section == "memory" else ("random_resized_crop", PHOTOS)
    if section == "memory":
        words = ["data=synthetic", "data.image_size=32"]
    elif section == "files":
        words = ["data=folder", f"data.root={photographs(folder)}", "data.in_memory=false", "data.image_size=224"]
    else:
        words = ["data=packed", f"data.root={packed(section, folder)}", "data.image_size=224"]
    if section != "memory":
        words.append(f"data.num_workers={WORKERS}")
    words += [f"augment={crop}", f"batch_size={batch_size}", "data.val_fraction=0", f"data.mean={MEAN}"]
    register()
    data: Any = build(compose([*words, f"data.std={STD}", "arch=mlp"]).config["data"], "data")
    if section == "memory":
        pixels = torch.from_numpy(cifar_pixels()).permute(0, 3, 1, 2)
        data.__dict__["_train"] = InMemory(pixels, torch.zeros(len(pixels), dtype=torch.int64))
        data.train_size = len(pixels)
    data.setup("fit")
    loader = data.train_dataloader()

    def epoch(number: int) -> Iterator[int]:
        loader.set_epoch(number)
        loader.position = 0
        for batch in loader:
            if section == "memory":
                images = data.on_after_batch_transfer(batch, 0).images
            else:
                key = AugmentKey(data.seed, batch.epoch, batch.index)
                images = data.pipeline.change(batch.images.contiguous(), key, cropped=True)
            yield len(images)

    return epoch


def peer(section: str, folder: Path) -> Callable[[int], Iterator[int]]:
    """Epochs of torchvision's."""
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    flip = transforms.RandomHorizontalFlip()
    if section == "memory":
        crop, to_tensor = transforms.RandomCrop(32, padding=4), transforms.ToTensor()
        dataset = datasets.CIFAR10.__new__(datasets.CIFAR10)  # its reader wants files that only it brings
        dataset.data = cifar_pixels()
        dataset.targets = [0] * len(dataset.data)
        dataset.transform = transforms.Compose([crop, flip, to_tensor, transforms.Normalize(MEAN, STD)])
        dataset.target_transform = None
    else:
        steps = transforms.Compose([transforms.RandomResizedCrop(224), flip, transforms.PILToTensor()])
        dataset = datasets.ImageFolder(str(photographs(folder) / "train"), steps)
    loader = DataLoader(
        dataset,
        CIFAR if section == "memory" else PHOTOS,
        shuffle=True,
        drop_last=True,
        num_workers=WORKERS,
        persistent_workers=True,
    )

    def epoch(number: int) -> Iterator[int]:
        for images, _ in loader:
            yield len(images)

    return epoch


CONTENDERS = {"ours": ours, "peer": peer}


def cifar_pixels() -> np.ndarray:
    """(50000, 32, 32, 3) uint8: what the pixels are does not matter, only how many."""
    return np.random.default_rng(0).integers(0, 256, (50_000, 32, 32, 3), dtype=np.uint8)


def photographs(folder: Path) -> Path:
    """A root with `train/CLASS/*.JPEG`: the sample of ImageNet, or smooth noise of its size."""
    real = Path(os.environ.get("CONVARIUM_DATA", "data"), "imagenet-sample")
    if real.is_dir():
        return real.absolute()
    made = folder / "photographs"
    if not made.is_dir():
        numbers = np.random.default_rng(0)
        for k in range(200):
            place = made / "train" / f"{k % 10}"
            place.mkdir(parents=True, exist_ok=True)
            coarse = numbers.integers(0, 256, (94, 125, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC).save(place / f"{k}.jpg", quality=95)
    return made


def packed(format: str, folder: Path) -> Path:
    """The photographs in shards."""
    place = folder / format
    if not place.exists():
        command = [
            *(sys.executable, "-c", "from convarium.cli import main; main()", "data", "pack", "data=folder"),
            *(f"data.root={photographs(folder)}", f"to={place}", f"format={format}", "size=256"),
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return place


def compare(section: str, folder: Path, pairs: int) -> None:
    """Take turns, and print."""
    running = {
        "ours": Endless(ours(section, folder)),
        "peer": Endless(peer(section, folder)),
        "control": Endless(ours(section, folder)),
    }
    for one in running.values():
        one.rate()
    rates: dict[str, list[float]] = {name: [] for name in running}
    for pair in range(pairs):
        order = list(running) if pair % 2 else list(reversed(running))
        for name in order:
            rates[name].append(running[name].rate())
    print(f"\n{section}: images/s, median of {pairs} turns of {SECONDS:g} s")
    for name, found in rates.items():
        print(f"  {name:8} {statistics.median(found):10,.0f}   ({min(found):,.0f} to {max(found):,.0f})")
    for name in ("peer", "control"):
        ratios = sorted(a / b for a, b in zip(rates["ours"], rates[name], strict=True))
        print(f"  ours / {name:8} {statistics.median(ratios):6.2f}   ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    for name in CONTENDERS:
        told = json.loads(
            subprocess.run(
                [sys.executable, __file__, "probe", section, name, str(folder)],
                check=True,
                capture_output=True,
                text=True,
            ).stdout.splitlines()[-1]
        )
        print(
            f"  {name:8} first batch {told['first']:.2f} s after the loader was made; peak memory"
            f" {told['peak 2']:,.0f} MB after 2 epochs, {told['peak 20']:,.0f} MB after 20"
        )


def probe(section: str, name: str, folder: Path) -> None:
    """Time to the first batch, and memory over 20 epochs, of one contender in this process."""
    start = time.perf_counter()
    epoch = CONTENDERS[name](section, folder)
    first, told = 0.0, {}
    for number in range(20):
        for _ in epoch(number):
            first = first or time.perf_counter() - start
        if number in (1, 19):
            told[f"peak {number + 1}"] = memory()
    print(json.dumps({"first": first, **told}))


def memory() -> float:
    """Peak resident megabytes of this process and of its children that still run, each counted whole."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    for child in children.read_text().split() if children.exists() else []:
        for line in Path(f"/proc/{child}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                peak += int(line.split()[1]) / 1024
    return peak


def main(words: list[str]) -> None:
    """Measure what the words name."""
    pairs = next((int(word.removeprefix("pairs=")) for word in words if word.startswith("pairs=")), 7)
    sections = [word for word in words if not word.startswith("pairs=")] or list(SECTIONS)
    for section in sections:
        if section not in SECTIONS:
            raise SystemExit(f"{section}: unknown; accepted are {', '.join(SECTIONS)}, pairs=N")
    with tempfile.TemporaryDirectory() as folder:
        for section in sections:
            compare(section, Path(folder), pairs)


if __name__ == "__main__":
    if sys.argv[1:2] == ["probe"]:
        probe(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    else:
        main(sys.argv[1:])
