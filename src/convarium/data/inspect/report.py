"""What a dataset looks like: its bad pictures, those it has twice, its classes and sizes. No torch for a folder."""

import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convarium.data.image_files.listing import is_table
from convarium.data.inspect.file import FileReport, digest
from convarium.data.inspect.tree import SPLITS, Issue, Place, Tree, find, find_table
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


@dataclass
class Report:
    """What a dataset looks like."""

    name: str
    pictures: int
    """Those that do not decode included, here and in `classes`."""
    bytes: int
    seconds: float
    workers: int
    bad: list[Issue]
    notes: list[Issue]
    same: list[Same]
    """Those in several splits first, then those in several classes."""
    classes: dict[str, dict[str, int]]
    """Pictures by split ("": no splits) and class; a class of another split, or an empty folder, counts 0."""
    widths: NDArray[np.uint32]
    """Of those that decode."""
    heights: NDArray[np.uint32]
    modes: Counter[str]
    """Pillow's modes."""
    others: Counter[str]
    """Files that are no pictures, by suffix."""

    @property
    def across(self) -> list[Same]:
        """The same picture in several splits: what is learned from one is tested on another."""
        return [same for same in self.same if len(same.splits) > 1]

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
        return 1 if self.bad or self.across or any(note.kind == "in two splits" for note in self.notes) else 0


class Rows:
    """A row for each picture, 30 bytes long and a little for its name: no pixels are kept."""

    def __init__(self, number: int) -> None:
        self._digests = bytearray(16 * number)
        self._widths = array("I", bytes(4 * number))
        self._heights = array("I", bytes(4 * number))
        self.bytes = 0
        self.modes: Counter[str] = Counter()

    def set(self, number: int, file: FileReport) -> None:
        self.bytes += file.stored
        if not file.bad:
            self._digests[16 * number : 16 * number + 16] = file.digest
            self._widths[number], self._heights[number] = file.width, file.height
            self.modes[file.mode] += 1

    @property
    def decoded(self) -> NDArray[np.int64]:
        """The numbers of the pictures that decode."""
        return np.flatnonzero(np.frombuffer(self._widths, np.uint32))

    def sizes(self) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """Widths and heights of the pictures that decode."""
        decoded = self.decoded
        return np.frombuffer(self._widths, np.uint32)[decoded], np.frombuffer(self._heights, np.uint32)[decoded]

    def groups(self) -> Iterator[list[int]]:
        """The numbers of pictures with the same pixels, two or more in each group, by the first of each."""
        decoded = self.decoded
        halves = np.frombuffer(self._digests, np.uint64).reshape(-1, 2)[decoded]
        order = np.lexsort((decoded, halves[:, 1], halves[:, 0]))
        halves, numbers = halves[order], decoded[order]
        starts = np.flatnonzero((halves[1:] != halves[:-1]).any(axis=1)) + 1
        # the ends of the few groups of several, not a slice for every picture
        bounds = np.concatenate(([0], starts, [len(numbers)]))
        several = np.flatnonzero(np.diff(bounds) > 1)
        groups = [numbers[bounds[k] : bounds[k + 1]].tolist() for k in several]
        yield from sorted(groups)


def inspect_folder(root: Path, *, workers: int | None = None, progress: Progress) -> Report:
    """Find and decode every picture below a folder, or of a table of paths and labels.

    workers: processes that decode; None: one per core, fewer for a few files; 0: none but this one.
    Raises ConfigError if there is no picture.
    """
    began = time.perf_counter()
    progress.say("looking for pictures")
    try:
        tree = find_table(str(root)) if is_table(root) else find(str(root))
    except OSError as error:
        raise ConfigError(f"{root}: unreadable folder ({error.strerror})") from None
    if not tree.paths and not tree.bad:
        raise ConfigError(f"{root}: no pictures in this folder or below ({_none(tree)})")
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
    widths, heights = rows.sizes()
    return Report(
        name=str(root),
        pictures=len(tree.paths),
        bytes=rows.bytes,
        seconds=time.perf_counter() - began,
        workers=workers,
        bad=[*tree.bad, *(issue for _, issue in sorted(bad))],
        notes=[*_unread(tree), *_linked(tree), *(issue for _, issue in sorted(notes))],
        same=_same(rows, tree.paths.__getitem__, tree.places.__getitem__),
        classes=_counts(tree),
        widths=widths,
        heights=heights,
        modes=rows.modes,
        others=+tree.others,
    )


