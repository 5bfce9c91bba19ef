"""`convarium data check`: is every picture of a dataset what it should be? No torch but for those in memory."""

from collections.abc import Sequence
from pathlib import Path

from convarium.commands.words import FORMAT, Option, Verb, Words, not_accepted
from convarium.config.catalog import members
from convarium.data.image_files.listing import is_table
from convarium.data.inspect.formats import as_csv, as_json, as_text
from convarium.data.inspect.report import Report, inspect_dataset, inspect_folder
from convarium.data.packed.shards import HEADER, read_header
from convarium.data.packed.verify import verify
from convarium.errors import ConfigError, RunError
from convarium.files import write_atomically
from convarium.progress_bar import Progress
from convarium.wording import nearest, printable


def run(words: Words) -> int:
    """Print what is wrong with a folder, a table or a dataset of conf/data; 1 if there is an error, else 0."""
    named = [word.partition("=")[2] for word in words.overrides if word.startswith("data=")]
    asked = [*words.positions, *named]
    if not asked:
        raise VERB.misused("no folder or dataset given")
    if len(asked) > 1:
        raise VERB.misused(f"{asked[1]}: one too many")
    name, folder = asked[0], Path(asked[0])
    expected = "expected a whole number; 0: decode in this process"
    workers = words.whole("workers", expected=expected) if "workers" in words.options else None
    to = Path(words.options["to"]) if "to" in words.options else None
    if to is not None and (to.is_dir() or not to.absolute().parent.is_dir() or to.suffix != ".csv"):
        raise ConfigError(f"to={to}: expected the name of a file that ends in .csv, in a folder that exists")
    overrides = [word for word in words.overrides if not word.startswith("data=")]
    is_folder = not named and (folder.is_dir() or is_table(name))
    for word in overrides:
        if is_folder or not word.startswith("data."):
            raise not_accepted(word, [*VERB.options, *([] if is_folder else ["data.KEY"])])
    if is_folder and (folder / HEADER).is_file():
        return _check_packed(name)
    with Progress() as progress:
        if is_folder:
            report = inspect_folder(folder, workers=workers, progress=progress)
        else:
            report = _inspect_named(name, bool(named), overrides, workers, progress)
    failure = None
    if to is not None:
        try:
            write_atomically(to, as_csv(report))
        except OSError as error:  # the report is printed all the same
            failure, to = RunError(f"to={to}: could not be written ({error.strerror})"), None
    print(as_json(report) if words.as_json else printable(as_text(report, to)))
    if failure is not None:
        raise failure
    return report.exit_code


def _check_packed(root: str) -> int:
    """Whether every byte of a packed dataset is the one that was written; the exit code."""
    wrong = verify(root)
    splits = ", ".join(f"{split.samples:,} {name}" for name, split in read_header(root).splits.items())
    print(f"{root}: packed, {splits}")
    print(printable("\n".join(f"  {line}" for line in wrong)) or "  every file is as it was written")
    return 1 if wrong else 0


def _inspect_named(
    name: str, is_dataset: bool, overrides: Sequence[str], workers: int | None, progress: Progress
) -> Report:
    """Of a dataset in conf/data: the folder that it reads, or what it holds in memory."""
    names = list(members("data"))
    if name not in names:
        what = "unknown dataset" if is_dataset else "no such folder or dataset"
        if not is_dataset and Path(name).exists():
            what = "is a file, not a folder"
        raise VERB.misused(f"{name}: {what}{nearest(name, names)} Datasets: {', '.join(names)}")
    from convarium.config.compose import Conf
    from convarium.config.instantiate import build
    from convarium.config.overrides import readable
    from convarium.config.targets import find_target
    from convarium.data.datasets.folder import FolderImages

    words = readable([f"data={name}", *overrides])
    conf = Conf()
    with conf.explained(words):
        # not composed as a whole: facts that a yaml reads off a folder's pictures fail where one of them is bad
        node = conf.merge(words)["data"]
        kind = find_target({"_target_": node["_target_"]}, "data")
        root = str(node["root"]) if issubclass(kind, FolderImages) else None
    if root is None:
        config = conf.compose(words, to_train=False).config
        return inspect_dataset(build(config["data"], "data"), name, progress=progress)
    folder = Path(root)
    if not is_table(root) and not folder.is_dir():
        raise ConfigError(f"data.root={root}: no such folder")
    return inspect_folder(folder, workers=workers, progress=progress)


VERB = Verb(
    name="data check",
    meaning="list bad files, pictures in two splits, classes and sizes",
    run=run,
    positions="ROOT|TABLE.csv|NAME",
    options={
        "workers": Option("how many processes decode; 0: this one alone; as many as there are cores if not given"),
        "format": FORMAT,
        "to": Option("a .csv file that gets every line of the report"),
    },
    overrides="data=NAME, and keys of data for a dataset of conf/data",
    example="convarium data check PHOTOS to=report.csv",
    groups=("data",),
    offers=lambda: members("data"),
)
