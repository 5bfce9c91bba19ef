"""Random changes of a batch: ours, batched, beside torchvision.transforms.v2 called for one image after the other.

    python benchmarks/augment.py [pairs] [threads]

Both change the same uint8 batch, with the same parameters, and hand a uint8 batch back. They alternate; a ratio is the
median over the pairs, with the lowest and the highest. torchvision could be given the whole batch at once, but would
then draw once for all of it.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import v2

from convarium.data.augment.change import AugmentKey, Change
from convarium.data.augment.color import ColorJitter
from convarium.data.augment.geometry import Affine
from convarium.data.augment.policies import AugMix, AutoAugment, RandAugment, TrivialAugment

SHAPES = ((256, 3, 32, 32), (32, 3, 224, 224))
BILINEAR = v2.InterpolationMode.BILINEAR
PEERS: dict[str, tuple[Change, Callable[[Tensor], Tensor]]] = {
    "randaugment": (RandAugment(), v2.RandAugment()),
    "trivialaugment": (TrivialAugment(), v2.TrivialAugmentWide()),
    "autoaugment imagenet": (AutoAugment("imagenet"), v2.AutoAugment(v2.AutoAugmentPolicy.IMAGENET)),
    "autoaugment cifar10": (AutoAugment("cifar10"), v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10)),
    "augmix": (AugMix(all_ops=True), v2.AugMix()),
    "color jitter": (ColorJitter(0.4, 0.4, 0.4), v2.ColorJitter(0.4, 0.4, 0.4)),
    "color jitter, hue": (ColorJitter(0.4, 0.4, 0.4, 0.1), v2.ColorJitter(0.4, 0.4, 0.4, 0.1)),
    "affine": (
        Affine(rotation=15, width_shift=0.1, height_shift=0.1, shear=5, zoom=0.1),
        v2.RandomAffine(15, (0.1, 0.1), (0.9, 1.1), (-5, 5), BILINEAR),
    ),
}


def photographs(shape: tuple[int, ...]) -> Tensor:
    """Smooth random pictures: operations that look at tones take about the time that they take with photographs."""
    coarse = torch.rand(*shape[:2], 8, 8, generator=torch.Generator().manual_seed(0))
    return (255 * torch.nn.functional.interpolate(coarse, shape[2:], mode="bicubic").clamp(0, 1)).to(torch.uint8)


def measured(ours: Change, theirs: Callable[[Tensor], Tensor], images: Tensor, pairs: int) -> list[tuple[float, float]]:
    """Seconds that each takes for the batch, in turn; a pair more, left out, warms up."""
    index, found = torch.arange(len(images)), []
    for epoch in range(pairs + 1):
        start = time.perf_counter()
        ours(images, AugmentKey(0, epoch, index))
        between = time.perf_counter()
        torch.stack([theirs(image) for image in images])
        found.append((between - start, time.perf_counter() - between))
    return found[1:]


def main(pairs: int, threads: int) -> None:
    torch.set_num_threads(threads)
    print(f"{pairs} pairs, {threads} threads; milliseconds a batch, and torchvision's time over ours")
    for shape in SHAPES:
        images = photographs(shape)
        for name, (ours, theirs) in PEERS.items():
            found = measured(ours, theirs, images, pairs)
            own, peer = (1e3 * statistics.median(times) for times in zip(*found, strict=True))
            ratios = [b / a for a, b in found]
            print(
                f"{'x'.join(map(str, shape)):>13} {name:<21} ours {own:7.1f}  torchvision {peer:7.1f}"
                f"  ratio {statistics.median(ratios):5.1f} ({min(ratios):.1f} to {max(ratios):.1f})",
                flush=True,
            )


if __name__ == "__main__":
    pairs, threads = (*sys.argv[1:], *("7", "2")[len(sys.argv) - 1 :])
    main(int(pairs), int(threads))
