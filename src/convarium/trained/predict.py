"""The classes that a trained network predicts for image files."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from convarium.config.instantiate import build
from convarium.data.image_files.listing import walk
from convarium.data.module import ImageData
from convarium.errors import ConfigError
from convarium.learn.metrics import two_columns
from convarium.progress_bar import Progress
from convarium.run.devices import place
from convarium.run.directory import RunDirectory
from convarium.run.resume import read_config
from convarium.trained.load import load_run

TOP = 5
BATCH = 32  # images at a time


class Guess(NamedTuple):
    """A class and its probability."""

    number: int
    name: str
    probability: float


class Prediction(NamedTuple):
    """What is predicted for an image."""

    image: Path
    guesses: list[Guess]  # best first; none for a file that cannot be read
    bad: str = ""
    """Why it cannot be."""


def predict(
    run: RunDirectory,
    images: Iterable[Path],
    *,
    weights: str = "final",
    top: int | None = None,
    on_bad_file: str = "skip",
) -> list[Prediction]:
    """The most probable classes of each image; it is decoded, sized and normalized as in training.

    images: files, or folders, which stand for all images in them.
    top: how many classes of each image; None: five, or all if there are fewer.
    on_bad_file: skip, which answers for the other images, or raise.
    Raises ConfigError for a `top` that is out of range and, with on_bad_file=raise, for a file that cannot be read.
    """
    config = read_config(run)
    data: ImageData = build(config["data"], "data")
    names = data.class_names
    if top is not None and not 1 <= top <= len(names):
        raise ConfigError(f"top={top}: out of range; accepted: 1 to {len(names)}")
    files = files_of(images)
    device = torch.device(place({"accelerator": "auto", "devices": 1, "num_nodes": 1}).accelerator)
    net = load_run(run.path, weights=weights).to(device)
    guesses, bad = dict[Path, list[Guess]](), dict[Path, str]()
    with Progress() as progress:
        progress.begin(len(files), "images")
        coming = opened(data, files, bad, progress)
        while not (bad and on_bad_file == "raise") and (batch := list(islice(coming, BATCH))):
            with torch.inference_mode():
                rows = probabilities(net(data.normalize(torch.stack([image for _, image in batch]).to(device))).cpu())
            best = best_of(rows, top or min(TOP, len(names)), names)
            guesses.update({file: found for (file, _), found in zip(batch, best, strict=True)})
    if bad and on_bad_file == "raise":
        file, why = next(iter(bad.items()))
        raise ConfigError(f"{file}: {why}; on_bad_file=skip answers for the other images")
    return [Prediction(file, guesses.get(file, []), bad.get(file, "")) for file in files]


def opened(
    data: ImageData, files: Iterable[Path], bad: dict[Path, str], progress: Progress
) -> Iterator[tuple[Path, Tensor]]:
    """The images that can be read; why the others cannot goes to `bad`."""
    for file in files:
        try:
            if file.is_dir():
                raise ValueError("no images in this folder")
            yield file, data.open_image(file)
        except ValueError as error:
            bad[file] = str(error).removeprefix(f"{file}: ")
        progress.advance()


def probabilities(logits: Tensor) -> Tensor:
    """Logits (N, classes) to the softmax over the classes, float64; one logit (N, 1) to (N, 2) by the sigmoid."""
    return two_columns(logits.to(torch.float64)).softmax(dim=1)


def best_of(rows: Tensor, most: int, names: Sequence[str]) -> list[list[Guess]]:
    """Of each row of probabilities (N, classes) the `most` highest, best first."""
    best = rows.topk(most)
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [[Guess(number, names[number], p) for number, p in zip(*row, strict=True)] for row in pairs]


def files_of(images: Iterable[Path]) -> list[Path]:
    """Files as they are, and of a folder all images in it; a folder that has none stands for itself."""
    found = ([Path(file) for file in walk(image)] or [image] if image.is_dir() else [image] for image in images)
    return [file for files in found for file in files]
