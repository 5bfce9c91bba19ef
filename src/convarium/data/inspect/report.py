"""What a dataset looks like: its bad pictures, those it has twice, its classes and sizes. No torch for a folder."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convarium.data.image_files.listing import is_table
from convarium.data.image_files.tables import SPLITS
from convarium.data.inspect.file import FileReport, digest
from convarium.data.inspect.tree import Issue, Place, Tree, find, find_table
from convarium.data.inspect.workers import CHUNK, inspect_files
from convarium.errors import ConfigError
from convarium.machine import cores
from convarium.progress_bar import Progress

if TYPE_CHECKING:
    from convarium.data.module import ImageData


class Same(NamedTuple):
    """Pictures with the same pixels."""

    paths: tuple[str, ...]
    splits: tuple[str, ...]
    """The different ones, "" left out."""
    classes: tuple[str, ...]
    firsts: tuple[str, ...]
    """The first path in each split."""

    @property
    def kind(self) -> str:
        if len(self.splits) > 1:
            return "in two splits"
        return "in two classes" if len(self.classes) > 1 else "twice"


@dataclass
class Report:
    """What a dataset looks like."""

    name: str
    pictures: int  # those that do not decode included, here and in `classes`
    bytes: int
    seconds: float
    workers: int
    bad: list[Issue]
    notes: list[Issue]
    same: list[Same]  # those in several splits first, then those in several classes
    classes: dict[str, dict[str, int]]
    """Pictures by split ("": no splits) and class; a class of another split, or an empty folder, counts 0."""
    widths: NDArray[np.uint32]  # of those that decode
    heights: NDArray[np.uint32]
    modes: Counter[str]  # Pillow's modes
    others: Counter[str]  # files that are no pictures, by suffix

    @property
    def across(self) -> int:
        """How often a picture is in several splits: what is learned from one is tested on another."""
        return [*(same.kind for same in self.same), *(note.kind for note in self.notes)].count("in two splits")

    @property
    def lacking(self) -> list[Issue]:
        """Classes without a picture in a split."""
        return [
            Issue("no pictures", f"{split}/{label}" if split else label, "a class without pictures")
            for split, labels in self.classes.items()
            for label, count in labels.items()
            if count == 0
        ]

    @property
    def exit_code(self) -> int:
        """1: some file is bad, or a picture is in several splits."""
        return 1 if self.bad or self.across else 0


class Rows:
    """A row for each picture, 24 bytes long and a little for its name: no pixels are kept."""

    def __init__(self, number: int) -> None:
        self.table = np.zeros(number, [("digest", np.uint64, 2), ("width", np.uint32), ("height", np.uint32)])
        self.bytes = 0
        self.modes: Counter[str] = Counter()
        self._began = time.perf_counter()

    def set(self, number: int, file: FileReport) -> None:
        self.bytes += file.stored
        if not file.bad:
            self.table[number] = np.frombuffer(file.digest, np.uint64), file.width, file.height
            self.modes[file.mode] += 1

    def report(self, paths: Sequence[str], places: Sequence[Place], **rest: Any) -> Report:
        """The report, given what the pictures are called, where they belong, and what is not in the rows."""
        groups = []
        for group in self._same():
            named = zip(*(places[number] for number in group), strict=True)
            splits, labels = (tuple(dict.fromkeys(filter(None, names))) for names in named)
            firsts = {places[number].split: paths[number] for number in reversed(group)}
            groups.append(Same(tuple(map(paths.__getitem__, group)), splits, labels, tuple(firsts.values())))
        decoded = self.table[self.table["width"] > 0]
        return Report(
            pictures=len(self.table),
            bytes=self.bytes,
            seconds=time.perf_counter() - self._began,
            same=sorted(groups, key=lambda same: (len(same.splits) < 2, len(same.classes) < 2)),
            widths=decoded["width"],
            heights=decoded["height"],
            modes=self.modes,
            **rest,
        )

    def _same(self) -> list[list[int]]:
        """The numbers of pictures with the same pixels, two or more in each group, by the first of each."""
        numbers = np.flatnonzero(self.table["width"])
        digests = self.table["digest"][numbers]
        order = np.lexsort((numbers, digests[:, 1], digests[:, 0]))
        digests, numbers = digests[order], numbers[order]
        starts = np.flatnonzero((digests[1:] != digests[:-1]).any(axis=1)) + 1
        # the ends of the few groups of several, not a slice for every picture
        bounds = np.concatenate(([0], starts, [len(numbers)]))
        several = np.flatnonzero(np.diff(bounds) > 1)
        return sorted(numbers[bounds[k] : bounds[k + 1]].tolist() for k in several)


def inspect_folder(root: Path, *, workers: int | None = None, progress: Progress) -> Report:
    """Find and decode every picture below a folder, or of a table of paths and labels.

    workers: processes that decode; None: one per core, fewer for a few files; 0: none but this one.
    Raises ConfigError if there is no picture.
    """
    progress.say("looking for pictures")
    try:
        tree = find_table(str(root)) if is_table(root) else find(str(root))
    except OSError as error:
        raise ConfigError(f"{root}: unreadable folder ({error.strerror})") from None
    if not tree.paths and not tree.bad:
        others = ", ".join(f"{count:,} {suffix}" for suffix, count in (+tree.others).most_common(5))
        what = f"there are: {others}" if others else "it is empty"
        raise ConfigError(f"{root}: no pictures in this folder or below ({what})")
    if workers is None:
        workers = max(1, min(cores(), len(tree.paths) // CHUNK))
    rows = Rows(len(tree.paths))
    bad, notes = [], []
    progress.begin(len(tree.paths), "pictures")
    with closing(inspect_files(tree.root, tree.paths, workers)) as results:
        for number, file in results:
            rows.set(number, file)
            if file.bad:
                bad.append((number, Issue("bad", tree.paths[number], file.bad)))
            notes += [(number, Issue(kind, tree.paths[number], detail)) for kind, detail in file.notes]
            progress.advance(note=f"{len(bad) + len(tree.bad):,} bad")
    return rows.report(
        tree.paths,
        tree.places,
        name=str(root),
        workers=workers,
        bad=[*tree.bad, *(issue for _, issue in sorted(bad))],
        notes=[*_unread(tree), *_linked(tree), *(issue for _, issue in sorted(notes))],
        classes=_counts(tree.labels, sorted(set().union(*tree.labels.values())), tree.places),
        others=+tree.others,
    )


def inspect_dataset(data: "ImageData", name: str, *, progress: Progress) -> Report:
    """Go through every split of a dataset as training reads it; a picture is called SPLIT[number in the split]."""
    import torch

    progress.say(f"reading {name}")
    sources = {split: source for split in SPLITS if (source := data.read(split)) is not None}
    names = data.class_names
    total = sum(map(len, sources.values()))
    rows = Rows(total)
    progress.begin(total, "pictures")
    paths: list[str] = []
    places: list[Place] = []
    for split, source in sources.items():
        first = len(paths)
        paths += [f"{split}[{number}]" for number in range(len(source))]
        places += [Place(split, names[target]) for target in source.targets.tolist()]
        for part in torch.arange(len(source)).split(256):  # type: ignore[no-untyped-call]
            images, part = source.fetch(part)
            height, width = images.shape[-2:]
            for number, image in zip(part.tolist(), images.numpy(), strict=True):
                pixels, mode = image.tobytes(), "L" if len(image) == 1 else "RGB"
                file = FileReport(len(pixels), width, height, mode, digest(pixels, width, height))
                rows.set(first + number, file)
                progress.advance()
    classes = _counts(sources, names, places)
    return rows.report(paths, places, name=name, workers=0, bad=[], notes=[], classes=classes, others=Counter())


def _counts(splits: Iterable[str], classes: Iterable[str], places: Sequence[Place]) -> dict[str, dict[str, int]]:
    """Pictures by split and class."""
    pictures = Counter(places)
    return {split: {label: pictures[Place(split, label)] for label in classes} for split in splits}


def _unread(tree: Tree) -> list[Issue]:
    """Pictures that training does not read, because of where they lie."""
    if not tree.labels:
        return []
    return [
        Issue("not read", path, "in no class folder" if place.split or not tree.splits else "in none of the splits")
        for path, place in zip(tree.paths, tree.places, strict=True)
        if not place.label
    ]


def _linked(tree: Tree) -> list[Issue]:
    issues = []
    for folder, other in tree.shared:
        mine, its = tree.place(folder), tree.place(other)
        kind = "linked folder"
        for parts, one, two in (("classes", mine.label, its.label), ("splits", mine.split, its.split)):
            kind = f"in two {parts}" if one and two and one != two else kind
        issues.append(Issue(kind, folder, f"is the folder {other or '.'}"))
    return issues
