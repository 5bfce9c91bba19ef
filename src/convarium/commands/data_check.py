"""`convarium data check`: is every picture of a dataset what it should be? No torch but for those in memory."""

from collections.abc import Sequence
from pathlib import Path

from convarium.commands.words import ANYTHING, DATA_USAGE, read_options
from convarium.config.catalog import members
from convarium.data.image_files.listing import is_table
from convarium.data.inspect.report import as_csv, as_json, as_text
from convarium.data.inspect.survey import Survey, survey_dataset, survey_folder
from convarium.data.packed.shards import HEADER, read_header
from convarium.data.packed.verify import verify
from convarium.errors import ConfigError, RunError
from convarium.files import write_atomically
from convarium.progress_bar import Progress
from convarium.wording import nearest

USAGE = DATA_USAGE["check"]
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
    number = None if workers is None else int(workers)
    to = Path(options["to"]).expanduser() if "to" in options else None
    if to is not None and (to.is_dir() or not to.absolute().parent.is_dir() or to.suffix != ".csv"):
        raise ConfigError(f"to={to}: expected the name of a file that ends in .csv, in a folder that exists")
    rest = [word for word in rest if not word.startswith("data=")]
    is_folder = not chosen and (Path(asked[0]).expanduser().is_dir() or is_table(asked[0]))
    accepted = [*OPTIONS] if is_folder else [*OPTIONS, "data.KEY"]
    for word in rest:
        key = word.partition("=")[0]
        if is_folder or not key.startswith("data."):
            raise ConfigError(f"{key}: not accepted{nearest(key, accepted)} One of: {', '.join(accepted)}")
    if is_folder and (Path(asked[0]).expanduser() / HEADER).is_file():
        return _check_packed(asked[0])
    with Progress() as progress:
        if is_folder:
            survey = survey_folder(Path(asked[0]).expanduser(), workers=number, progress=progress)
        else:
            survey = _survey_named(asked[0], bool(chosen), rest, number, progress)
    failure = None
    if to is not None:
        try:
            write_atomically(to, as_csv(survey))
        except OSError as error:  # the page is worth its time all the same
            failure, to = RunError(f"to={to}: could not be written ({error.strerror})"), None
    print(as_json(survey) if options.get("format") == "json" else as_text(survey, to))
    if failure is not None:
        raise failure
    return survey.exit_code


def _check_packed(root: str) -> int:
    """Whether every byte of a packed dataset is the one that was written; the exit code."""
    wrong = verify(root)
    splits = ", ".join(f"{split.samples:,} {name}" for name, split in read_header(root).splits.items())
    print(f"{root}: packed, {splits}")
    print("\n".join(f"  {line}" for line in wrong) or "  every file is as it was written")
    return 1 if wrong else 0


def _survey_named(
    name: str, is_dataset: bool, overrides: Sequence[str], workers: int | None, progress: Progress
) -> Survey:
    """Of a dataset in conf/data: the folder that it reads, or what it holds in memory."""
    names = list(members("data"))
    if name not in names:
        told = "no such folder or dataset"
        if is_dataset:
            told = "unknown dataset"
        elif Path(name).expanduser().exists():
            told = "is a file, not a folder"
        raise ConfigError(f"{name}: {told}{nearest(name, names)} Datasets: {', '.join(names)}; usage: {USAGE}")
    from convarium.config.compose import Conf, readable
    from convarium.config.instantiate import build, find_target
    from convarium.data.datasets.folder import FolderImages

    words = readable([f"data={name}", *overrides])
    conf = Conf()
    with conf.explained(words):
        # not composed as a whole: facts that a yaml reads off a folder's pictures fail where one of them is bad
        node = conf.merge(words)["data"]
        kind = find_target({"_target_": node["_target_"]}, "data")
        root = str(node["root"]) if issubclass(kind, FolderImages) else None
    if root is not None and is_table(root):
        return survey_folder(Path(root).expanduser(), workers=workers, progress=progress)
    if root is None:
        config = conf.compose(words, to_train=False).config
        return survey_dataset(build(config["data"], "data"), name, progress=progress)
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"data.root={root}: no such folder")
    return survey_folder(folder, workers=workers, progress=progress)
