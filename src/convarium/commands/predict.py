"""`convarium predict RUN IMAGES...`: the most probable classes of each image."""

import csv
import json
import sys
from pathlib import Path

from convarium.commands.words import FORMAT, Option, Verb, Words
from convarium.errors import ConfigError
from convarium.trained import WEIGHTS
from convarium.wording import printable


def run(words: Words) -> None:
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
    found = predict(run, map(Path, images), weights=weights, top=top)
    if words.as_json:
        rows = [{"image": str(image), "classes": [guess._asdict() for guess in guesses]} for image, guesses in found]
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    elif words.value("format") == "csv":
        table = csv.writer(sys.stdout, lineterminator="\n")
        table.writerow(("image", "rank", "number", "name", "probability"))
        for image, guesses in found:
            table.writerows((image, rank, *guess) for rank, guess in enumerate(guesses, start=1))
    else:
        for image, guesses in found:
            lines = (f"  {guess.probability:.4f}  {guess.name}" for guess in guesses)
            print(*map(printable, (image, *lines)), sep="\n")


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
