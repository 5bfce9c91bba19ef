"""The facts of a packed dataset, out of its header, as resolvers: `${packed_classes:ROOT}`. No torch here."""

from collections.abc import Callable
from typing import Any

from convarium.data.packed.shards import read_header

FACTS: dict[str, Callable[[str], Any]] = {
    "packed_num_classes": lambda root: read_header(root).num_classes,
    "packed_classes": lambda root: list(read_header(root).classes),
    "packed_channels": lambda root: read_header(root).channels,
    "packed_image_size": lambda root: read_header(root).image_size,
    "packed_crop_share": lambda root: read_header(root).crop_share,
    "packed_mean": lambda root: list(read_header(root).mean),
    "packed_std": lambda root: list(read_header(root).std),
}
"""By the name of the resolver."""
