"""What `predict` says of an image file is what the network says of the dataset's own image."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from convarium.config.instantiate import build
from convarium.data.datasets.digits import FILE
from convarium.errors import ConfigError
from convarium.files import NO_FILE
from convarium.run.directory import RunDirectory
from convarium.trained.evaluate import measure, prepare
from convarium.trained.load import load_run
from convarium.trained.predict import predict, probabilities
from runs import trained, untrained


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """The first digits of the test split as PNG files of 8x8 pixels."""
    import numpy as np

    folder = tmp_path / "images"
    folder.mkdir()
    with np.load(FILE) as stored:
        counts = stored["images"][stored["test"]][:40].astype(float)
    paths = []
    for number, pixels in enumerate((counts * 255 / 16).round().astype("uint8")):
        paths.append(folder / f"{number:02}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def test_the_predictions_are_those_of_the_dataset_s_own_images(digits_run: RunDirectory, files: list[Path]) -> None:
    data = build(digits_run.config()["data"], "data")
    source = data.test_dataloader().source
    net = load_run(digits_run.path)
    with torch.no_grad():  # in the same batches: the last bits depend on their size
        logits = torch.cat([net(data.normalize(source.fetch(rows)[0])) for rows in torch.arange(40).split(32)])
    expected = logits.to(torch.float64).softmax(dim=1)
    predictions = predict(digits_run, files)
    assert [prediction.image for prediction in predictions] == files
    for row, (_, guesses, _) in zip(expected, predictions, strict=True):
        assert [guess.number for guess in guesses] == row.argsort(descending=True)[:5].tolist()
        assert [guess.probability for guess in guesses] == row.sort(descending=True).values[:5].tolist()
        assert [guess.name for guess in guesses] == [str(guess.number) for guess in guesses]
    right = [guesses[0].number == int(source.targets[i]) for i, (_, guesses, _) in enumerate(predictions)]
    assert sum(right) >= 20  # after two epochs


def test_a_folder_stands_for_the_images_in_it(digits_run: RunDirectory, files: list[Path]) -> None:
    (files[0].parent / "notes.txt").write_text("not an image")
    assert predict(digits_run, [files[0].parent]) == predict(digits_run, files)


def test_as_many_classes_are_named_as_are_asked_for(digits_run: RunDirectory, files: list[Path]) -> None:
    [(_, everything, _)] = predict(digits_run, files[:1], top=10)
    assert len(everything) == 10
    assert sum(guess.probability for guess in everything) == pytest.approx(1)
    assert predict(digits_run, files[:1], top=1) == [(files[0], everything[:1], "")]


def test_an_image_of_any_size_and_mode_is_sized_as_the_dataset_s(digits_run: RunDirectory, tmp_path: Path) -> None:
    Image.new("RGBA", (70, 50), (255, 0, 0, 128)).save(tmp_path / "wide.webp")
    [(_, guesses, _)] = predict(digits_run, [tmp_path / "wide.webp"])
    assert len(guesses) == 5


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (("data=synthetic", "data.channels=1"), {"0", "1"}),
        (("data=digits", "data.classes=[crack]"), {"not crack", "crack"}),
    ],
    ids=["numbers", "named"],
)
def test_one_logit_gives_two_classes_by_the_sigmoid(
    tmp_path: Path, files: list[Path], data: tuple[str, ...], names: set[str]
) -> None:
    run = untrained(tmp_path / "run", "arch=lenet5", "loss=bce", *data, "data.num_classes=1")
    [(_, guesses, _)] = predict(run, files[:1])
    assert {guess.name for guess in guesses} == names
    opened = build(run.config()["data"], "data")
    logit = load_run(run.path)(opened.normalize(opened.open_image(files[0])[None]))[0, 0]
    chance = {guess.number: guess.probability for guess in guesses}
    assert chance[1] == pytest.approx(torch.sigmoid(logit.double()).item(), rel=1e-12)
    assert chance[0] + chance[1] == pytest.approx(1)


def test_two_class_folders_and_one_logit_are_trained_measured_predicted_and_drawn(tmp_path: Path) -> None:
    for label, shade in (("cat", 20), ("dog", 220)):
        for number in range(6):
            picture = tmp_path / "own" / label / f"{number}.png"
            picture.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (shade, shade + number, shade)).save(picture)
    data = ("data=folder", "data.root=own", "data.num_classes=1", "loss=bce", "batch_size=2", "data.val_fraction=0.2")
    words = ("arch=mlp", "arch.hidden=[4]", *data, "optimizer.lr=0.05", "trainer.max_epochs=8")
    run = trained(tmp_path / "run", *words, "callbacks=[checkpoint,figures]", "schedule=constant")
    assert run.result()["metrics"]["val/acc1"] == 1
    assert (run.path / "figures" / "training_images.png").is_file()
    measured = measure(prepare(run, [f"data.root={shutil.copytree('own', 'new')}"]))
    assert (measured.images, measured.metrics["test/acc1"]) == (12, 1)
    for label in ("cat", "dog"):
        [(_, guesses, _)] = predict(run, [tmp_path / "own" / label / "0.png"])
        assert [guess.name for guess in guesses] == sorted(("cat", "dog"), key=lambda name: name != label)


def test_probabilities_of_large_logits_are_finite() -> None:
    assert probabilities(torch.tensor([[3e4, 0.0]])).tolist() == [[1.0, 0.0]]
    assert probabilities(torch.tensor([[-3e4]])).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("top", [0, 11, -1])
def test_more_or_fewer_classes_than_there_are_is_refused(digits_run: RunDirectory, top: int) -> None:
    with pytest.raises(ConfigError, match=f"top={top}: out of range; accepted: 1 to 10"):
        predict(digits_run, [], top=top)


def test_files_that_cannot_be_read_are_named_and_the_others_answered_for(
    digits_run: RunDirectory, files: list[Path]
) -> None:
    folder = files[0].parent
    bad = {
        "cut.png": "unreadable image (",
        "empty.png": "unreadable image (empty: 0 bytes)",
        "folder.png": "no images in this folder",
        "gone.png": "no such image",
        "pipe.png": f"unreadable image ({NO_FILE})",
        "zeros.png": f"unreadable image ({NO_FILE})",
    }
    (folder / "cut.png").write_bytes(files[0].read_bytes()[:60])
    (folder / "empty.png").touch()
    (folder / "folder.png").mkdir()
    (folder / "gone.png").symlink_to("nowhere.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "zeros.png").symlink_to("/dev/zero")
    found = predict(digits_run, [*files[:3], *(folder / name for name in bad), *files[3:]])
    assert [prediction.image.name for prediction in found[3:9]] == list(bad)
    assert all(why and why.startswith(bad[image.name]) and not guesses for image, guesses, why in found[3:9])
    assert [*found[:3], *found[9:]] == predict(digits_run, files)
    with pytest.raises(
        ConfigError, match=r"cut.png: unreadable image .*; on_bad_file=skip answers for the other images"
    ):
        predict(digits_run, [files[0], folder / "cut.png"], on_bad_file="raise")
