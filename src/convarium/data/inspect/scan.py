"""Look at every picture below a folder: find them, decode them in several processes. No torch here."""

import os
import signal
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType, TracebackType
from typing import NamedTuple, Self

from convarium.data.image_files.listing import SUFFIXES, listing
from convarium.data.inspect.examine import Examined, examine
from convarium.errors import RunError

SPLITS = ("train", "val", "test")
CHUNK = 32
"""Files that a worker is sent at once: a message costs about as much as decoding two small pictures."""
AHEAD = 2
"""Chunks that a worker has been sent, so that it need not wait for us."""


class Finding(NamedTuple):
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
    splits: tuple[str, ...] = ()
    """Those it has; none if it is one set of class folders, or of pictures."""
    paths: list[str] = field(default_factory=list)
    """Relative to the root."""
    places: list[Place] = field(default_factory=list)
    """Of each path."""
    labels: dict[str, list[str]] = field(default_factory=dict)
    """The class folders of each split, with or without pictures."""
    others: Counter[str] = field(default_factory=Counter)
    """How many files are no pictures, by suffix."""
    bad: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    shared: list[tuple[str, str]] = field(default_factory=list)
    """Folders that are links to one already visited: theirs, and the other's."""

    def place(self, folder: str) -> Place:
        """What a folder, relative to the root, says of the pictures in it."""
        parts = [*folder.split("/"), ""] if folder else ["", ""]
        if not self.splits:
            return Place("", parts[0])
        return Place(parts[0], parts[1]) if parts[0] in self.splits else Place("", "")


def find(root: str) -> Tree:
    """Every picture below `root`, as training finds them, each real directory once; links are followed last."""
    tree = Tree(root)
    with os.scandir(root) as entries:
        names = {entry.name for entry in entries if not entry.name.startswith(".") and os.path.isdir(entry.path)}
    if "train" in names or (names and names <= set(SPLITS)):
        tree.splits = tuple(split for split in SPLITS if split in names)
    for split in tree.splits or ("",):
        tree.labels[split] = []
    folders, links = [""], deque[str]()
    seen: dict[tuple[int, int], str] = {}
    while folders or links:
        folder = folders.pop() if folders else links.popleft()
        _visit(tree, folder, seen, folders, links)
    for folder, _ in tree.shared:
        tree.labels.pop(folder, None)  # a split that is a link to another has no classes of its own
    for labels in tree.labels.values():
        labels.sort()
    if not tree.splits and not tree.labels[""]:
        del tree.labels[""]  # pictures without classes
    return tree


def find_table(table: str) -> Tree:
    """The pictures that a table of paths and labels names. Raises ConfigError for a line that is not right."""
    listed = {split: found for split in SPLITS if (found := listing(table, split)) is not None}
    tree = Tree(os.path.dirname(os.path.abspath(table)), tuple(listed) if len(listed) > 1 else ())
    for split, found in listed.items():
        called = split if tree.splits else ""
        tree.labels[called] = list(found.classes)
        tree.paths += [os.path.relpath(path, tree.root) for path in found.paths]
        tree.places += [Place(called, found.classes[target]) for target in found.targets]
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
            found = sorted(entries, key=lambda entry: (_rank(entry.name) if not folder else 0, entry.name))
    except OSError as error:
        tree.bad.append(Finding("bad", folder, f"unreadable folder: {error.strerror}"))
        return
    depth = folder.count("/") + 1 if folder else 0
    place = tree.place(folder)
    if place.label and depth == (2 if tree.splits else 1):
        tree.labels[place.split].append(place.label)
    below: list[str] = []
    for entry in found:
        path = f"{folder}/{entry.name}" if folder else entry.name
        hidden = entry.name.startswith(".")
        try:
            if not entry.is_symlink():
                is_folder = entry.is_dir()
            else:
                is_folder = os.path.isdir(entry.path)
                os.stat(entry.path)  # follows the link
        except OSError as error:
            if not hidden:
                tree.bad.append(Finding("bad", path, _link_error(entry.path, error)))
            continue
        if is_folder:
            if hidden and not place.label:
                continue  # training takes no hidden folder for a class, but goes into those below one
            if not entry.is_symlink():
                below.append(path)
            elif _leads_back(entry.path):
                tree.bad.append(Finding("bad", path, f"link loop: leads back to {os.path.realpath(entry.path)}"))
            else:
                links.append(path)
        elif hidden or os.path.splitext(entry.name)[1].lower() not in SUFFIXES:
            tree.others[os.path.splitext(entry.name)[1].lower() or "no suffix"] += not hidden
        else:
            tree.paths.append(path)
            tree.places.append(place)
    folders += reversed(below)


def _rank(name: str) -> int:
    """Training first, so that the copy elsewhere is named after its original."""
    return SPLITS.index(name) if name in SPLITS else len(SPLITS)