def inspect_dataset(data: "ImageData", name: str, *, progress: Progress) -> Report:
    """Go through every split of a dataset as training reads it; a picture is called SPLIT[number in the split]."""
    import torch

    began = time.perf_counter()
    progress.say(f"reading {name}")
    sources = {split: source for split in SPLITS if (source := data.read(split)) is not None}
    firsts = np.cumsum([0, *map(len, sources.values())])
    total = int(firsts[-1])
    rows = Rows(total)
    progress.begin(total, "pictures")
    for split, first in zip(sources, firsts.tolist(), strict=False):
        source = sources[split]
        for start in range(0, len(source), 256):
            part = torch.arange(start, min(start + 256, len(source)))
            images, part = source.fetch(part)
            height, width = images.shape[-2:]
            for number, image in zip(part.tolist(), images.numpy(), strict=True):
                pixels = image.tobytes()
                mode = "L" if len(image) == 1 else "RGB"
                file = FileReport(len(pixels), width, height, mode, digest(pixels, width, height))
                rows.set(first + number, file)
                progress.advance()
    names = data.class_names if data.num_classes > 1 else ["0", "1"]
    targets = np.concatenate([source.targets.numpy() for source in sources.values()])
    splits = list(sources)

    def split_of(number: int) -> int:
        return int(np.searchsorted(firsts, number, side="right")) - 1

    widths, heights = rows.sizes()
    return Report(
        name=name,
        pictures=total,
        bytes=rows.bytes,
        seconds=time.perf_counter() - began,
        workers=0,
        bad=[],
        notes=[],
        same=_same(
            rows,
            lambda number: f"{splits[split_of(number)]}[{number - firsts[split_of(number)]}]",
            lambda number: Place(splits[split_of(number)], names[targets[number]]),
        ),
        classes={
            split: dict(zip(names, np.bincount(source.targets, minlength=len(names)).tolist(), strict=True))
            for split, source in sources.items()
        },
        widths=widths,
        heights=heights,
        modes=rows.modes,
        others=Counter(),
    )


def _same(rows: Rows, path: Callable[[int], str], place: Callable[[int], Place]) -> list[Same]:
    groups = []
    for group in rows.groups():
        places = [place(number) for number in group]
        splits = tuple(dict.fromkeys(place.split for place in places if place.split))
        labels = tuple(dict.fromkeys(place.label for place in places if place.label))
        groups.append(Same(tuple(path(number) for number in group), splits, labels))
    return sorted(groups, key=lambda same: (len(same.splits) < 2, len(same.classes) < 2))


def _counts(tree: Tree) -> dict[str, dict[str, int]]:
    """A class of one split is looked for in all."""
    every = sorted({label for labels in tree.labels.values() for label in labels})
    pictures = Counter(tree.places)
    return {split: {label: pictures[Place(split, label)] for label in every} for split in tree.labels}


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
        if mine.split != its.split and mine.split and its.split:
            kind = "in two splits"
        elif mine.label != its.label and mine.label and its.label:
            kind = "in two classes"
        issues.append(Issue(kind, folder, f"is the folder {other or '.'}"))
    return issues


def _none(tree: Tree) -> str:
    others = ", ".join(f"{count:,} {suffix}" for suffix, count in (+tree.others).most_common(5))
    return f"there are: {others}" if others else "it is empty"
