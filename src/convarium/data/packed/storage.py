"""Where packed files lie, a folder or object storage, and how byte ranges of many of them are read. No torch here.

A storage hands out reads that are under way: `start(ranges)` returns one callable per range, which waits for its bytes.
On a disk the call itself reads, in the thread that decodes; in object storage all ranges are on their way at once.
"""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convarium.errors import ConfigError, MissingData
from convarium.files import open_regular, read_regular
from convarium.wording import one_line

Bytes = NDArray[np.uint8]
Read = Callable[[], Bytes]
"""Waits for the bytes of a range, one-dimensional. Raises ConfigError, naming the file, if they cannot be had."""

OPEN_FILES = 256  # files kept open at a time; a dataset may have more shards than a process may open files
CONNECTIONS = 8
"""Requests for ranges under way, each of a share of a batch; an asynchronous file system opens more by itself."""
PAUSES = (0.5, 2.0, 5.0)  # seconds before a range that could not be read is asked for again


class Range(NamedTuple):
    """Bytes of a file."""

    name: str
    start: int
    stop: int

    def __str__(self) -> str:
        return f"{self.name} (bytes {self.start} to {self.stop})"


def is_url(root: str) -> bool:
    """Whether a root is no path on this machine's file systems: s3://..., http://..."""
    return "://" in root and not root.startswith("file://")


class _Open:
    """A file, closed when nobody uses it any more: one thread may still read what another let go."""

    def __init__(self, path: Path) -> None:
        self._file = open_regular(path)
        self.number = self._file.fileno()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()


class Folder:
    """A folder on a disk. Reads are positioned ones, not a memory map: a file that was cut short is an error to name,
    not a crash, and what was read is not counted as this process's memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = str(folder)
        self._opened = lru_cache(maxsize=OPEN_FILES)(lambda name: _Open(folder / name))

    def read(self, name: str) -> bytes:
        """A whole file. Raises MissingData if there is none, ConfigError if it cannot be read."""
        try:
            return read_regular(self.folder / name)
        except OSError as error:
            raise _read_error(self.root, name, error) from None

    def length(self, name: str) -> int:
        """Bytes of a file. Raises as `read`."""
        try:
            return (self.folder / name).stat().st_size
        except OSError as error:
            raise _read_error(self.root, name, error) from None

    def start(self, ranges: Sequence[Range]) -> list[Read]:
        return [partial(self._read, wanted) for wanted in ranges]

    def _read(self, wanted: Range) -> Bytes:
        data, got = np.empty(wanted.stop - wanted.start, dtype=np.uint8), 0
        try:
            file = self._opened(wanted.name)  # held until we are done with it
            # a network file system may give a read in parts
            while more := os.preadv(file.number, [data[got:].data], wanted.start + got) if got < len(data) else 0:
                got += more
        except OSError as error:
            raise _read_error(self.root, wanted.name, error) from None
        if got != len(data):
            raise ConfigError(f"data.root={self.root}: {wanted} ends after {got} of {len(data)}: cut short")
        return data


class ObjectStore:
    """A folder behind a URL, by fsspec; credentials and endpoints come from where its file systems look for them."""

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs  # 0.1 s that only a URL has to pay

        self.root = url.rstrip("/")
        try:
            self.files, path = url_to_fs(self.root)
        except (ImportError, ValueError) as error:  # a file system that is not installed, or unknown
            raise ConfigError(f"data.root={url}: {one_line(error)}") from None
        self._path = str(path).rstrip("/")
        self._pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="fetch")  # none starts yet

    def read(self, name: str) -> bytes:
        for pause in (0.0, *PAUSES):
            time.sleep(pause)
            try:
                return bytes(self.files.cat_file(f"{self._path}/{name}"))
            except Exception as error:  # every file system has its own
                failed = error
                if isinstance(error, FileNotFoundError):
                    break
        raise _read_error(self.root, name, failed)

    def length(self, name: str) -> None:
        """Not known: asking takes a request."""

    def start(self, ranges: Sequence[Range]) -> list[Read]:
        parts = min(CONNECTIONS, len(ranges))
        futures = [self._pool.submit(self._fetch, ranges[part::parts]) for part in range(parts)]

        def arrived(number: int) -> Bytes:
            return futures[number % parts].result()[number // parts]

        return [partial(arrived, number) for number in range(len(ranges))]

    def _fetch(self, ranges: Sequence[Range]) -> list[Bytes]:
        arrived: dict[Range, Bytes] = {}
        missing = list(dict.fromkeys(ranges))
        failed: tuple[Range, Any] = ranges[0], b""
        for pause in (0.0, *PAUSES):
            time.sleep(pause)
            for wanted, answer in zip(missing, self._ask(missing), strict=True):
                if isinstance(answer, bytes) and len(answer) == wanted.stop - wanted.start:
                    arrived[wanted] = np.frombuffer(answer, dtype=np.uint8)
                elif isinstance(answer, FileNotFoundError):
                    raise _read_error(self.root, wanted.name, answer)
                else:
                    failed = wanted, answer
            missing = [wanted for wanted in missing if wanted not in arrived]
            if not missing:
                return [arrived[wanted] for wanted in ranges]
        wanted, answer = failed
        if isinstance(answer, Exception):
            raise _read_error(self.root, str(wanted), answer)
        more = " (a server that ignores ranges?)" if len(answer) > wanted.stop - wanted.start else ": cut short"
        raise ConfigError(f"data.root={self.root}: {wanted}: {len(answer)} bytes came{more}")

    def _ask(self, ranges: Sequence[Range]) -> list[Any]:
        names, starts, stops = zip(*ranges, strict=True)
        paths = [f"{self._path}/{name}" for name in names]
        try:
            return list(self.files.cat_ranges(paths, list(starts), list(stops), on_error="return"))
        except Exception as error:  # a file system that raises all the same
            return [error] * len(ranges)


Storage = Folder | ObjectStore


def open_storage(root: str) -> Storage:
    """The storage of a path or URL."""
    return ObjectStore(root) if is_url(root) else Folder(Path(root.removeprefix("file://")).expanduser())


def _read_error(root: str, name: str, error: Exception) -> ConfigError:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return MissingData(f"data.root={root}: no file {name}")
    why = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
    return ConfigError(f"data.root={root}: cannot read {name}: {why}")
