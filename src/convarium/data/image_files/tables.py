"""A table of image files: path,label or path,label,split, with or without a line of these names. No torch here."""

import csv
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, NoReturn

from convarium.errors import ConfigError
from convarium.files import NO_FILE, read_regular
from convarium.wording import counted

SUFFIXES = (".csv", ".tsv")
SPLITS = ("train", "val", "test")
SPELLINGS = re.compile(
    "(?P<train>train|training)|(?P<val>val|valid|validation|dev)|(?P<test>test|testing|holdout|hold[-_ ]?out)"
)
"""What people call the splits, in any case; each may end in _set, _data, _images or _split."""
COLUMNS = ("path", "label", "split")
NUMBER = re.compile(r"-?[0-9]{1,9}")


def split_called(name: str) -> str | None:
    """Which of train, val and test a person means by a name; None if it is no name of a split."""
    plain = re.sub(r"[-_ ]?(set|data|images|split)$", "", name.strip().casefold())
    match = SPELLINGS.fullmatch(plain)
    return match.lastgroup if match else None


def described_files(root: str | Path) -> list[str]:
    """The files of a table's training split, in its order; of a table without one, all."""
    return [row.path for row in _described(_table(Path(root).expanduser())[0])]


def splits_of(root: str | Path) -> set[str]:
    """The splits that a table's rows are of."""
    return {row.split for row in _table(Path(root).expanduser())[0]}


class Listing(NamedTuple):
    """The files of a split; `targets` has one for each path, a place in `classes`."""

    paths: list[str]
    targets: list[int]
    classes: list[str]
    odd: Mapping[str, str] = {}
    """Why paths are known to be no files before one is opened: a pipe, a link that leads nowhere."""


class _Row(NamedTuple):
    line: int
    path: str
    label: str
    split: str


def listed(path: Path, split: str, classes: Sequence[str] | None) -> Listing | None:
    """The files of a split; None if no row is of it. See `listing`."""
    every, numbered = _table(path)
    if split == "train" and all(row.split != "train" for row in every):
        raise ConfigError(f"data.root={path}: no rows of split train")
    known = classes_of(path) if classes is None else list(classes)
    rows = [row for row in every if row.split == split]
    if not rows:
        return None
    if numbered:
        _check_range(path, rows, len(known))
        return Listing([row.path for row in rows], [int(row.label) for row in rows], known)
    numbers = {name: number for number, name in enumerate(known)}
    for row in rows:
        if row.label not in numbers:
            _refuse(path, row.line, f"label {row.label}: not among the {len(known)} classes {shortened(known)}")
    return Listing([row.path for row in rows], [numbers[row.label] for row in rows], known)


def classes_of(path: Path, num_classes: int | None = None) -> list[str]:
    """See `convarium.data.image_files.listing.class_names`."""
    rows, numbered = _table(path)
    if not numbered:
        return sorted({row.label for row in _described(rows)})
    if num_classes is not None:
        _check_range(path, rows, num_classes)
        return [str(number) for number in range(num_classes)] if num_classes > 1 else ["1"]
    used = {int(row.label) for row in rows}
    missing = next(number for number in range(len(used) + 1) if number not in used)
    if missing < max(used):
        raise ConfigError(
            f"data.root={path}: its labels are numbers up to {max(used)}, but {missing} does not occur; if that is"
            f" meant, set data.num_classes={max(used) + 1}"
        )
    return [str(number) for number in range(len(used))]


def _described(rows: Sequence[_Row]) -> Sequence[_Row]:
    """The rows that say which classes there are: those of train, or all where none is."""
    return [row for row in rows if row.split == "train"] or rows


def _check_range(path: Path, rows: Sequence[_Row], num_classes: int) -> None:
    highest = max(1, num_classes - 1)  # one class: binary data
    for row in rows:
        if int(row.label) > highest:
            _refuse(path, row.line, f"label {row.label}: out of range; accepted: 0 to {highest}, by data.num_classes")


def _table(path: Path) -> tuple[list[_Row], bool]:
    """The rows of a table, checked, and whether its labels are class numbers; read once until the file changes."""
    status = path.stat()
    return _read_table(path.absolute(), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=2)
def _read_table(path: Path, changed: int, size: int) -> tuple[list[_Row], bool]:
    rows = list(_rows(path))
    if not rows:
        raise ConfigError(f"data.root={path}: no rows")
    _check_repeats(path, rows)
    _check_files(path, rows)
    return rows, _are_numbers(path, rows)


