"""The classes that a trained network predicts for image files."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from convarium.config.instantiate import build
from convarium.data.image_files.listing import walk
from convarium.data.module import ImageData
from convarium.errors import ConfigError
from convarium.learn.metrics import two_columns
from convarium.run.devices import place
from convarium.run.directory import RunDirectory
from convarium.trained.load import load_run

TOP = 5
BATCH = 32  # images at a time


class Guess(NamedTuple):
    """A class and its probability."""

    number: int
    name: str
    probability: float


def predict(
    run: RunDirectory, images: Iterable[Path], *, weights: str = "final", top: int | None = None
) -> list[tuple[Path, list[Guess]]]:
    """The most probable classes of each image, best first; it is decoded, sized and normalized as in training.

    images: files, or folders, which stand for all images in them.
    top: how many classes of each image; None: five, or all if there are fewer.
    Raises ConfigError for a file that cannot be read as an image and for a `top` that is out of range.
    """
    config = run.config()
    data: ImageData = build(config["data"], "data")
    names = data.class_names
    if top is not None and not 1 <= top <= len(names):
        raise ConfigError(f"top={top}: out of range; accepted: 1 to {len(names)}")
    files = [file for image in images for file in _files(image)]
    device = torch.device(place({"accelerator": "auto", "devices": 1, "num_nodes": 1}).accelerator)
    net = load_run(run.path, weights=weights).to(device)
    predictions = []
    for start in range(0, len(files), BATCH):
        batch = files[start : start + BATCH]
        try:
            pixels = torch.stack([data.open_image(file) for file in batch]).to(device)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        with torch.inference_mode():
            rows = probabilities(net(data.normalize(pixels)).cpu())
        best = rows.topk(top or min(TOP, len(names)))
        for file, chances, numbers in zip(batch, best.values.tolist(), best.indices.tolist(), strict=True):
            guesses = [Guess(number, names[number], p) for p, number in zip(chances, numbers, strict=True)]
            predictions.append((file, guesses))
    return predictions


def probabilities(logits: Tensor) -> Tensor:
    """Logits (N, classes) to the softmax over the classes, float64; one logit (N, 1) to (N, 2) by the sigmoid."""
    return two_columns(logits.to(torch.float64)).softmax(dim=1)


def _files(image: Path) -> list[Path]:
    if not image.is_dir():
        return [image]
    files = [Path(file) for file in walk(image)]
    if not files:
        raise ConfigError(f"{image}: no images in this folder")
    return files