def _leads_back(link: str) -> bool:
    """Whether a link to a folder stands inside that folder."""
    target, here = os.path.realpath(link), os.path.realpath(os.path.dirname(link))
    return os.path.commonpath([target, here]) == target


def _link_error(path: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"broken link to {os.readlink(path)}"
    told = os.strerror(error.errno) if error.errno else str(error)
    return "link loop: leads back to itself" if "symbolic links" in told else f"unreadable: {told}"


class Workers:
    """Processes that examine files. A decoder that crashes on a file takes one of them with it, not the scan.

    A worker ends when our end of its pipe is closed, as it is however we end. The first thing that it sends is None,
    so that one which cannot even start is not taken for one that a file has killed.
    """

    def __init__(self, root: str, number: int, examine: Callable[[str], Examined] = examine) -> None:
        self._root = root
        self._number = number
        self._examine = examine
        self._tasks: dict[Connection, deque[range]] = {}
        self._processes: dict[Connection, SpawnProcess] = {}
        self._started: set[Connection] = set()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.push(self)  # also what was started before a Ctrl-C
            for _ in range(self._number):
                self._start()
            stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe, process in self._processes.items():
            pipe.close()
            process.terminate()
        for process in self._processes.values():
            process.join()

    def examine(self, paths: Sequence[str]) -> Iterator[tuple[int, Examined]]:
        """What each file is, with its number, as it becomes known."""
        waiting = deque(range(start, min(start + CHUNK, len(paths))) for start in range(0, len(paths), CHUNK))
        for _ in range(AHEAD):
            for pipe in self._tasks:
                self._send(pipe, waiting, paths)
        while any(self._tasks.values()):
            for ready in wait(self._tasks):
                assert isinstance(ready, Connection)
                try:
                    examined = ready.recv()
                except (EOFError, OSError):
                    ready, crashed = self._replace(ready, waiting)
                    for number in crashed:
                        yield number, Examined(bad="damaged: the decoder crashed on it, or ran out of memory")
                    self._send(ready, waiting, paths)
                    continue
                if examined is None:
                    self._started.add(ready)
                    continue
                task = self._tasks[ready].popleft()
                self._send(ready, waiting, paths)
                yield from zip(task, examined, strict=True)

    def _start(self) -> Connection:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, self._examine), daemon=True, name="examine")
        resource_tracker.ensure_running()  # now, as it unblocks the signal when it has started
        with ctrl_c_waits():
            process.start()
            theirs.close()
            self._tasks[ours], self._processes[ours] = deque(), process
        return ours

    def _send(self, pipe: Connection, waiting: deque[range], paths: Sequence[str]) -> None:
        if waiting:
            task = waiting.popleft()
            self._tasks[pipe].append(task)
            with suppress(OSError):  # it has died: the next `wait` says so
                pipe.send([os.path.join(self._root, paths[number]) for number in task])

    def _replace(self, dead: Connection, waiting: deque[range]) -> tuple[Connection, range]:
        """A new worker for one that died, and the file it died of if there is no doubt; else they come one by one."""
        process = self._processes.pop(dead)
        process.join()
        if dead not in self._started:
            raise RunError(f"a process to decode pictures in could not start (exit code {process.exitcode})")
        first, *others = self._tasks.pop(dead)
        dead.close()
        waiting.extendleft(reversed(others))
        if len(first) == 1:
            return self._start(), first
        waiting.extendleft(range(number, number + 1) for number in reversed(first))
        return self._start(), range(0)


@contextmanager
def ctrl_c_waits() -> Iterator[None]:
    """Hear a Ctrl-C only when this is done: a process left half started waits for ever, or fails aloud.

    What is started inherits the mask, so that Ctrl-C is for us alone. It does not keep the signal from us: another
    thread (of OpenBLAS) takes it, and Python then runs the handler in this one.
    """
    heard = False

    def note(signum: int, frame: FrameType | None) -> None:
        nonlocal heard
        heard = True

    before = signal.signal(signal.SIGINT, note)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, before)
    if heard:
        signal.raise_signal(signal.SIGINT)


def _work(pipe: Connection, examine: Callable[[str], Examined]) -> None:
    with suppress(EOFError, OSError):  # whoever asked is gone
        pipe.send(None)
        while True:
            pipe.send([examine(path) for path in pipe.recv()])


def examine_all(root: str, paths: Sequence[str], workers: int) -> Generator[tuple[int, Examined]]:
    """Every file below `root`, with its number, in any order; with 0 workers in this process."""
    if workers == 0:
        yield from ((number, examine(os.path.join(root, path))) for number, path in enumerate(paths))
        return
    with Workers(root, workers) as crew:
        yield from crew.examine(paths)
