"""The images that a trained network is shown to be looked into, and its answers."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convarium.config.instantiate import build
from convarium.data.loaders import EvalBatches
from convarium.data.module import ImageData
from convarium.errors import ConfigError
from convarium.progress_bar import Progress
from convarium.run.devices import place
from convarium.run.directory import RunDirectory
from convarium.run.resume import read_config
from convarium.trained import SPLITS
from convarium.trained.load import load_run
from convarium.trained.predict import Guess, best_of, files_of, opened, probabilities

MOST = 6  # images of a split
GUESSES = 3  # of each image


@dataclass
class Subject:
    """An image that is looked at, and what was found."""

    name: str
    image: Tensor  # uint8 (C, H, W)
    truth: str | None = None  # the class that the data say
    classes: list[Guess] = field(default_factory=list)  # best first
    found: dict[str, Any] = field(default_factory=dict)


class Subjects:
    """A run loaded back, and the images that are looked at."""

    progress: Progress

    def __init__(self, run: RunDirectory, *, weights: str, split: str) -> None:
        self.data: ImageData = build(read_config(run)["data"], "data")
        self.names = self.data.class_names
        self.device = torch.device(place({"accelerator": "auto", "devices": 1, "num_nodes": 1}).accelerator)
        self.net = load_run(run.path, weights=weights).to(self.device)
        self.split = split
        self.shape = (self.data.channels, self.data.image_size, self.data.image_size)
        self.subjects: list[Subject] = []
        self.bad: dict[Path, str] = {}

    def read(self, images: Iterable[Path], of: str) -> None:
        """The files, or else images of the split, each with the classes that it is seen as."""
        if files := files_of(images):
            self.progress.begin(len(files), "images")
            read = opened(self.data, files, self.bad, self.progress)
            self.subjects = [Subject(str(file), image) for file, image in read]
        else:
            batches = self.batches()
            source = batches.source
            samples = self.mistakes(batches) if of == "mistakes" else _one_of_each(batches)
            self.subjects = [
                Subject(source.name(int(sample)), image.cpu(), self.names[int(source.targets[sample])])
                for image, sample in zip(*source.fetch(samples), strict=True)
            ]
        for subject in self.subjects:
            subject.classes = self.guesses(self.inputs(subject), GUESSES)

    def batches(self) -> EvalBatches:
        """Those of the split. Raises ConfigError if it cannot be read, or holds no images."""
        try:
            batches = self.data.test_dataloader() if self.split == "test" else self.data.val_dataloader()
        except (ValueError, OSError) as error:
            raise ConfigError(str(error)) from error
        if not len(batches):
            others = " or ".join(f"split={other}" for other in SPLITS if other != self.split)
            raise ConfigError(f"split={self.split}: there are no such images; accepted: {others}")
        return batches

    def normalized(self, batches: EvalBatches) -> Iterator[tuple[Tensor, Tensor]]:
        """What the network takes of each batch, and which samples."""
        self.progress.begin(len(batches), "batches", f"{self.split} images")
        for batch in batches:
            yield self.data.normalize(batch.images.to(self.device)), batch.index
            self.progress.advance()

    def mistakes(self, batches: EvalBatches) -> Tensor:
        """The numbers of the misclassified samples whose class is held least probable, the worst first."""
        worst: list[tuple[float, int]] = []
        for inputs, index in self.normalized(batches):
            with torch.no_grad():
                rows, targets = probabilities(self.net(inputs).cpu()), batches.source.targets[index].cpu()
            wrong = (rows.argmax(1) != targets).nonzero()[:, 0]
            worst += zip(rows[wrong, targets[wrong]].tolist(), index.cpu()[wrong].tolist(), strict=True)
            worst = sorted(worst)[:MOST]
        if not worst:
            raise ConfigError(f"of=mistakes: the network makes none in the {self.split} split")
        return torch.tensor([sample for _, sample in worst], device=batches.source.targets.device)

    def inputs(self, subject: Subject) -> Tensor:
        return self.data.normalize(subject.image[None].to(self.device))

    def guesses(self, inputs: Tensor, most: int) -> list[Guess]:
        """The most probable classes of one input, best first."""
        with torch.no_grad():
            return best_of(probabilities(self.net(inputs).cpu()), min(most, len(self.names)), self.names)[0]

    def of_pixels(self, pixels: Tensor) -> Tensor:
        """Normalized, from 0..1, in a way that gradients pass."""
        return self.data.normalize(255 * pixels)


def _one_of_each(batches: EvalBatches) -> Tensor:
    """The number of the first sample of each class; where they are many, of some spread over all."""
    targets = batches.source.targets[batches.members]
    there = torch.unique(targets).tolist()
    chosen = torch.linspace(0, len(there) - 1, min(len(there), MOST)).round().long().tolist()
    return torch.stack([batches.members[(targets == there[number]).nonzero()[0, 0]] for number in chosen])
