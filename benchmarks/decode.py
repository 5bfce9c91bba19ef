"""From JPEG files to batches of random crops: every reader on threads beside torchvision's ImageFolder in a DataLoader.

    CONVARIUM_DATA=... python benchmarks/decode.py [pairs] [threads]

Each file is decoded, a random part of it (area 0.08 to 1, aspect 3/4 to 4/3) resized with antialiasing to 224 pixels
and put into a uint8 batch of 64. The peer is torchvision's ImageFolder with Pillow, RandomResizedCrop and
PILToTensor in a DataLoader whose processes live on from pass to pass. It, a second one like it as a control, and each
of our readers (as many threads as the peer has processes) alternate in one run; ratios
are medians over the pairs. Processor time, on one thread and from memory, is measured apart. Memory and the time to
the first batch are those of fresh processes: from the end of the imports to the batch; the peak above that of the
proportional set size (PSS) of the process and its children.
"""

import math
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms.v2 import Compose, PILToTensor, RandomResizedCrop

from convarium.data.readers.choice import installed, reader
from convarium.data.readers.reader import Box, Reader

ROOT = Path(os.environ.get("CONVARIUM_DATA", "data"), "imagenet-sample", "train")
SIZE, BATCH = 224, 64
REPEATS = 3
"""How often a pass reads the 200 photographs."""


