"""What the verbs of the command line do once their words are sorted: read the options, call, print; the exit code."""

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from convarium.commands.words import ANYTHING, only_options, read_options
from convarium.errors import ConfigError, MissingData
from convarium.run.directory import RunDirectory
from convarium.trained.load import WEIGHTS


def evaluate(run: Path | None, overrides: list[str]) -> int:
    """`convarium evaluate RUN`, or `arch=... weights=FILE`: the loss and the accuracies of the weights on a split."""
    from convarium.learn.protocol import in_words
    from convarium.run.launch import RankFailed, Stopped
    from convarium.trained.evaluate import SPLITS, measure, plan, plan_file

    accepted = {"split": SPLITS, "format": ("text", "json")}
    options, words = read_options(overrides, accepted if run is None else accepted | {"weights": WEIGHTS})
    split = options.get("split", "test")
    if run is None:
        place, evaluation = None, plan_file(words, split=split)
    else:
        place = RunDirectory.open(run)
        evaluation = plan(place, words, weights=options.get("weights", "final"), split=split)
    weights = evaluation.weights
    try:
        metrics = measure(evaluation)
    except RankFailed as failure:
        print(f"{failure.trace}\nerror: rank {failure.rank}: {failure}", file=sys.stderr)
        return 1
    except Stopped as stop:
        return 128 + stop.signum
    told = {
        "run": str(place.path) if place else None,
        "weights": weights,
        "split": split,
        "views": in_words(evaluation.views),
        "overrides": words,
        "device": evaluation.placement.description,
        "metrics": metrics,
    }
    if options.get("format") == "json":
        print(json.dumps(told, indent=2, ensure_ascii=False))
        return 0
    as_tested = place is not None and weights == "final" and split == "test" and not words
    logged = place.result().get("metrics", {}) if place and as_tested else {}
    shown = f", {evaluation.views}" if evaluation.views else ""
    print(f"{evaluation.config['name']}, {weights} weights, {split} split{shown}, on {told['device']}\n")
    print(f"{'':>8}  {'measured':>9}" + (f"  {'logged':>9}" if logged else ""))
    for name, value in metrics.items():
        before = logged.get(name)
        print(f"{name.partition('/')[2]:>8}  {value:9.4f}" + (f"  {before:9.4f}" if before is not None else ""))
    return 0


def predict(run: Path, images: list[Path], overrides: list[str]) -> int:
    """`convarium predict RUN IMAGES...`: the most probable classes of each image."""
    from convarium.trained import predict as prediction

    accepted = {"top": ANYTHING, "weights": WEIGHTS, "format": ("text", "json", "csv")}
    options = only_options(overrides, accepted)
    top = options.get("top")
    if top is not None and not top.isdecimal():
        raise ConfigError(f"top={top}: expected a whole number")
    predictions = prediction.predict(
        RunDirectory.open(run), images, weights=options.get("weights", "final"), top=None if top is None else int(top)
    )
    show = {"text": _as_text, "json": _as_json, "csv": _as_csv}[options.get("format", "text")]
    show(predictions)
    return 0


def _as_text(predictions: Sequence[Any]) -> None:
    for image, guesses in predictions:
        print(image)
        for guess in guesses:
            print(f"  {guess.probability:.4f}  {guess.name}")


def _as_json(predictions: Sequence[Any]) -> None:
    rows = [{"image": str(image), "classes": [guess._asdict() for guess in guesses]} for image, guesses in predictions]
    print(json.dumps(rows, indent=2, ensure_ascii=False))


def _as_csv(predictions: Sequence[Any]) -> None:
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(("image", "rank", "number", "name", "probability"))
    for image, guesses in predictions:
        table.writerows((image, rank, *guess) for rank, guess in enumerate(guesses, start=1))


def export(run: Path, overrides: list[str]) -> int:
    """`convarium export RUN`: its network as a file for other programs."""
    from convarium.trained.export import FORMATS
    from convarium.trained.export import export as write

    accepted = {"format": tuple(FORMATS), "output": ANYTHING, "weights": WEIGHTS, "normalize": ("true", "false")}
    options = only_options(overrides, accepted)
    normalize = options.get("normalize")
    exported = write(
        RunDirectory.open(run),
        format=options.get("format", "onnx"),
        output=Path(options["output"]) if "output" in options else None,
        weights=options.get("weights", "final"),
        normalize=None if normalize is None else normalize == "true",
    )
    print(f"{exported.path}\n  {exported.metadata['input']}\n  -> {exported.metadata['output']}")
    if exported.difference is not None:
        print(f"  run on noise, its logits differ from the network's by at most {exported.difference:.2g}")
    elif options.get("format", "onnx") == "onnx":
        print("  not run: onnxruntime is not installed; pip install convarium[export]")
    return 0


def fetch(name: str, overrides: list[str]) -> None:
    """`convarium data fetch NAME`: download a dataset, or unpack it `from=ARCHIVES`, unless it is here already."""
    from convarium.config.compose import Conf
    from convarium.config.instantiate import build
    from convarium.data.datasets.imagenet import OfficialFolders
    from convarium.data.module import ImageData

    options, words = read_options(overrides, {"from": ANYTHING})
    archives = _files_of(options["from"]) if "from" in options else []
    config = Conf().compose([f"data={name}", *words], to_train=False).config
    data: ImageData = build(config["data"], "data")
    if isinstance(data, OfficialFolders):
        root = Path(data.root)
        with _no_empty_folders_of(root):
            made = data.prepare(archives)
        print(f"{name}: {'; '.join(made)}, in {root}" if made else f"{name}: is in {root}")
        return
    if archives:
        raise ConfigError(f"from={options['from']}: data={name} is not made from archives on this disk")
    if type(data).fetch is ImageData.fetch:
        print(f"{name}: nothing to fetch, it is shipped with the package or made")
        return
    root = Path(config["data"]["root"])
    try:
        there = data.read("train") is not None and data.read("test") is not None
    except MissingData:
        there = False
    if not there:
        with _no_empty_folders_of(root):
            data.fetch()
    print(f"{name}: {'is in' if there else 'fetched to'} {root}")


def _files_of(words: str) -> list[Path]:
    """`FILE`, `A,B` or `[A,B]`."""
    names = (
        [words] if Path(words).expanduser().exists() else words.strip().removeprefix("[").removesuffix("]").split(",")
    )
    paths = [Path(name.strip()).expanduser() for name in names if name.strip()]
    if not paths:
        raise ConfigError("from: must name an archive, several as from=[A,B], or the folder that holds them")
    return paths


@contextmanager
def _no_empty_folders_of(root: Path) -> Iterator[None]:
    """If it fails to fill a folder that was not there, do not leave an empty one."""
    above = [folder for folder in (root, *root.parents) if not folder.exists()]
    try:
        yield
    except BaseException:
        if above:
            inside = sorted((path for path in root.rglob("*") if path.is_dir()), reverse=True)
            for folder in (*inside, *above):
                with suppress(OSError):
                    folder.rmdir()
        raise
