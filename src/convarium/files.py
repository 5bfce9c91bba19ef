"""Files: read if they are some, written whole or not at all, and locked. No torch here."""

import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TextIO

from convarium.errors import ConfigError, RunError
from convarium.wording import file_size

LARGEST = 1 << 31  # bytes; what is read as a whole is shorter
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_FILE = "not a file but a folder, pipe, socket or device"


def open_regular(path: str | Path) -> BinaryIO:
    """Open a file to be read. Raises OSError also for what is no regular file: a pipe that nobody writes to would be
    waited for, and a device may have no end."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise OSError(errno.EINVAL, NO_FILE, str(path)) from None
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise OSError(errno.EINVAL, NO_FILE, str(path))


def read_regular(path: str | Path) -> bytes:
    """What is in a file. Raises OSError as `open_regular` does, and for one that is too large to be read as a whole."""
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > LARGEST:
            raise OSError(errno.EINVAL, f"larger than {file_size(LARGEST)}", str(path))  # EFBIG means a full disk
        return file.read()


def from_home(word: str) -> str:
    """A word in which `~/` is the home folder wherever a path may begin: `~/a`, `data.root=~/a`, `from=[~/a,~/b]`.

    A shell does that at the beginning of a word only.
    """
    return re.sub(r"""(^|[=,[("'])~/""", lambda match: f"{match[1]}{os.path.expanduser('~')}/", word)


def is_full_disk(error: BaseException | None) -> bool:
    """Whether an error, or what it came from, says that a disk has no room; libraries say it in words of their own."""
    return any(
        (isinstance(each, OSError) and each.errno in FULL) or any(os.strerror(number) in str(each) for number in FULL)
        for each in _chain(error)
    )


def full_disk_line(error: BaseException, here: str | Path) -> str:
    """What there is to say of an error of which `is_full_disk` is true: the file that it names is on the full disk, or
    `here`, where that file lies in it or none is named."""
    full = next((each for each in _chain(error) if isinstance(each, OSError) and each.errno in FULL), None)
    named = full and (full.filename2 or full.filename)  # of a copy or a rename the second is written
    outside = isinstance(named, str) and not Path(named).absolute().is_relative_to(Path(here).absolute())
    return f"{named if outside else here}: no space left on the disk"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Where to write a file or folder that gets its name when it is whole, and goes if not. Its parent is there.

    What a kill leaves of it is removed when its folder is next locked.
    """
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        remove(temporary)
        raise


def require_room(word: str, path: Path) -> None:
    """Raise ConfigError, which begins with `word`, unless a file can be made in the folder of `path`."""
    with writing(word), tempfile.TemporaryFile(dir=path.absolute().parent):
        pass


def remove(path: Path) -> None:
    """Remove a file or a folder as far as that can be done."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def write_atomically(path: Path, text: str) -> None:
    """Replace a file by new text; a reader sees the old or the new, never half of it."""
    with appearing(path) as temporary:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)


def is_odd_archive(path: Path) -> bool:
    """Whether a file is a zip archive that torch has not written: it cannot be listed, or something in it is compressed
    and may be of any size once it is read."""
    import zipfile

    try:
        if not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as archive:
            return any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
    except Exception:  # a damaged list raises many kinds
        return True


def _hold(lock: TextIO) -> None:
    """Lock a file for this process alone, until it is closed. Raises OSError if another one holds it."""
    for attempt in range(5):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError:
            if attempt == 4:
                raise
            time.sleep(0.02)  # `is_held` has it for a moment


def is_held(lock: Path) -> bool:
    """Whether a process holds this file as a lock."""
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


@contextmanager
def writing(word: str) -> Iterator[None]:
    """Raise ConfigError where what the word of a person names cannot be written."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{word}: cannot be written ({error.strerror or error})") from error


@contextmanager
def locked(lock: Path, holder: str, in_use: str) -> Iterator[None]:
    """Hold a file as a lock, with `holder` written in it; what a kill has left half-written in its folder goes. Raises
    RunError if another process holds it: its folder, and `in_use` with what that one has written.
    """
    try:
        file = lock.open("a+")
    except OSError as error:
        raise RunError(f"{lock.parent}: cannot be written ({error.strerror})") from error
    with file:
        try:
            _hold(file)
        except OSError as error:
            file.seek(0)
            raise RunError(f"{lock.parent}: {in_use.format(file.read().strip() or 'unknown')}") from error
        with suppress(OSError):  # a full disk: it is locked all the same
            file.truncate(0)
            os.write(file.fileno(), holder.encode())  # past the buffer, which would be written once more at the end
        for left in [*lock.parent.glob(".*.tmp"), *lock.parent.glob("*/.*.tmp")]:
            remove(left)
        yield
