"""`convarium data fetch NAME...`: download datasets, or unpack them from archives."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from convarium.commands.words import Option, Verb, Words
from convarium.config.catalog import members
from convarium.errors import ConfigError, MissingData
from convarium.wording import nearest


def run(words: Words) -> None:
    """Fetch every dataset that is not here yet, and print where it is."""
    known = list(members("data"))
    if not words.positions:
        raise VERB.misused(f"no dataset given. One of: {', '.join(known)}")
    for name in words.positions:
        if name not in known:
            raise ConfigError(f"{name}: unknown dataset{nearest(name, known)} One of: {', '.join(known)}")
    for name in words.positions:
        print(f"{name}: {_fetch(name, words.options.get('from'), words.overrides)}")


def _fetch(name: str, archives: str | None, overrides: list[str]) -> str:
    """Fetch a dataset; what became of it."""
    from convarium.config.compose import Conf
    from convarium.config.instantiate import build
    from convarium.data.datasets.imagenet import OfficialFolders
    from convarium.data.module import ImageData

    files = [] if archives is None else _files_of(archives)
    config = Conf().compose([f"data={name}", *overrides], to_train=False).config
    data: ImageData = build(config["data"], "data")
    if isinstance(data, OfficialFolders):
        root = Path(data.root)
        with _no_empty_folders_of(root):
            made = data.prepare(files)
        return f"{'; '.join(made)}, in {root}" if made else f"is in {root}"
    if files:
        raise ConfigError(f"from={archives}: data={name} is not made from archives on this disk")
    if type(data).fetch is ImageData.fetch:
        return "nothing to fetch, it is shipped with the package or made"
    root = Path(config["data"]["root"])
    try:
        there = data.read("train") is not None and data.read("test") is not None
    except MissingData:
        there = False
    if not there:
        with _no_empty_folders_of(root):
            data.fetch()
    return f"{'is in' if there else 'fetched to'} {root}"


def _files_of(words: str) -> list[Path]:
    """`FILE`, `A,B` or `[A,B]`."""
    several = words.strip().removeprefix("[").removesuffix("]").split(",")
    names = [words] if Path(words).exists() else several
    paths = [Path(name.strip()) for name in names if name.strip()]
    if not paths:
        raise ConfigError("from: must name an archive, several as from=[A,B], or the folder that holds them")
    return paths


@contextmanager
def _no_empty_folders_of(root: Path) -> Iterator[None]:
    """If the block raises, remove the folders that were not there before it and hold no file."""
    new = [folder for folder in (root, *root.parents) if not folder.exists()]
    try:
        yield
    except BaseException:
        if new:
            inside = sorted((path for path in root.rglob("*") if path.is_dir()), reverse=True)
            for folder in (*inside, *new):
                with suppress(OSError):
                    folder.rmdir()
        raise


VERB = Verb(
    name="data fetch",
    meaning="download datasets, or unpack them from archives",
    run=run,
    positions="NAME...",
    options={"from": Option("the archives: FILE, [FILE,FILE], or the folder that holds them")},
    overrides="keys of data, such as data.root=FOLDER",
    example="convarium data fetch imagenet from=DOWNLOADS",
    groups=("data",),
    offers=lambda: members("data"),
)
