import os

import pytest
import torch

from convarium.data.image_files import decoded as module
from convarium.data.image_files.decoded import decoded
from convarium.data.image_files.files import BadFile, Files, Shape
from convarium.data.image_files.listing import walk
from convarium.data.readers.choice import reader


def files_of(root, *, size=12, **options):
    paths = list(walk(root))
    return Files(paths, torch.arange(len(paths)), shape=Shape(3, size), reader=reader("pillow"), **options)


def test_what_was_decoded_is_found_again(class_folders, tmp_path, monkeypatch):
    files = files_of(class_folders())
    first = decoded(files, tmp_path / "cache")
    assert torch.equal(first.pixels, files.load().pixels)
    monkeypatch.setattr(module.Files, "load", lambda *_: pytest.fail("decoded again"))
    again = decoded(files, tmp_path / "cache")
    assert torch.equal(again.pixels, first.pixels)
    assert torch.equal(again.targets, first.targets)


def test_a_changed_file_another_size_and_another_folder_are_decoded_anew(class_folders, tmp_path):
    root, cache = class_folders(), tmp_path / "cache"
    decoded(files_of(root), cache)
    os.utime(next(walk(root)), ns=(1, 1))
    decoded(files_of(root), cache)
    decoded(files_of(root, size=10), cache)
    decoded(files_of(class_folders(name="copy")), cache)
    assert len(list(cache.glob("*.npy"))) == len(list(cache.glob("*.json"))) == 4
    assert len(list(cache.iterdir())) == 8


def test_bad_files_are_remembered(class_folders, tmp_path):
    root = class_folders()
    (root / "train" / "dog" / "2.png").write_bytes(b"?")
    for _ in range(2):
        noted = []
        files = files_of(root, on_bad_file="skip", note=lambda path, why: noted.append(path))  # noqa: B023
        assert decoded(files, tmp_path / "cache").targets.tolist() == [0, 1, 2, 3, 4, 5, 7]
        assert noted == [str(root / "train" / "dog" / "2.png")]
    with pytest.raises(BadFile, match=r"2\.png: unreadable"):
        decoded(files_of(root), tmp_path / "cache")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda array, notes: array.unlink(),
        lambda array, notes: array.write_bytes(array.read_bytes()[:-1]),
        lambda array, notes: notes.write_text(""),
        lambda array, notes: notes.write_text("[]"),
    ],
)
def test_what_is_not_whole_any_more_is_decoded_anew(class_folders, tmp_path, spoil):
    files = files_of(class_folders())
    expected = decoded(files, tmp_path / "cache").pixels.clone()
    spoil(*sorted((tmp_path / "cache").iterdir(), reverse=True))
    assert torch.equal(decoded(files, tmp_path / "cache").pixels, expected)


def test_a_place_that_cannot_be_written_to_costs_a_line(class_folders, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    files = files_of(class_folders())
    assert torch.equal(decoded(files, tmp_path / "file").pixels, files.load().pixels)
    assert "cannot be written to" in caplog.text


def test_an_error_leaves_nothing_half_written(class_folders, tmp_path):
    root = class_folders()
    (root / "train" / "dog" / "2.png").write_bytes(b"?")
    with pytest.raises(BadFile):
        decoded(files_of(root), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
