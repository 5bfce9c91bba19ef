"""Archives of datasets: their checksum, and what is in them on the disk. No torch here."""

import errno
import hashlib
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convarium.errors import ConfigError
from convarium.progress_bar import Progress

STAGE = ".fetch"  # the folder in a dataset's root where things lie until they are whole; a hidden folder is never read
_CHUNK = 1 << 22


def check_md5(path: Path, expected: str, progress: Progress) -> None:
    """Raise ConfigError unless the MD5 of a file is the published one."""
    progress.begin(path.stat().st_size, "bytes", f"check {path.name}")
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            progress.advance(len(chunk))
    if (own := digest.hexdigest()) != expected:
        raise ConfigError(f"{path}: damaged, incomplete or another file: its MD5 is {own}, the published {expected}")


@contextmanager
def unpacking(archive: Path) -> Iterator[None]:
    """Say in one line what is wrong with an archive or the disk."""
    if not hasattr(tarfile, "data_filter"):  # what keeps a member inside the folder
        raise ConfigError(f"{archive}: to unpack it safely, Python 3.11.4 or newer is needed")
    try:
        yield
    except tarfile.FilterError as error:
        raise ConfigError(f"{archive}: not unpacked: {error}") from None
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise ConfigError(f"{archive}: cannot be unpacked ({error})") from None
    except OSError as error:
        full = "; what is whole is kept: make room and repeat" if error.errno == errno.ENOSPC else ""
        raise ConfigError(f"{archive}: cannot be unpacked ({error}){full}") from None


def unpack(archive: Path, folder: Path, progress: Progress) -> None:
    """All of a .zip, .tar or .tgz into `folder`. Raises ConfigError, also for what would lie outside it."""
    if not (zipfile.is_zipfile(archive) or tarfile.is_tarfile(archive)):
        raise ConfigError(f"{archive}: neither a .zip nor a .tar, .tgz or .tar.gz")
    progress.begin(archive.stat().st_size, "bytes", f"unpack {archive.name}")
    with unpacking(archive), archive.open("rb") as packed:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(packed) as bundle:
                for item in bundle.infolist():
                    if item.filename.startswith("/") or ".." in item.filename.split("/"):
                        raise ConfigError(f"{archive}: not unpacked: {item.filename!r} would lie outside")
                    bundle.extract(item, folder)
                    progress.advance(item.compress_size)
            return
        with tarfile.open(fileobj=packed, mode="r|*") as tape:
            for member in tape:
                tape.extract(member, folder, filter="data")
                progress.advance(packed.tell() - progress.done)
