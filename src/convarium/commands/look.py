"""`convarium look RUN [IMAGES...]`: what its network looks at, drawn."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from convarium.commands.words import FORMAT, Option, Verb, Words
from convarium.errors import ConfigError
from convarium.progress_bar import doing
from convarium.trained import SPLITS, VIEWS, WEIGHTS
from convarium.wording import printable

BAD_FILES = 1
"""The exit code if a file could not be read; the others are looked at."""


def run(words: Words) -> int:
    """Draw, and print what was found and the files; 1 if an image could not be read, else 0."""
    folder, options = VERB.run_folder(words), words.options
    images = words.positions[1:]
    missing = [image for image in images if not os.path.lexists(image)]
    if missing:
        raise ConfigError(f"{missing[0]}: no such image")
    patch = words.whole("patch") if "patch" in options else None
    with doing("load torch"):
        from convarium.run.directory import RunDirectory
        from convarium.trained.look import look

    with doing("look"):
        looked = look(
            RunDirectory.open(folder),
            map(Path, images),
            what=words.value("what"),
            of=words.value("of"),
            layer=options.get("layer"),
            filters=options.get("filter"),
            patch=patch,
            weights=words.value("weights"),
            split=words.value("split"),
            output=Path(options["out"]) if "out" in options else None,
        )
    last = looked.layers[-1] if looked.layers else None
    if words.as_json:
        answer: dict[str, Any] = {
            "layer": last and last._asdict(),
            "images": [
                {
                    "image": subject.name,
                    "truth": subject.truth,
                    "classes": [guess._asdict() for guess in subject.classes],
                    **subject.found,
                }
                for subject in looked.subjects
            ],
            "errors": {str(file): why for file, why in looked.bad.items()},
            "notes": looked.notes,
            "files": [str(file) for file in looked.files],
        }
        if words.value("what") == "layers":
            answer["layers"] = [layer._asdict() for layer in looked.layers]
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    elif words.value("what") == "layers":
        print(*(f"{layer}{' (if none is named)' if layer is last else ''}" for layer in looked.layers), sep="\n")
    else:
        for subject in looked.subjects:
            print(*map(printable, (subject.name, *_lines(subject))), sep="\n  ")
        for path in looked.files:
            print(path)
    for note in looked.notes:
        print(note, file=sys.stderr)
    for file, why in looked.bad.items():
        print(printable(f"error: {file}: {why}"), file=sys.stderr)
    return BAD_FILES if looked.bad else 0


def _lines(subject: Any) -> list[str]:
    """The answer for an image, and what was found of it."""
    best = subject.classes[0]
    is_wrong = subject.truth not in (None, best.name)
    lines = [f"{best.probability:.4f}  {best.name}{f', is {subject.truth}' if is_wrong else ''}"]
    if part := subject.found.get("occlusion"):
        side = f"{part['patch']}x{part['patch']}"
        if part["then"] is None:
            lines.append(f"{part['probability']:.4f}  whichever {side} pixels are hidden")
        else:
            lines.append(f"{part['probability']:.4f}  without the {side} pixels at {part['x']}, {part['y']}")
    if "nudge" in subject.found and subject.found["nudge"] is None:
        lines.append("no nudge was found that changes the answer")
    elif change := subject.found.get("nudge"):
        lines.append(f"{change['then']['name']} if each pixel changes by {change['levels']:.2g} of 255 levels")
    return lines


VERB = Verb(
    name="look",
    meaning="draw what the network of a run looks at",
    run=run,
    positions="RUN [IMAGES...]",
    options={
        "what": Option("which pictures; all: but for filters, which take a pass over a split", VIEWS, "all"),
        "layer": Option("names with commas between them; the last with maps if not given"),
        "filter": Option("numbers with commas between them; the first eight of the layer if not given"),
        "patch": Option("side in pixels of what hides a part of the image; a quarter of it if not given"),
        "of": Option("which images of the split, if none are given", ("classes", "mistakes"), "classes"),
        "weights": Option("which weights of the run", WEIGHTS, "final"),
        "split": Option("whose images excite filters, and are looked at if no others are given", SPLITS, "val"),
        "out": Option("the folder to draw into; RUN/look if not given"),
        "format": FORMAT,
    },
    example="convarium look runs/digits images/*.png what=gradcam",
)
