"""`convarium predict RUN IMAGES...`: the most probable classes of each image."""

import csv
import json
import os
import sys
from pathlib import Path

from convarium.commands.words import FORMAT, Option, Verb, Words
from convarium.errors import ConfigError
from convarium.progress_bar import doing
from convarium.trained import EXPLANATIONS, WEIGHTS
from convarium.wording import counted, printable

BAD_FILES = 1
"""The exit code if a file could not be read; the others are answered for."""


def run(words: Words) -> int:
    """Print the predictions, and which files could not be read; 1 if there are any, else 0."""
    folder = VERB.run_folder(words)
    images = words.positions[1:]
    if not images:
        raise VERB.misused("no images given")
    missing = [image for image in images if not os.path.lexists(image)]
    if missing:
        raise ConfigError(f"{missing[0]}: no such image")
    top = words.whole("top") if "top" in words.options else None
    with doing("load torch"):
        from convarium.run.directory import RunDirectory
        from convarium.trained.predict import predict

    run, weights = RunDirectory.open(folder), words.value("weights")
    found = predict(run, map(Path, images), weights=weights, top=top, on_bad_file=words.value("on_bad_file"))
    bad = [prediction for prediction in found if prediction.bad]
    drawn: list[Path] = []
    if (what := words.options.get("explain")) and (good := [image for image, _, why in found if not why]):
        from convarium.trained.look import look

        drawn = look(run, good, what=what, weights=weights).files
    if words.as_json:
        rows = [
            {"image": str(image), "classes": [guess._asdict() for guess in guesses], **({"error": why} if why else {})}
            for image, guesses, why in found
        ]
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    elif words.value("format") == "csv":
        table = csv.writer(sys.stdout, lineterminator="\n")
        table.writerow(("image", "rank", "number", "name", "probability", "error"))
        for image, guesses, why in found:
            table.writerows((image, rank, *guess, "") for rank, guess in enumerate(guesses, start=1))
            if why:
                table.writerow((image, *[""] * 4, why))
    else:
        for image, guesses, _ in found:
            lines = (f"  {guess.probability:.4f}  {guess.name}" for guess in guesses)
            if guesses:
                print(*map(printable, (image, *lines)), sep="\n")
    for path in drawn if words.value("format") == "text" else ():
        print(path)
    for image, _, why in bad:
        print(printable(f"error: {image}: {why}"), file=sys.stderr)
    if bad and len(found) > 1:
        print(f"{len(bad):,} of {counted(len(found), 'image')} could not be read", file=sys.stderr)
    return BAD_FILES if bad else 0


VERB = Verb(
    name="predict",
    meaning="print the most probable classes of images",
    run=run,
    positions="RUN IMAGES...",
    options={
        "top": Option("how many classes of each image; 5 if there are so many"),
        "weights": Option("which weights of the run", WEIGHTS, "final"),
        "on_bad_file": Option(
            f"what a file that cannot be read ends: nothing (it is named, the exit code is {BAD_FILES}), or all",
            ("skip", "raise"),
            "skip",
        ),
        "explain": Option("pictures of what the answers rest on, into RUN/look", EXPLANATIONS),
        "format": FORMAT._replace(accepted=("text", "json", "csv")),
    },
    example="convarium predict runs/digits images/*.png top=3",
)
