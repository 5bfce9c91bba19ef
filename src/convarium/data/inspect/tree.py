"""Which pictures there are below a folder, or in a table, and what is wrong before one is opened. No torch here."""

import os
import stat
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import NamedTuple

from convarium.data.image_files.listing import SUFFIXES, listing, split_folders, splits_named
from convarium.data.image_files.tables import SPLITS, splits_of


class Issue(NamedTuple):
    """Something that a person should know of a file or folder."""

    kind: str
    path: str
    detail: str


class Place(NamedTuple):
    """What a file's folders say of it; "" where they say nothing."""

    split: str
    label: str


@dataclass
class Tree:
    """The pictures below a folder, not yet opened."""

    root: str
    splits: dict[str, str] = field(default_factory=dict)
    """Of each folder of a split, which it is; none if there is one set of class folders, or of pictures."""
    paths: list[str] = field(default_factory=list)  # relative to the root
    places: list[Place] = field(default_factory=list)  # of each path
    labels: dict[str, list[str]] = field(default_factory=dict)
    """The class folders of each split, with or without pictures."""
    others: Counter[str] = field(default_factory=Counter)  # how many files are no pictures, by suffix
    bad: list[Issue] = field(default_factory=list)
    shared: list[tuple[str, str]] = field(default_factory=list)
    """Folders that are links to one already visited: theirs, and the other's."""

    def place(self, folder: str) -> Place:
        """What a folder, relative to the root, says of the pictures in it."""
        parts = [*folder.split("/"), ""] if folder else ["", ""]
        if not self.splits:
            return Place("", parts[0])
        return Place(self.splits[parts[0]], parts[1]) if parts[0] in self.splits else Place("", "")


def find(root: str) -> Tree:
    """Every picture below `root`, as training finds them, each real directory once; links are followed last."""
    tree = Tree(root)
    with os.scandir(root) as entries:
        names = {entry.name for entry in entries if not entry.name.startswith(".") and os.path.isdir(entry.path)}
    found = splits_named(root, names)
    if "train" not in found:
        split_folders(root)  # refuses a split beside class folders; beside train they are noted one by one
    tree.splits = {folder: split for split, folder in found.items()}
    tree.labels = {split: [] for split in tree.splits.values() or ("",)}
    folders, links = [""], deque[str]()
    seen: dict[tuple[int, int], str] = {}
    while folders or links:
        _visit(tree, folders.pop() if folders else links.popleft(), seen, folders, links)
    for folder, _ in tree.shared:
        if folder in tree.splits:  # a split that is a link to another has no classes of its own
            tree.labels.pop(tree.splits[folder], None)
    for labels in tree.labels.values():
        labels.sort()
    if not tree.splits and not tree.labels[""]:
        del tree.labels[""]  # pictures without classes
    return tree


def find_table(table: str) -> Tree:
    """The pictures that a table of paths and labels names. Raises ConfigError for a line that is not right."""
    there = splits_of(table)
    splits = {split: files for split in SPLITS if split in there and (files := listing(table, split)) is not None}
    tree = Tree(os.path.dirname(os.path.abspath(table)), {split: split for split in splits} if len(splits) > 1 else {})
    for split, files in splits.items():
        called = split if tree.splits else ""
        tree.labels[called] = list(files.classes)
        tree.paths += [os.path.relpath(path, tree.root) for path in files.paths]
        tree.places += [Place(called, files.classes[target]) for target in files.targets]
    return tree


def _visit(tree: Tree, folder: str, seen: dict[tuple[int, int], str], folders: list[str], links: deque[str]) -> None:
    """One folder's pictures; its folders are left for later."""
    here = os.path.join(tree.root, folder)
    try:
        status = os.stat(here)
        known = seen.setdefault((status.st_dev, status.st_ino), folder)
        if known != folder:
            tree.shared.append((folder, known))
            return
        with os.scandir(here) as entries:
            # training first, so that the copy elsewhere is named after its original
            ranks = {} if folder else {name: rank for rank, name in enumerate(tree.splits)}
            listed = sorted(entries, key=lambda entry: (ranks.get(entry.name, len(ranks)), entry.name))
    except OSError as error:
        tree.bad.append(Issue("bad", folder, f"unreadable folder: {error.strerror}"))
        return
    depth = folder.count("/") + 1 if folder else 0
    place = tree.place(folder)
    if place.label and depth == (2 if tree.splits else 1):
        tree.labels[place.split].append(place.label)
    below: list[str] = []
    for entry in listed:
        path = f"{folder}/{entry.name}" if folder else entry.name
        hidden = entry.name.startswith(".")
        try:
            is_folder = stat.S_ISDIR(entry.stat().st_mode) if entry.is_symlink() else entry.is_dir()
        except OSError as error:  # of a link
            if not hidden:
                tree.bad.append(Issue("bad", path, _link_error(entry.path, error)))
            continue
        if is_folder:
            if hidden and not place.label:
                continue  # training takes no hidden folder for a class, but goes into those below one
            if not entry.is_symlink():
                below.append(path)
            elif os.path.commonpath([target := os.path.realpath(entry.path), os.path.realpath(here)]) == target:
                tree.bad.append(Issue("bad", path, f"link loop: leads back to {target}"))
            else:
                links.append(path)
        elif hidden or os.path.splitext(entry.name)[1].lower() not in SUFFIXES:
            tree.others[os.path.splitext(entry.name)[1].lower() or "no suffix"] += not hidden
        else:
            tree.paths.append(path)
            tree.places.append(place)
    folders += reversed(below)


def _link_error(path: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"broken link to {os.readlink(path)}"
    why = os.strerror(error.errno) if error.errno else str(error)
    return "link loop: leads back to itself" if "symbolic links" in why else f"unreadable: {why}"
