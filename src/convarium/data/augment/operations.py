"""The operations that AutoAugment and its successors choose from, one for each sample of a batch.

As torchvision.transforms.v2 has them, which follows Cubuk et al. 2018 (arXiv:1805.09501, table 6).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from convarium.data.augment import tones
from convarium.data.augment.chunks import chunk_size
from convarium.data.augment.warp import affine

Operation = Callable[[Tensor, Tensor], Tensor]
"""uint8 images (N, C, H, W) and magnitudes (N,), which some ignore, to changed images."""


def each(images: Tensor, which: Tensor, magnitudes: Tensor, operations: Sequence[Operation | None]) -> Tensor:
    """images[i] by operations[which[i]] with magnitudes[i]; None: as it is. The arguments are not written to.
    On a CPU each operation is done to its own images, a few at a time. Elsewhere every operation is done to all of them
    and what nobody asked for is dropped: more work, but the device is never waited for."""
    apply = _sorted if images.device.type == "cpu" else _masked
    return apply(images, which, magnitudes, operations)


def _sorted(images: Tensor, which: Tensor, magnitudes: Tensor, operations: Sequence[Operation | None]) -> Tensor:
    counts = torch.bincount(which, minlength=len(operations)).tolist()
    order = which.argsort()
    changed = []
    for operation, its_own in zip(operations, torch.split(order, counts), strict=True):
        for some in torch.split(its_own, chunk_size(images)) if len(its_own) else ():
            part = images.index_select(0, some)
            changed.append(part if operation is None else operation(part, magnitudes.index_select(0, some)))
    return torch.cat(changed).index_select(0, order.argsort())


def _masked(images: Tensor, which: Tensor, magnitudes: Tensor, operations: Sequence[Operation | None]) -> Tensor:
    changed = images
    for number, operation in enumerate(operations):
        if operation is not None:
            chosen = (which == number).view(-1, 1, 1, 1)
            changed = torch.where(chosen, operation(images, magnitudes), changed)
    return changed


def _matrix(amount: Tensor, entries: dict[tuple[int, int], Tensor]) -> Tensor:
    """What `affine` takes, (N, 2, 3): the identity but for some entries."""
    matrix = torch.eye(2, 3, dtype=amount.dtype, device=amount.device).repeat(len(amount), 1, 1)
    for (row, column), values in entries.items():
        matrix[:, row, column] = values
    return matrix


def _turn(amount: Tensor) -> Tensor:
    cos, sin = amount.deg2rad().cos(), amount.deg2rad().sin()
    return _matrix(amount, {(0, 0): cos, (0, 1): -sin, (1, 0): sin, (1, 1): cos})


MATRICES: dict[str, Callable[[Tensor, int, int], Tensor]] = {
    # each row further to the left than the one above it, the top border stays; each column further up likewise
    "shear_x": lambda amount, height, _: _matrix(amount, {(0, 1): amount, (0, 2): amount * (height / 2)}),
    "shear_y": lambda amount, _, width: _matrix(amount, {(1, 0): amount, (1, 2): amount * (width / 2)}),
    # to the right, and down, by whole pixels; a fraction is dropped
    "translate_x": lambda amount, *_: _matrix(amount, {(0, 2): -amount.trunc()}),
    "translate_y": lambda amount, *_: _matrix(amount, {(1, 2): -amount.trunc()}),
    "rotate": lambda amount, *_: _turn(amount),  # anticlockwise about the centre, by degrees
}
"""Where the pixels of the result come from: magnitudes (N,), height and width to matrices (N, 2, 3)."""

TONES: dict[str, Operation] = {
    "brightness": lambda images, magnitude: tones.brightness(images, 1 + magnitude),
    "color": lambda images, magnitude: tones.saturation(images, 1 + magnitude),
    "contrast": lambda images, magnitude: tones.contrast(images, 1 + magnitude),
    "sharpness": lambda images, magnitude: tones.sharpness(images, 1 + magnitude),
    "posterize": tones.posterize,  # the magnitude is how many bits are kept
    "solarize": lambda images, magnitude: tones.solarize(images, 255 * magnitude),
    "autocontrast": lambda images, _: tones.autocontrast(images),
    "equalize": lambda images, _: tones.equalize(images),
    "invert": lambda images, _: tones.invert(images),
}


def named(names: Sequence[str], *, interpolation: str, fill: int) -> list[Operation | None]:
    """The operations of these names; those that move pixels do it with `interpolation` and `fill`, as `affine` says."""

    def operation(name: str) -> Operation | None:
        if name not in MATRICES:
            return TONES.get(name)
        return lambda images, magnitude: affine(
            images, MATRICES[name](magnitude, *images.shape[-2:]), interpolation=interpolation, fill=fill
        )

    return [operation(name) for name in names]