def random_box(height: int, width: int, rng: random.Random) -> Box:
    """As torchvision's RandomResizedCrop draws it."""
    for _ in range(10):
        area, aspect = height * width * rng.uniform(0.08, 1), math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        tall, wide = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < tall <= height and 0 < wide <= width:
            return Box(rng.randint(0, height - tall), rng.randint(0, width - wide), tall, wide)
    side = min(height, width)
    return Box((height - side) // 2, (width - side) // 2, side, side)


def peer(workers: int) -> DataLoader[tuple[Tensor, Tensor]]:
    images = ImageFolder(ROOT, Compose([RandomResizedCrop(SIZE), PILToTensor()]))
    return DataLoader(
        ConcatDataset([images] * REPEATS), BATCH, num_workers=workers, persistent_workers=workers > 0, shuffle=True
    )


def ours(read: Reader, paths: list[Path], threads: int) -> Iterator[Tensor]:
    """One pass, each thread at a batch of its own, two batches a thread ahead."""

    def batch(part: list[Path], seed: int) -> Tensor:
        rng = random.Random(seed)
        # the pixels' channels last, as the readers give them
        out = torch.empty((len(part), SIZE, SIZE, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
        for row, path in enumerate(part):
            data = path.read_bytes()
            out[row] = read.read(data, random_box(*read.size(data), rng), (SIZE, SIZE), channels=3)
        return out

    paths = random.sample(paths * REPEATS, len(paths) * REPEATS)
    with ThreadPoolExecutor(threads) as pool:
        waiting: list[Future[Tensor]] = []
        for first in range(0, len(paths), BATCH):
            waiting.append(pool.submit(batch, paths[first : first + BATCH], first))
            if len(waiting) > 2 * threads:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


def seconds(batches: Iterator[object]) -> float:
    start = time.perf_counter()
    for _ in batches:
        pass
    return time.perf_counter() - start


def alternate(passes: dict[str, Callable[[], Iterator[object]]], pairs: int) -> dict[str, list[float]]:
    """Seconds of each pass, `pairs` times; who comes first changes."""
    found = defaultdict(list)
    names = list(passes)
    for name in names:
        seconds(passes[name]())
    for turn in range(pairs):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            found[name].append(seconds(passes[name]()))
    return found


def on_one_thread(names: list[str], files: list[bytes], pairs: int) -> None:
    """Processor time of the readers against Pillow and torchvision's transform, and how far their pixels are."""
    rng = random.Random(0)
    boxes = [random_box(*reader("pillow").size(data), rng) for data in files]

    def torchvision() -> Iterator[Tensor]:
        for data, (top, left, height, width) in zip(files, boxes, strict=True):
            picture = Image.open(BytesIO(data)).convert("RGB").crop((left, top, left + width, top + height))
            yield torch.from_numpy(np.array(picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR))).permute(2, 0, 1)

    def read(name: str) -> Iterator[Tensor]:
        wanted = reader(name)
        for data, box in zip(files, boxes, strict=True):
            yield wanted.read(data, box, (SIZE, SIZE), channels=3)

    expected = list(torchvision())
    spent = defaultdict(list)
    passes: dict[str, Callable[[], Iterator[Tensor]]] = {"Pillow": torchvision, "control": torchvision}
    passes |= {name: lambda name=name: read(name) for name in names}
    for _ in range(pairs):
        for name, each in passes.items():
            start = time.thread_time()
            for _ in each():
                pass
            spent[name].append(time.thread_time() - start)
    print(f"\nOne thread, from memory, without the copy into a batch: processor time, median of {pairs}")
    for name, times in spent.items():
        ratio = statistics.median(base / own for base, own in zip(spent["Pillow"], times, strict=True))
        line = f"  {name:12} {len(files) / statistics.median(times):6.0f} images/s   {ratio:5.2f}x"
        if name in names:
            apart = [(one.int() - two.int()).abs() for one, two in zip(read(name), expected, strict=True)]
            mean = statistics.mean(each.float().mean().item() for each in apart)
            line += f"   pixels: at most {max(int(each.max()) for each in apart)} from Pillow's, {mean:.3f} on average"
        print(line)


def memory() -> int:
    """Bytes of this process and its children, shared ones in parts."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    total = 0
    for process in ("self", *children):
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:  # gone
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def fresh(name: str, threads: int) -> None:
    """In a process of its own: prints the seconds to the first batch and the peak of a pass in MB above its start."""
    peak, done, before = 0, threading.Event(), memory()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.05):
            peak = max(peak, memory())

    threading.Thread(target=watch).start()
    start = time.perf_counter()
    batches = iter(peer(threads)) if name == "torchvision" else ours(reader(name), sorted(ROOT.glob("*/*")), threads)
    next(batches)
    first = time.perf_counter() - start
    for _ in batches:
        pass
    done.set()
    print(first, (peak - before) / 1e6)


def main(pairs: int = 7, threads: int = 2) -> None:
    torch.set_num_threads(1)
    paths = sorted(ROOT.glob("*/*"))
    if not paths:
        raise SystemExit(f"{ROOT}: no photographs; set CONVARIUM_DATA")
    names = installed()
    loader, control = peer(threads), peer(threads)
    passes: dict[str, Callable[[], Iterator[object]]] = {
        "torchvision": lambda: iter(loader),
        "control": lambda: iter(control),
    }
    passes |= {name: lambda name=name: ours(reader(name), paths, threads) for name in names}
    found = alternate(passes, pairs)
    images = len(paths) * REPEATS
    print(f"{images} files a pass, {threads} processes or threads, median of {pairs} alternating pairs")
    for name, times in found.items():
        ratios = sorted(base / own for base, own in zip(found["torchvision"], times, strict=True))
        rate = images / statistics.median(times)
        line = f"  {name:12} {rate:6.0f} images/s   {statistics.median(ratios):5.2f}x"
        line += f" ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        if name != "control":
            first, peak = map(float, apart(name, threads))
            line += f"   first batch {first:5.2f} s, peak memory {peak:5.0f} MB"
        print(line)
    on_one_thread(names, [path.read_bytes() for path in paths], pairs)


def apart(name: str, threads: int) -> list[str]:
    command = [sys.executable, __file__, "fresh", name, str(threads)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


if __name__ == "__main__":
    if sys.argv[1:2] == ["fresh"]:
        torch.set_num_threads(1)
        fresh(sys.argv[2], int(sys.argv[3]))
    else:
        main(*map(int, sys.argv[1:]))
