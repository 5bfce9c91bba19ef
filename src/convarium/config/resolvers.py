"""What a yaml may ask while it is composed: `${folder_classes:PATH}`, `${packed:PATH,FACT}`, `${emnist:SPLIT,FACT}`,
`${own_cache:}`.
"""

import os
from collections.abc import Callable
from typing import Any

from omegaconf import OmegaConf

from convarium.config.keys import OUTWARD, has_part, leaves
from convarium.data.facts import emnist, folder_classes, folder_image_size


def packed(root: str, fact: str) -> Any:
    """A field of a packed dataset's header."""
    from convarium.data.packed.shards import read_header  # with numpy, which only a packed dataset needs

    value = getattr(read_header(root), fact)
    return list(value) if isinstance(value, tuple) else value


def own_cache() -> str:
    """The folder of this person that keeps what was decoded."""
    return os.environ.get("CONVARIUM_CACHE", "~/.cache/convarium")


def outward(config: dict[str, Any]) -> dict[str, Any]:
    """The values of a resolved config that say where something is kept or sent: not in the run's folder, not there."""
    said = {key: value for key, value in leaves(config).items() if has_part(key, OUTWARD)}
    return {key: value for key, value in said.items() if value not in (None, own_cache())}


RESOLVERS: dict[str, Callable[..., Any]] = {
    "packed": packed,
    "folder_classes": folder_classes,
    "folder_num_classes": lambda root: len(folder_classes(root)),
    "folder_image_size": folder_image_size,
    "emnist": emnist,
    "own_cache": own_cache,
}


def register() -> None:
    """Make them known to OmegaConf; may be called any number of times."""
    for name, answer in RESOLVERS.items():
        OmegaConf.register_new_resolver(name, answer, replace=True)
