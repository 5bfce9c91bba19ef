"""Which image files a split has, and of which class each is: from class folders, or from a table of paths and labels.

No torch here: a config asks for the classes when it is composed.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path

from convarium.data.image_files import tables
from convarium.data.image_files.tables import Listing, shortened, split_called, text_of
from convarium.errors import ConfigError
from convarium.files import NO_FILE

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"))
"""What we take for an image file in a folder; a table may name any."""


ACCEPTED = f"a folder of class folders of images, or a table of paths and labels ({' or '.join(tables.SUFFIXES)})"


def listing(
    root: str | Path, split: str, classes: Sequence[str] | None = None, *, some: bool = False
) -> Listing | None:
    """The files of train, val or test in a fixed order; None if there is no such split.

    root: root/{train,val,test}/CLASS/*, however these are spelled (`split_called`), or root/CLASS/* alone, which is
    train; a folder `split` with a file `split`_annotations.txt (image, class folder, ...) has its images in
    `split`/images. Or a table, .csv or .tsv: path,label or path,label,split, with or without a line of these names;
    paths are relative to the table's folder.
    classes: the labels in the order of the class numbers; None: those of train, sorted.
    some: whether the split may lack some of the classes.

    Raises ConfigError, naming the file, line and value, for whatever is not as it should be. A file that cannot be
    read as an image is not opened here.
    """
    if is_table(root):
        return tables.listed(Path(root).expanduser(), split, classes)
    folder = split_folder(root, split, classes or ())
    if folder is None and split == "train":
        there = " and ".join(folder.name for folder in split_folders(root).values())
        raise ConfigError(f"data.root={root}: has {there} but no folder train")
    if folder is None:
        return None
    expected = class_folders(root) if classes is None else list(classes)
    annotations = folder / f"{split}_annotations.txt"
    if annotations.is_file():
        return _listed_by_annotations(root, annotations, expected)
    folders = set(class_folders(root, split, expected))
    more, less = sorted(folders - set(expected)), sorted(set(expected) - folders)
    if more or (less and not some):
        differences = [f"only in {split}: {shortened(more)}"] if more else []
        differences += [f"missing there: {shortened(less)}"] if less else []
        against = "those expected" if split == "train" else "train's"
        differences += [] if split == "train" else [f"accepted: the same, or no folder {folder.name}"]
        raise ConfigError(f"data.root={root}: the classes of {split} differ from {against}; {'; '.join(differences)}")
    odd: dict[str, str] = {}
    found = Listing([], [], expected, odd)
    for number, name in enumerate(expected):
        if name in less:
            continue
        files = list(_walk(folder / name))
        if not files:
            raise ConfigError(f"data.root={root}: no images in class folder {folder / name}")
        found.paths.extend(file.path for file in files)
        found.targets.extend([number] * len(files))
        odd.update((file.path, why) for file in files if (why := _oddity(file)))
    return found


def class_names(root: str | Path, num_classes: int | None = None) -> list[str]:
    """The labels of train in the order of the class numbers: names sorted, or the numbers as they are.
    num_classes: how many numbers there are; None: up to the largest in the table, each of which must occur."""
    return tables.classes_of(Path(root).expanduser(), num_classes) if is_table(root) else class_folders(root)


def is_table(root: str | Path) -> bool:
    """Whether `root` is a table of paths and labels. Raises ConfigError for any other file."""
    path = Path(root).expanduser()
    if path.suffix.lower() in tables.SUFFIXES and not path.is_dir():
        if path.is_file():
            return True
        raise ConfigError(f"data.root={root}: no such file")
    if path.is_file():
        raise ConfigError(f"data.root={root}: a file; accepted: {ACCEPTED}")
    return False


def splits_named(root: str | Path, names: Iterable[str]) -> dict[str, str]:
    """What train, val and test are called among names. Raises ConfigError where two look like the same split."""
    found: dict[str, str] = {}
    for name in sorted(names):
        split = split_called(name)
        if split is not None and found.setdefault(split, name) != name:
            raise ConfigError(f"data.root={root}: {found[split]} and {name} both look like the split {split}; keep one")
    if found and (unclear := [name for name in names if name.casefold() in ("eval", "evaluation")]):
        raise ConfigError(f"data.root={root}: {unclear[0]} may be either; accepted: a folder val or test")
    return {split: found[split] for split in tables.SPLITS if split in found}


def split_folders(root: str | Path, classes: Iterable[str] = ()) -> dict[str, Path]:
    """The folder of each split that a root has; none if its folders are classes.

    classes: what is known to be a class, whatever it is called. Raises ConfigError for a split beside class folders:
    one or the other would not be read.
    """
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"data.root={root}: no such folder; accepted: {ACCEPTED}")
    names = {entry.name for entry in _entries(str(folder)) if _is_folder(entry)}
    if names <= set(classes):
        return {}
    found = splits_named(root, names)
    beside = sorted(names - set(found.values()))
    if "train" in found:  # what is beside it may be notes or labels
        beside = [name for name in beside if any(map(_is_image, _entries(str(folder / name))))]
    if found and beside:
        raise ConfigError(
            f"data.root={root}: {shortened(list(found.values()))} named like a split beside {shortened(beside)} with"
            " the images of a class; accepted: folders of splits alone, or of classes (which a table may name freely)"
        )
    return {split: folder / name for split, name in found.items()}


def split_folder(root: str | Path, split: str, classes: Iterable[str] = ()) -> Path | None:
    """The folder of class folders of train, val or test; None if there is no such split.
    A root whose folders are classes is itself the training split."""
    folders = split_folders(root, classes)
    return folders.get(split) if folders else Path(root).expanduser() if split == "train" else None


def describing_folder(root: str | Path) -> Path:
    """The folder whose folders say which classes there are: train, or what there is in its place."""
    return next(iter(split_folders(root).values()), Path(root).expanduser())


def is_undivided(root: str | Path, classes: Iterable[str] = ()) -> bool:
    """Whether a folder or table has no splits."""
    return tables.splits_of(root) == {"train"} if is_table(root) else not split_folders(root, classes)


def class_folders(root: str | Path, split: str | None = None, classes: Iterable[str] = ()) -> list[str]:
    """The names of a split's class folders, sorted; a hidden folder is none. Raises ConfigError if there are none.
    split: None: train, or what there is in its place."""
    folder = describing_folder(root) if split is None else split_folder(root, split, classes)
    assert folder is not None
    names = sorted(entry.name for entry in _entries(str(folder)) if _is_folder(entry))
    if not names:
        unlabelled = "" if split in (None, "train") else f"; unlabelled images are of no use there: move {folder} away"
        raise ConfigError(
            f"data.root={root}: no class folders in {folder}; expected one folder of images per class{unlabelled}"
        )
    return names


def walk(folder: str | Path) -> Iterator[str]:
    """The images below a folder in the order of reading: its own sorted by name, then those of its folders, sorted.
    Links are followed, but each folder is visited once and none above the first, so that a loop of links ends. Hidden
    files and folders are left out. Raises ConfigError for a folder that cannot be opened."""
    return (file.path for file in _walk(folder))


def _walk(folder: str | Path) -> Iterator[os.DirEntry[str]]:
    seen = {_identity(parent) for path in (Path(folder).absolute(), Path(folder).resolve()) for parent in path.parents}
    waiting = [os.fspath(folder)]
    while waiting:
        place = waiting.pop()
        identity = _identity(place)
        if identity in seen:
            continue
        seen.add(identity)
        files, folders = [], []
        for entry in _entries(place):
            if _is_folder(entry):
                folders.append(entry.path)
            elif _is_image(entry):
                files.append(entry)
        yield from sorted(files, key=attrgetter("path"))
        waiting += sorted(folders, reverse=True)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """What is in a folder, hidden things left out."""
    with _naming(folder), os.scandir(folder) as entries:
        return [entry for entry in entries if not entry.name.startswith(".")]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()  # which fails for a link to itself


def _is_image(entry: os.DirEntry[str]) -> bool:
    return os.path.splitext(entry.name)[1].lower() in SUFFIXES


def _oddity(entry: os.DirEntry[str]) -> str:
    """Why a name in a folder is none of a file; "" if it is. Only links have to be looked up."""
    try:
        if entry.is_file():
            return ""
        entry.stat()
    except OSError as error:
        return f"a link that leads nowhere: {error.strerror}" if entry.is_symlink() else str(error.strerror)
    return NO_FILE


def _identity(folder: str | Path) -> tuple[int, int]:
    with _naming(folder):
        status = os.stat(folder)
        return status.st_dev, status.st_ino


@contextmanager
def _naming(folder: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{folder}: cannot list this folder ({error.strerror})") from None


def _listed_by_annotations(root: str | Path, annotations: Path, classes: list[str]) -> Listing:
    """Tiny ImageNet's validation split: lines of image, class folder and a box, separated by tabs."""
    numbers = {name: number for number, name in enumerate(classes)}
    folder = annotations.with_name("images")
    if not folder.is_dir():
        raise ConfigError(f"data.root={root}: no folder {folder} beside {annotations.name}")
    there = {entry.name for entry in _entries(str(folder))}
    paths, targets = [], []
    for line, text in enumerate(text_of(annotations).splitlines(), start=1):
        name, label, *_ = [*text.split("\t"), "", ""]
        if label not in numbers:
            raise ConfigError(f"{annotations} line {line}: {label or repr(text)}: not a class folder of train")
        if name not in there:
            raise ConfigError(f"{annotations} line {line}: no such file {folder / name}")
        paths.append(str(folder / name))
        targets.append(numbers[label])
    if not paths:
        raise ConfigError(f"{annotations}: no lines; expected an image and its class folder in each")
    return Listing(paths, targets, classes)
