"""The facts of a packed dataset, out of its header, as resolvers: `${packed_classes:ROOT}`. No torch here."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convarium.data.packed.shards import Header

FACTS: dict[str, Callable[[str], Any]] = {
    "packed_num_classes": lambda root: _header(root).num_classes,
    "packed_classes": lambda root: list(_header(root).classes),
    "packed_channels": lambda root: _header(root).channels,
    "packed_image_size": lambda root: _header(root).image_size,
    "packed_crop_share": lambda root: _header(root).crop_share,
    "packed_mean": lambda root: list(_header(root).mean),
    "packed_std": lambda root: list(_header(root).std),
}
"""By the name of the resolver."""


def _header(root: str) -> "Header":
    from convarium.data.packed.shards import read_header  # numpy, which only a packed dataset has to pay

    return read_header(root)