def _rows(path: Path) -> Iterator[_Row]:
    text = text_of(path)
    head = "".join(text[:4096].lstrip().splitlines()[:1])
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if "\t" in head else ",", strict=True)
    base = os.path.abspath(path.parent)
    columns, places = 0, [0]
    try:
        for raw in reader:
            cells, line = [cell.strip() for cell in raw], reader.line_num
            if not any(cells):
                continue
            if not columns:
                names = [cell.lower() for cell in cells]
                named, columns = {"path", "label"} <= set(names), len(cells)
                if not named and columns not in (2, 3):
                    wanted = "path,label or path,label,split, or tabs for commas"
                    _refuse(path, line, f"{counted(len(cells), 'column')}; accepted: {wanted}")
                places = [names.index(name) for name in COLUMNS if name in names] if named else list(range(columns))
                if named:
                    continue
            if len(cells) != columns:
                _refuse(path, line, f"{counted(len(cells), 'column')}, but line 1 has {columns}")
            yield _row(path, base, line, *[cells[place] for place in places])
    except csv.Error as error:
        _refuse(path, reader.line_num, f"cannot be read ({error})")


def _row(table: Path, base: str, line: int, path: str, label: str, split: str = "train") -> _Row:
    if not path or "\0" in path:
        _refuse(table, line, "no path")
    if not label:
        _refuse(table, line, f"no label for {path}")
    if (meant := split_called(split)) is None:
        _refuse(table, line, f"split {split!r}: accepted: {', '.join(SPLITS)}")
    normal = os.path.normpath(path)
    if normal == ".." or normal.startswith((os.sep, f"..{os.sep}")) or os.path.isabs(path):
        _refuse(table, line, f"path {path}: outside the table's folder; accepted: paths relative to it")
    return _Row(line, f"{base.rstrip(os.sep)}{os.sep}{normal}", label, meant)


def _check_repeats(table: Path, rows: list[_Row]) -> None:
    first: dict[str, _Row] = {}
    for row in rows:
        before = first.setdefault(row.path, row)
        if before is not row:
            same = row.label == before.label
            mine, theirs = (row.split, before.split) if same else (row.label, before.label)
            twice = f"again after line {before.line}"
            differs = twice if mine == theirs else f"as {mine}, but in line {before.line} as {theirs}"
            _refuse(table, row.line, f"path {_shown(table, row)}: listed {differs}")


def _check_files(table: Path, rows: list[_Row]) -> None:
    """Each file is there, and really below the table's folder; a folder is listed once, for a look at each of a
    million files takes long."""
    base = os.path.realpath(table.parent)
    listed: dict[str, dict[str, os.DirEntry[str]]] = {}
    for row in rows:
        folder, _, name = row.path.rpartition(os.sep)
        if folder not in listed:
            if not _is_below(os.path.realpath(folder), base):
                _refuse(table, row.line, f"path {_shown(table, row)}: a link leads outside the table's folder")
            listed[folder] = {}
            try:
                with os.scandir(folder) as entries:
                    listed[folder] = {entry.name: entry for entry in entries}
            except (FileNotFoundError, NotADirectoryError):
                pass
            except OSError as error:
                _refuse(table, row.line, f"path {_shown(table, row)}: {error.strerror}")
        entry = listed[folder].get(name)
        # a file system that ignores case, or writes accents in another way, opens names that it does not list
        plain = entry is not None and entry.is_file(follow_symlinks=False)
        if not (plain or os.path.isfile(row.path)):
            why = f"{row.path}: {NO_FILE}" if os.path.exists(row.path) else f"no such file {row.path}"
            _refuse(table, row.line, why)
        if not (plain or _is_below(os.path.realpath(row.path), base)):
            _refuse(table, row.line, f"path {_shown(table, row)}: a link leads outside the table's folder")


def _shown(table: Path, row: _Row) -> str:
    return os.path.relpath(row.path, table.parent)


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _are_numbers(table: Path, rows: list[_Row]) -> bool:
    """Whether the labels are class numbers, of at most nine digits; numbers among names are most likely a mistake."""
    kinds = {NUMBER.fullmatch(row.label) is not None: row for row in reversed(rows)}  # the first row of each kind
    if len(kinds) == 2:
        early, late = sorted(kinds.values())
        _refuse(table, late.line, f"label {late.label}: but line {early.line} has {early.label}; use names or numbers")
    for row in rows if True in kinds else ():
        if row.label.startswith("-"):
            _refuse(table, row.line, f"label {row.label}: out of range; accepted: names, or numbers from 0")
    return True in kinds


def text_of(path: Path) -> str:
    """A file as UTF-8. Raises ConfigError, naming it, where it is none."""
    try:
        content = read_regular(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path} line {line}: not UTF-8 text; save the table as UTF-8") from None


def _refuse(table: Path, line: int, message: str) -> NoReturn:
    raise ConfigError(f"data.root={table} line {line}: {message}")


def are_classes_of(num_classes: int, number: int) -> bool:
    """Whether a dataset of so many classes, or names of them, fits `data.num_classes`, whose 1 logit stands for two."""
    return number == num_classes or (num_classes, number) == (1, 2)


def shortened(labels: Sequence[str]) -> str:
    """The first few of many labels."""
    return ", ".join(labels[:5]) + (f" and {len(labels) - 5} more" if len(labels) > 5 else "")
