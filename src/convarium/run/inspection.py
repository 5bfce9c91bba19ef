"""`convarium data check`: is every picture of a dataset what it should be? No torch but for those in memory."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from convarium.errors import ConfigError
from convarium.run.catalog import members
from convarium.run.findings import as_csv, as_json, as_text
from convarium.run.options import ANYTHING, read_options
from convarium.run.record import write_atomically
from convarium.run.scan_progress import Progress
from convarium.run.spelling import nearest
from convarium.run.survey import Survey, survey_dataset, survey_folder

if TYPE_CHECKING:
    from convarium.data.module import ImageData

USAGE = "convarium data check ROOT|NAME [workers=N] [format=text|json] [to=FILE.csv] [key=value ...]"
OPTIONS = {"workers": ANYTHING, "format": ("text", "json"), "to": ANYTHING}


def check(words: Sequence[str], overrides: Sequence[str]) -> int:
    """`convarium data check ROOT|NAME`: words by position, and key=value; prints, and returns the exit code."""
    options, rest = read_options(overrides, OPTIONS)
    chosen = [word.partition("=")[2] for word in rest if word.startswith("data=")]
    asked = [*words, *chosen]
    if len(asked) != 1:
        told = "no folder or dataset given" if not asked else f"{asked[1]}: one too many"
        raise ConfigError(f"{told}; usage: {USAGE}")
    workers = options.get("workers")
    if workers is not None and not workers.isdecimal():
        raise ConfigError(f"workers={workers}: expected a whole number; 0: decode in this process")
    to = Path(options["to"]).expanduser() if "to" in options else None
    if to is not None and (to.is_dir() or not to.absolute().parent.is_dir() or to.suffix != ".csv"):
        raise ConfigError(f"to={to}: expected the name of a file that ends in .csv, in a folder that exists")
    rest = [word for word in rest if not word.startswith("data=")]
    for word in rest:
        key = word.partition("=")[0]
        if not key.startswith("data.") or (words and Path(asked[0]).expanduser().is_dir()):
            known = [*OPTIONS, "data", "data.root"]
            raise ConfigError(f"{key}: not accepted{nearest(key, known)} One of: {', '.join(OPTIONS)}, data, data.KEY")
    with Progress() as progress:
        survey = _survey(asked[0], bool(chosen), rest, workers, progress)
    if to is not None:
        write_atomically(to, as_csv(survey))
    print(as_json(survey) if options.get("format") == "json" else as_text(survey, to))
    return survey.exit_code


def _survey(asked: str, by_name: bool, overrides: Sequence[str], workers: str | None, progress: Progress) -> Survey:
    number = None if workers is None else int(workers)
    root = Path(asked).expanduser()
    if not by_name and root.is_dir():
        return survey_folder(root, workers=number, progress=progress)
    names = list(members("data"))
    if not by_name and (root.exists() or os.sep in asked):
        told = "is a file" if root.exists() else "no such folder"
        raise ConfigError(f"{asked}: {told}; expected a folder of pictures, or a dataset: {', '.join(names)}")
    if asked not in names:
        told = "unknown dataset" if by_name else "no such folder or dataset"
        raise ConfigError(f"{asked}: {told}{nearest(asked, names)} Datasets: {', '.join(names)}; usage: {USAGE}")
    from convarium.data.folder import FolderImages
    from convarium.run.build import build
    from convarium.run.compose import Conf

    data: ImageData = build(Conf().compose([f"data={asked}", *overrides], to_train=False).config["data"], "data")
    if isinstance(data, FolderImages):
        folder = Path(data.root).expanduser()
        if not folder.is_dir():
            raise ConfigError(f"data.root={data.root}: no such folder")
        return survey_folder(folder, workers=number, progress=progress)
    return survey_dataset(data, asked, progress=progress)
