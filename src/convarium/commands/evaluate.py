"""`convarium evaluate`: the metrics of weights on a split, those of a run or of a file."""

import json
import sys
from textwrap import wrap

from convarium.commands.words import FORMAT, Option, Verb, Words, require
from convarium.config.keys import EVALUATE, NETWORK, has_part, names_with
from convarium.errors import ConfigError
from convarium.progress_bar import doing
from convarium.trained import SPLITS, WEIGHTS
from convarium.wording import counted, printable


def run(words: Words) -> int:
    """Print the metrics, beside those that the run logged where they mean the same."""
    folder = VERB.run_folder(words) if words.positions or not words.overrides + list(words.options) else None
    weights = words.value("weights")
    if folder is not None:
        require(f"weights={weights}", weights, WEIGHTS)
    with doing("load torch"):
        from convarium.run.directory import RunDirectory
        from convarium.run.worker import RankFailed, Stopped
        from convarium.trained.evaluate import measure, prepare, prepare_file

    split = words.value("split")
    place, overrides = None, words.overrides
    with doing("read the config"):
        if folder is None:
            overrides = [*overrides, *(f"weights={value}" for key, value in words.options.items() if key == "weights")]
            evaluation = prepare_file(overrides, split=split)
        else:
            place = RunDirectory.open(folder)
            evaluation = prepare(place, overrides, weights=weights, split=split)
    try:
        with doing("measure"):
            metrics, images, left_out = measure(evaluation)
    except RankFailed as failure:
        if failure.is_plain:
            raise ConfigError(str(failure)) from failure
        print(f"{failure.trace}\nerror: rank {failure.rank}: {failure}", file=sys.stderr)
        return 1
    except Stopped as stop:
        print(f"interrupted: {stop}", file=sys.stderr)
        return 128 + stop.signum
    for path, why in left_out.items():
        print(printable(f"left out: {path}: {why}"), file=sys.stderr)
    device = evaluation.placement.description
    if words.as_json:
        answer = {
            "run": str(place.path) if place else None,
            "weights": evaluation.weights,
            "assumption": evaluation.assumption or None,
            "split": split,
            "images": images,
            "left_out": left_out,
            "views": str(evaluation.views or "1 crop"),
            "overrides": overrides,
            "device": device,
            "metrics": metrics,
        }
        print(json.dumps(answer, indent=2, ensure_ascii=False))
        return 0
    as_tested = place is not None and weights == "final" and split == "test" and not overrides
    logged = place.result().get("metrics", {}) if place and as_tested else {}
    views = f", {evaluation.views}" if evaluation.views else ""
    views += f", also moved by up to {counted(evaluation.shift, 'pixel')}" if evaluation.shift else ""
    print(f"{evaluation.config['name']}, {evaluation.weights} weights, {split} split{views}, on {device}")
    print(*wrap(evaluation.assumption, 80), "", sep="\n")
    names = {name: name.partition("/")[2] for name in metrics}
    width = max(8, *map(len, names.values()))
    print(f"{'':>{width}}  {'measured':>9}" + (f"  {'logged':>9}" if logged else ""))
    for name, value in metrics.items():
        before = f"  {logged[name]:9.4f}" if name in logged else ""
        print(f"{names[name]:>{width}}  {value:9.4f}{before}")
    print(f"{'images':>{width}}  {images:9,}")
    return 0


VERB = Verb(
    name="evaluate",
    meaning="measure the weights of a run, or of a file, on a split",
    run=run,
    positions="RUN",
    options={
        "weights": Option(f"of a run {' or '.join(WEIGHTS)}; else a file or torchvision:NAME", default="final"),
        "split": Option("the images to measure on", SPLITS, "test"),
        "format": FORMAT,
    },
    overrides="keys of data, precision, trainer, threads and test; without a RUN also those of the network",
    example="convarium evaluate runs/digits split=val weights=best, or: convarium evaluate arch=resnet20 weights=FILE",
    groups=tuple(dict.fromkeys(key.partition(".")[0] for part in (NETWORK, EVALUATE) for key in names_with(part))),
    takes=lambda key: has_part(key, EVALUATE) or has_part(key, NETWORK),
)
