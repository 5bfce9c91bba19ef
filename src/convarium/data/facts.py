"""What can be known about a dataset without torch: the facts that a config needs before anything is trained.

`convarium.config.resolvers` gives them to the yaml files.
"""

import string
import warnings
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, cast

from convarium.data.image_files.listing import class_folders, class_names, describing_folder, is_table, walk
from convarium.data.image_files.tables import described_files
from convarium.errors import ConfigError
from convarium.files import open_regular

DEFAULT_IMAGE_SIZE = 224  # for folders whose images are of several sizes or not square
_SAMPLED = 32
_PASSED_OVER = 8  # bad files in a row


def carved_size(size: int, fraction: float) -> int:
    """How many of `size` training images `val_fraction` sets aside."""
    return round(size * fraction)


def fold_size(size: int, folds: int, fold: int) -> int:
    """How many of `size` training images are in a fold; the first ones have one more where it does not divide."""
    return size // folds + (fold < size % folds)


# folders and tables


def folder_classes(root: str | Path, num_classes: object = None) -> list[str]:
    """The classes of a folder or table of images in the order of their numbers.
    num_classes: how many class numbers a table of numbers may have, if not its largest plus one."""
    if num_classes is None or not is_table(root):
        return class_names(root)
    counted = isinstance(num_classes, int) and num_classes > 0
    return class_names(root, cast(int, num_classes)) if counted else []  # refused where it stands


def folder_image_size(root: str | Path) -> int:
    """The side of the images if a sample of them, from all classes alike, is square and of one size; else 224.
    A file that cannot be opened is passed over: it is named when it is read. Raises ConfigError for a class folder
    without images."""
    sizes: set[tuple[int, int]] = set()
    for count, paths in _sampled(root):
        opened = (size for size in map(_size, islice(paths, count + _PASSED_OVER)) if size is not None)
        sizes.update(islice(opened, count))
    if len(sizes) == 1:
        width, height = sizes.pop()
        if width == height:
            return width
    return DEFAULT_IMAGE_SIZE


def _sampled(root: str | Path) -> Iterator[tuple[int, Iterator[str]]]:
    """How many images to take, and from which files, in each of about 32 parts of the training split (or another)."""
    if is_table(root):
        files = described_files(root)
        step = max(1, len(files) // _SAMPLED)
        for start in range(0, len(files), step):
            yield 1, iter(files[start : start + step])
        return
    names, folder = class_folders(root), describing_folder(root)
    for name in names[:: max(1, len(names) // _SAMPLED)]:
        paths = walk(folder / name)
        first = next(paths, None)
        if first is None:
            raise ConfigError(f"data.root={root}: no images in class folder {folder / name}")
        yield max(1, _SAMPLED // len(names)), chain([first], paths)


def _size(path: str) -> tuple[int, int] | None:
    """Width and height; None if the file does not say."""
    from PIL import Image  # 50 ms that only a folder has to pay

    try:
        ignored = warnings.catch_warnings(action="ignore")  # of bombs, EXIF, transparency
        with ignored, open_regular(path) as file, Image.open(file) as picture:
            return picture.size
    except Exception:  # Pillow has no common class for what a damaged header may raise
        return None


# EMNIST


class Emnist(NamedTuple):
    """One of the ways in which EMNIST's images are put together (Cohen et al. 2017, Table II)."""

    classes: list[str]
    train_size: int
    test_size: int


_LETTERS = [*string.digits, *string.ascii_uppercase]
_MERGED = [*_LETTERS, *"abdefghnqrt"]  # the lower-case letters that do not look like their capitals
EMNIST = {
    "balanced": Emnist(_MERGED, 112_800, 18_800),
    "byclass": Emnist([*_LETTERS, *string.ascii_lowercase], 697_932, 116_323),
    "bymerge": Emnist(_MERGED, 697_932, 116_323),
    "letters": Emnist([*string.ascii_lowercase], 124_800, 20_800),
    "digits": Emnist([*string.digits], 240_000, 40_000),
    "mnist": Emnist([*string.digits], 60_000, 10_000),
}


def emnist(split: str, fact: str) -> Any:
    """`num_classes` or a field of `Emnist`. Raises ConfigError for an unknown split."""
    if split not in EMNIST:
        raise ConfigError(f"data.split={split}: accepted are {', '.join(EMNIST)}")
    facts = EMNIST[split]
    return len(facts.classes) if fact == "num_classes" else getattr(facts, fact)
