"""What a run answered to each test image, read from its predictions.npz. No torch here."""

import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from convarium.errors import RunError
from convarium.results.comparisons import mcnemar
from convarium.wording import one_line

if TYPE_CHECKING:
    import numpy as np

ARRAYS = ("index", "target", "prediction", "confidence", "truth", "loss")
MOST_BYTES = 1 << 30  # of an array; a file may come from somebody else


@dataclass(frozen=True)
class Answers:
    """A number for each test image in each array, in the order of `index`; `convarium.observe.predictions` says what
    they are."""

    index: "np.ndarray[Any, Any]"
    target: "np.ndarray[Any, Any]"
    prediction: "np.ndarray[Any, Any]"
    confidence: "np.ndarray[Any, Any]"
    truth: "np.ndarray[Any, Any]"
    loss: "np.ndarray[Any, Any]"
    classes: list[str]
    brier: "np.ndarray[Any, Any] | None" = None  # None: of a run that has not kept it


class Discordance(NamedTuple):
    """Two runs on the same test images: how many each alone has right."""

    images: int
    only_first: int
    only_second: int
    p: float  # McNemar's


def read_answers(file: Path) -> Answers | None:
    """What predictions.npz says; None if there is none. Raises RunError for a file that is not one of ours."""
    import numpy as np

    if not file.is_file():
        return None
    try:
        with zipfile.ZipFile(file) as archive:
            arrays = [_array(archive, name) for name in ARRAYS]
            classes = [str(name) for name in _array(archive, "classes").tolist()]
            brier = _array(archive, "brier") if "brier.npy" in archive.namelist() else None
    except (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise RunError(f"{file}: cannot be read: {one_line(error)}") from error
    numbers = [*arrays, *([] if brier is None else [brier])]
    kinds = "".join(array.dtype.kind for array in numbers)
    shapes = {array.shape for array in numbers}
    if len(shapes) > 1 or arrays[0].ndim != 1 or kinds[:3] != "iii" or set(kinds[3:]) != {"f"}:
        raise RunError(f"{file}: its arrays are not those of a test")
    if (np.diff(arrays[0]) <= 0).any():
        raise RunError(f"{file}: its images are not in their order")
    for array, least in ((arrays[1], 0), (arrays[2], -1)):
        if len(array) and not least <= int(array.min()) <= int(array.max()) < len(classes):
            raise RunError(f"{file}: names a class that it does not have")
    return Answers(**dict(zip(ARRAYS, arrays, strict=True)), classes=classes, brier=brier)


def _array(archive: zipfile.ZipFile, name: str) -> "np.ndarray[Any, Any]":
    """An array of a .npz, if it is no larger than it says; ValueError or KeyError for another member."""
    from numpy.lib import format as npy

    entry = archive.getinfo(f"{name}.npy")
    with archive.open(entry) as member:
        if (version := npy.read_magic(member)) != (1, 0):
            raise ValueError(f"{name}: of version {version} of its format")
        shape, _, kind = npy.read_array_header_1_0(member)
    size = kind.itemsize * math.prod(shape)
    if kind.hasobject or size > min(entry.file_size, MOST_BYTES):
        raise ValueError(f"{name}: {size:,} bytes are no array of a test")
    with archive.open(entry) as member:
        array: np.ndarray[Any, Any] = npy.read_array(member, allow_pickle=False)
    return array


def discordance(first: Answers, second: Answers) -> Discordance | None:
    """McNemar's test of two runs; None where they were not tested on the same images with the same labels."""
    import numpy as np

    pairs = ((first.index, second.index), (first.target, second.target))
    if first.classes != second.classes or not all(np.array_equal(*pair) for pair in pairs):
        return None
    right = [answers.prediction == answers.target for answers in (first, second)]
    only_first, only_second = (int((right[k] & ~right[1 - k]).sum()) for k in (0, 1))
    return Discordance(len(first.index), only_first, only_second, mcnemar(only_first, only_second))
