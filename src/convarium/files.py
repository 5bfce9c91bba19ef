"""Files that several processes share: written whole or not at all, and locked. No torch here."""

import fcntl
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TextIO


def write_atomically(path: Path, text: str) -> None:
    """Replace a file by new text; a reader sees the old or the new, never half of it."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def hold(lock: TextIO) -> None:
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
