"""What a run answered to each test image, read from its predictions.npz. No torch here."""

import zipfile
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
            if any(entry.file_size > MOST_BYTES for entry in archive.infolist()):
                raise RunError(f"{file}: too large to be the answers of a test")
        with np.load(file, allow_pickle=False) as held:
            arrays, classes = [held[name] for name in ARRAYS], [str(name) for name in held["classes"].tolist()]
            brier = held.get("brier")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(f"{file}: cannot be read: {one_line(error)}") from error
    shapes = {array.shape for array in (*arrays, *([] if brier is None else [brier]))}
    whole = all(array.dtype.kind == "i" for array in arrays[:3]) and all(
        array.dtype.kind == "f" for array in arrays[3:]
    )
    if len(shapes) > 1 or len(arrays[0].shape) != 1 or not whole:
        raise RunError(f"{file}: its arrays are not those of a test")
    for array, least in ((arrays[1], 0), (arrays[2], -1)):
        if len(array) and not least <= int(array.min()) <= int(array.max()) < len(classes):
            raise RunError(f"{file}: names a class that it does not have")
    return Answers(**dict(zip(ARRAYS, arrays, strict=True)), classes=classes, brier=brier)


def discordance(first: Answers, second: Answers) -> Discordance | None:
    """McNemar's test of two runs; None where they were not tested on the same images with the same labels."""
    import numpy as np

    if not np.array_equal(first.index, second.index) or not np.array_equal(first.target, second.target):
        return None
    right = [answers.prediction == answers.target for answers in (first, second)]
    only_first, only_second = (int((right[k] & ~right[1 - k]).sum()) for k in (0, 1))
    return Discordance(len(first.index), only_first, only_second, mcnemar(only_first, only_second))
