"""Writing packed shards: files of one split, one sample after the other, the same bytes for the same samples."""

import hashlib
import io
import tarfile
import zlib
from array import array
from pathlib import Path
from types import TracebackType

import numpy as np

from convarium.data.packed.shards import COLUMNS, STORES, File, Index, Split


class _Hashed(io.RawIOBase):
    """A new file that knows its own length and SHA-256."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._file = path.open("wb")
        self._digest = hashlib.sha256()
        self.length = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.length

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._file.write(data)
        self._digest.update(data)
        self.length += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()

    def finish(self) -> File:
        """Close it; what was written."""
        self.close()
        return File(self.name, self.length, self._digest.hexdigest())


class SplitWriter:
    """Writes a split into `folder`, a new shard where the next sample would make one longer than `shard_bytes`.

    A shard of JPEG files is a plain tar of 00000123.jpg and 00000123.cls (the class number as text), without times or
    owners; one of pixels is nothing but pixels.
    """

    def __init__(self, folder: Path, split: str, *, store: str, shard_bytes: int) -> None:
        self.folder = folder
        self.split = split
        self.store = store
        self.shard_bytes = shard_bytes
        self._rows = array("q")  # the index, row by row: eight bytes a number
        self._shards: list[File] = []
        self._file: _Hashed | None = None
        self._tar: tarfile.TarFile | None = None

    def __enter__(self) -> "SplitWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def __len__(self) -> int:
        return len(self._rows) // len(COLUMNS)

    def add(self, data: bytes, *, height: int, width: int, target: int) -> None:
        """The next sample."""
        if self._file is not None and self._file.length + len(data) > self.shard_bytes:
            self._end_shard()
        if self._file is None:
            path = self.folder / f"{self.split}-{len(self._shards):05}{STORES[self.store]}"
            self._file = _Hashed(path)
            if self.store == "jpeg":
                self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        number = len(self)
        if self._tar is None:
            offset = self._file.length
            self._file.write(data)
        else:
            offset = self._file.length + tarfile.BLOCKSIZE  # behind the member's header
            _add_member(self._tar, f"{number:08}.jpg", data)
            _add_member(self._tar, f"{number:08}.cls", str(target).encode())
        self._rows.extend((len(self._shards), offset, len(data), height, width, target, zlib.crc32(data)))

    def finish(self) -> Split:
        """Write the index; what the header says of the split."""
        self._end_shard()
        table = np.frombuffer(self._rows, dtype=np.int64).reshape(-1, len(COLUMNS)).T
        columns = {name: column.astype(kind) for (name, kind), column in zip(COLUMNS.items(), table, strict=True)}
        file = _Hashed(self.folder / f"{self.split}.index.safetensors")
        file.write(Index(**columns).to_bytes())
        return Split(len(self), file.finish(), tuple(self._shards))

    def _end_shard(self) -> None:
        if self._tar is not None:
            self._tar.close()
            self._tar = None
        if self._file is not None:
            self._shards.append(self._file.finish())
            self._file = None


def _add_member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
