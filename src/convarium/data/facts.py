"""What can be known about a dataset without torch: the facts that a config needs before anything is trained.

`register()` gives them to the yaml files as resolvers: `${folder_classes:PATH}`, `${folder_image_size:PATH}`.
"""

import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from convarium.errors import ConfigError

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"))
"""What we take for an image file."""
DEFAULT_IMAGE_SIZE = 224
"""For folders whose images are of several sizes or not square."""
_SAMPLED = 32


def carved_size(size: int, fraction: float) -> int:
    """How many of `size` training images `val_fraction` sets aside."""
    return round(size * fraction)


def split_folder(root: str | Path, split: str) -> Path | None:
    """The folder of class folders of train, val or test; None if there is no such split.

    A root without a folder `train` is itself the training split.
    """
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"data.root={root}: no such folder; accepted: a folder of class folders of images")
    if (folder / "train").is_dir():
        return folder / split if (folder / split).is_dir() else None
    return folder if split == "train" else None


def class_folders(root: str | Path, split: str = "train") -> list[str]:
    """The names of a split's class folders, sorted; a hidden folder is none. Raises ConfigError if there are none."""
    folder = split_folder(root, split)
    if folder is None:
        raise ConfigError(f"data.root={root}: has no folder {split}")
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    if folder == Path(root).expanduser() and names and set(names) <= {"val", "test"}:
        raise ConfigError(f"data.root={root}: has {' and '.join(names)} but no folder train")
    if not names:
        raise ConfigError(f"data.root={root}: no class folders in {folder}; expected one folder of images per class")
    return names


def image_files(folder: Path) -> list[str]:
    """The paths of every image below a folder, in a fixed order."""
    return list(_walk(folder))


def _walk(folder: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:
                yield os.path.join(place, name)


def num_class_folders(root: str | Path) -> int:
    """How many classes a folder has."""
    return len(class_folders(root))


def folder_image_size(root: str | Path) -> int:
    """The side of the images if a sample of them, from all classes alike, is square and of one size; else 224.

    Raises ConfigError, naming the file, for an image that cannot be opened, and for a class without images.
    """
    from PIL import Image, UnidentifiedImageError  # 50 ms that only a folder has to pay

    names = class_folders(root)
    folder = split_folder(root, "train")
    assert folder is not None
    sizes = set()
    each = max(1, _SAMPLED // len(names))
    for name in names[:: max(1, len(names) // _SAMPLED)]:
        paths = list(islice(_walk(folder / name), each))
        if not paths:
            raise ConfigError(f"data.root={root}: no images in class folder {folder / name}")
        for path in paths:
            try:
                with Image.open(path) as picture:
                    sizes.add(picture.size)
            except (OSError, UnidentifiedImageError) as error:
                raise ConfigError(f"data.root={root}: unreadable image {path} ({type(error).__name__})") from None
    if len(sizes) == 1:
        width, height = sizes.pop()
        if width == height:
            return width
    return DEFAULT_IMAGE_SIZE


def register() -> None:
    """Make the facts about folders and packed datasets known to OmegaConf; may be called any number of times."""
    from omegaconf import OmegaConf

    from convarium.data.packed.facts import FACTS

    facts: dict[str, Callable[[str], Any]] = {
        **FACTS,
        "folder_classes": class_folders,
        "folder_num_classes": num_class_folders,
        "folder_image_size": folder_image_size,
    }
    for name, fact in facts.items():
        OmegaConf.register_new_resolver(name, fact, replace=True)
