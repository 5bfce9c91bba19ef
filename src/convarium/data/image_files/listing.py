"""Which image files a split has, and of which class each is: from class folders, or from a table of paths and labels.

No torch here: a config asks for the classes when it is composed.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from convarium.data.image_files import tables
from convarium.data.image_files.tables import Listing, shortened, text_of
from convarium.errors import ConfigError

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"))
"""What we take for an image file in a folder; a table may name any."""


ACCEPTED = f"a folder of class folders of images, or a table of paths and labels ({' or '.join(tables.SUFFIXES)})"


def listing(root: str | Path, split: str, classes: Sequence[str] | None = None) -> Listing | None:
    """The files of train, val or test in a fixed order; None if there is no such split.

    root: root/{train,val,test}/CLASS/*, or root/CLASS/* alone, which is train; a folder `split` with a file
    `split`_annotations.txt (image, class folder, ...) has its images in `split`/images. Or a table, .csv or .tsv:
    path,label or path,label,split, with or without a line of these names; paths are relative to the table's folder.
    classes: the labels in the order of the class numbers; None: those of train, sorted.

    Raises ConfigError, naming the file, line and value, for whatever is not as it should be. A file that cannot be
    read as an image is not opened here.
    """
    if is_table(root):
        return tables.listed(Path(root).expanduser(), split, classes)
    folder = split_folder(root, split)
    if folder is None:
        return None
    expected = class_folders(root) if classes is None else list(classes)
    annotations = folder / f"{split}_annotations.txt"
    if annotations.is_file():
        return _listed_by_annotations(root, annotations, expected)
    folders = set(class_folders(root, split))
    if folders != set(expected):
        more, less = sorted(folders - set(expected)), sorted(set(expected) - folders)
        differences = [f"only in {split}: {shortened(more)}"] if more else []
        differences += [f"missing there: {shortened(less)}"] if less else []
        against = "those expected" if split == "train" else "train's"
        raise ConfigError(f"data.root={root}: the classes of {split} differ from {against}; {'; '.join(differences)}")
    found = Listing([], [], expected)
    for number, name in enumerate(expected):
        files = list(walk(folder / name))
        if not files:
            raise ConfigError(f"data.root={root}: no images in class folder {folder / name}")
        found.paths.extend(files)
        found.targets.extend([number] * len(files))
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


def split_folder(root: str | Path, split: str) -> Path | None:
    """The folder of class folders of train, val or test; None if there is no such split.
    A root without a folder `train` is itself the training split."""
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"data.root={root}: no such folder; accepted: {ACCEPTED}")
    if (folder / "train").is_dir():
        return folder / split if (folder / split).is_dir() else None
    return folder if split == "train" else None


def class_folders(root: str | Path, split: str = "train") -> list[str]:
    """The names of a split's class folders, sorted; a hidden folder is none. Raises ConfigError if there are none."""
    folder = split_folder(root, split)
    if folder is None:
        raise ConfigError(f"data.root={root}: has no folder {split}")
    names = sorted(entry.name for entry in _entries(str(folder)) if _is_folder(entry))
    if folder == Path(root).expanduser() and names and set(names) <= {"val", "test"}:
        raise ConfigError(f"data.root={root}: has {' and '.join(names)} but no folder train")
    if not names:
        raise ConfigError(f"data.root={root}: no class folders in {folder}; expected one folder of images per class")
    return names


def walk(folder: str | Path) -> Iterator[str]:
    """The images below a folder in the order of reading: its own sorted by name, then those of its folders, sorted.
    Links are followed, but each folder is visited once and none above the first, so that a loop of links ends. Hidden
    files and folders are left out. Raises ConfigError for a folder that cannot be opened."""
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
            elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
                files.append(entry.path)
        yield from sorted(files)
        waiting += sorted(folders, reverse=True)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """What is in a folder, hidden things left out."""
    with _naming(folder), os.scandir(folder) as entries:
        return [entry for entry in entries if not entry.name.startswith(".")]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()  # which fails for a link to itself


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
