"""`convarium data show`: the sheet is written, of the images and epochs asked for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from convarium.commands.data.show import VERB as show
from convarium.errors import ConfigError
from convarium.observe import contact_sheet

QUICK = ("data=synthetic", "data.channels=3", "data.image_size=8", "data.train_size=64")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What every sheet was made of."""
    sheets: list[tuple[Any, ...]] = []
    draw = contact_sheet.contact_sheet
    monkeypatch.setattr(contact_sheet, "contact_sheet", lambda *samples: sheets.append(samples) or draw(*samples))
    return sheets


def test_the_sheet_is_written_where_it_is_said(shown: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert show([*QUICK, "augment=crop_flip"]) == 0
    with Image.open("training_images.png") as image:
        assert image.format == "PNG"
        assert len(image.convert("RGB").getcolors(10**6) or [0] * 11) > 10
    assert capsys.readouterr().out == (
        "training_images.png: 10 training images of SyntheticImages(3x8x8, 10 classes), augmentation: CropFlip\n"
    )
    [(stored, seen, labels)] = shown
    assert (len(stored), len(seen), len(labels)) == (10, 4, 10)


def test_as_many_images_and_epochs_as_asked_for_come_into_the_file_asked_for(
    shown: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a = b").mkdir()
    target = tmp_path / "a = b" / "sheet.jpg"
    show([*QUICK, "augment=[flip,cutout]", "augment.erase.size=2", f"to={target}", "images=3", "epochs=2"])
    with Image.open(target) as image:
        assert image.format == "JPEG"
    assert capsys.readouterr().out.startswith(f"{target}: 3 training images of ")
    [(stored, seen, labels)] = shown
    assert (len(stored), len(labels)) == (3, 3)
    assert [tuple(images.shape) for images in seen] == [(3, 3, 8, 8)] * 2
    assert not Path("training_images.png").exists()


def test_binary_labels_in_a_table_are_shown_by_two_names(shown: list[Any]) -> None:
    for number in range(4):
        Image.new("RGB", (8, 8), (60 * number, 0, 0)).save(f"{number}.png")
    Path("table.csv").write_text("".join(f"{number}.png,{number % 2}\n" for number in range(4)))
    words = ("data=folder", "data.root=table.csv", "data.num_classes=1", "data.val_fraction=0", "images=4", "epochs=1")
    assert show(words) == 0
    assert shown[0][2] == ["not 1", "not 1", "1", "1"]


@pytest.mark.parametrize(("suffix", "begins"), [(".pdf", b"%PDF"), (".svg", b"<?xml"), (".webp", b"RIFF")])
def test_a_sheet_is_of_the_kind_that_its_suffix_says(suffix: str, begins: bytes) -> None:
    show([*QUICK, f"to=sheet{suffix}", "images=1", "epochs=1"])
    assert Path(f"sheet{suffix}").read_bytes().startswith(begins)


def test_without_augmentation_the_images_are_seen_as_they_are_stored(
    shown: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    show([*QUICK, "images=4"])
    assert capsys.readouterr().out.endswith("augmentation: none\n")
    [(stored, seen, _)] = shown
    assert all(torch.equal(images, torch.stack(stored)) for images in seen)


def test_a_folder_is_shown_in_its_own_sizes_and_names(shown: list[Any], tmp_path: Path) -> None:
    numbers = np.random.default_rng(0)
    for label, (width, height) in {"cat": (30, 20), "dog": (16, 24)}.items():
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for k in range(20):
            pixels = numbers.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / label / f"{k}.png")
    words = ["data=folder", f"data.root={tmp_path / 'pictures'}", "data.image_size=12", "augment=random_resized_crop"]
    show([*words, "images=2", "epochs=1"])
    [(stored, seen, labels)] = shown
    assert labels == ["cat", "dog"]
    assert [tuple(image.shape) for image in stored] == [(3, 20, 30), (3, 24, 16)]
    assert seen[0].shape == (2, 3, 12, 12)


def test_a_sheet_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "sheet.png").mkdir()
    with pytest.raises(ConfigError, match=r"^to=sheet\.png: cannot be written: Is a directory$"):
        show([*QUICK, "to=sheet.png", "images=1", "epochs=1"])


def test_classes_of_any_name_are_shown_without_a_warning(tmp_path: Path) -> None:
    for label in ("明るい", r"$\oops{$"):
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for k in range(2):
            Image.new("RGB", (8, 8)).save(tmp_path / "pictures" / label / f"{k}.png")
    assert (
        show(["data=folder", "data.root=pictures", "data.val_fraction=0", "batch_size=1", "images=2", "epochs=1"]) == 0
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["to=sheet.gif"], r"to=sheet\.gif: accepted are files ending in \.png, \.pdf, \.svg, \.jpg, \.webp"),
        (["to=sheet"], r"to=sheet: accepted are files ending in \.png"),
        (["to=no/sheet.png"], r"to=no/sheet\.png: no such folder .*/no$"),
        (["images=0"], r"images=0: accepted are whole numbers from 1 to 100"),
        (["images=2.5"], r"images=2\.5: accepted are whole numbers from 1 to 100"),
        (["epochs=101"], r"epochs=101: accepted are whole numbers from 1 to 100"),
        (["epochs="], r"epochs=: accepted are whole numbers from 1 to 100"),
        (["data=digit"], r"data=digit: unknown; did you mean 'digits'\?"),
        (["augment=crop_flp"], r"augment=crop_flp: unknown; did you mean 'crop_flip'\?"),
        (["data.image_sise=8"], r"data\.image_sise: no such key in data=synthetic; did you mean 'image_size'\?"),
        (["data=folder", "data.root=nowhere"], r"nowhere: no such folder"),
    ],
)
def test_what_cannot_be_shown_is_told_in_one_line_and_nothing_is_written(
    words: list[str], message: str, tmp_path: Path
) -> None:
    quick = [word for word in QUICK if not (words[0].startswith("data=") and word.startswith("data"))]
    with pytest.raises(ConfigError, match=message) as refusal:
        show([*quick, *words])
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == []
