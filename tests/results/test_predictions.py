"""What a run answered, read back; a file that comes from somebody else is one line."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convarium.errors import RunError
from convarium.results.predictions import discordance, read_answers

FILE = Path("predictions.npz")


def arrays(**changed: Any) -> dict[str, Any]:
    """Four images of two classes, three of them right."""
    ints = {"index": np.arange(4), "target": np.array([0, 1, 0, 1], np.int16), "prediction": np.array([0, 1, 1, 1])}
    floats = {name: np.full(4, 0.5, np.float32) for name in ("confidence", "truth", "loss", "brier")}
    return {**ints, **floats, "classes": np.array(["cat", "dog"]), **changed}


def test_what_was_written_is_read() -> None:
    assert read_answers(FILE) is None
    np.savez(FILE, **arrays())
    found = read_answers(FILE)
    assert found is not None
    assert (found.classes, found.prediction.tolist()) == (["cat", "dog"], [0, 1, 1, 1])


@pytest.mark.parametrize(
    "changed",
    [
        {"index": np.array([0, 1, 1, 2])},
        {"target": np.array([0, 1, 0, 2])},
        {"prediction": np.array([0, 1, 1, -2])},
        {"loss": np.zeros(3, np.float32)},
        {"brier": np.array(["a"] * 4)},
        {"truth": np.arange(4)},
        {"classes": np.array([{"a": 1}], object)},
    ],
)
def test_arrays_that_are_not_those_of_a_test_are_one_line(changed: dict[str, Any]) -> None:
    np.savez(FILE, **arrays(**changed))
    with pytest.raises(RunError, match=r"predictions\.npz: "):
        read_answers(FILE)


def member(text: bytes) -> None:
    """predictions.npz with an index of these bytes."""
    np.savez(FILE, **{name: value for name, value in arrays().items() if name != "index"})
    with zipfile.ZipFile(FILE, "a") as archive:
        archive.writestr("index.npy", text)


def test_a_member_that_claims_more_than_it_has_is_never_made_room_for() -> None:
    whole = io.BytesIO()
    np.lib.format.write_array_header_1_0(whole, {"descr": "<i8", "fortran_order": False, "shape": (10**12,)})
    member(whole.getvalue())
    with pytest.raises(RunError, match="bytes are no array of a test"):
        read_answers(FILE)


@pytest.mark.parametrize("text", [b"", b"no array", b"\x93NUMPY\x01\x00\xff\xff"])
def test_a_member_that_is_no_array_is_one_line(text: bytes) -> None:
    member(text)
    with pytest.raises(RunError, match="cannot be read"):
        read_answers(FILE)


def test_two_runs_are_compared_on_the_same_images_alone() -> None:
    found = []
    for number, changed in enumerate([{}, {"prediction": np.array([1, 1, 0, 1])}, {"classes": np.array(["a", "b"])}]):
        np.savez(FILE, **arrays(**changed))
        answers = read_answers(FILE)
        assert answers is not None, number
        found.append(answers)
    first, second, other = found
    told = discordance(first, second)
    assert told is not None
    assert (told.images, told.only_first, told.only_second, told.p) == (4, 1, 1, 1.0)
    assert discordance(first, other) is None
