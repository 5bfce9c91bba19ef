"""`convarium predict RUN IMAGES...`: the most probable classes of each image."""

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from convarium.commands.words import FORMAT, Option, Verb, Words
from convarium.errors import ConfigError
from convarium.trained import WEIGHTS

if TYPE_CHECKING:
    from convarium.trained.predict import Prediction


def run(words: Words) -> int:
    """Print the predictions."""
    folder = VERB.run_folder(words)
    images = words.positions[1:]
    if not images:
        raise VERB.misused("no images given")
    missing = [image for image in images if not Path(image).exists()]
    if missing:
        raise ConfigError(f"{missing[0]}: no such image")
    top = words.whole("top") if "top" in words.options else None
    from convarium.run.directory import RunDirectory
    from convarium.trained.predict import predict

    run, weights = RunDirectory.open(folder), words.value("weights")
    predictions = predict(run, map(Path, images), weights=weights, top=top)
    {"text": _print_text, "json": _print_json, "csv": _print_csv}[words.value("format")](predictions)
    return 0


def _print_text(predictions: Sequence["Prediction"]) -> None:
    for image, guesses in predictions:
        print(image)
        for guess in guesses:
            print(f"  {guess.probability:.4f}  {guess.name}")


def _print_json(predictions: Sequence["Prediction"]) -> None:
    rows = [{"image": str(image), "classes": [guess._asdict() for guess in guesses]} for image, guesses in predictions]
    print(json.dumps(rows, indent=2, ensure_ascii=False))


def _print_csv(predictions: Sequence["Prediction"]) -> None:
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(("image", "rank", "number", "name", "probability"))
    for image, guesses in predictions:
        table.writerows((image, rank, *guess) for rank, guess in enumerate(guesses, start=1))


VERB = Verb(
    name="predict",
    meaning="print the most probable classes of images",
    run=run,
    positions="RUN IMAGES...",
    options={
        "top": Option("how many classes of each image; 5 if there are so many"),
        "weights": Option("which weights of the run", WEIGHTS, "final"),
        "format": FORMAT._replace(accepted=("text", "json", "csv")),
    },
    example="convarium predict runs/digits images/*.png top=3",
)
