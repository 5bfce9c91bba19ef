"""Writing packed shards: files of one split, one sample after the other, the same bytes for the same samples."""

import hashlib
import io
import tarfile
import zlib
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from safetensors.numpy import save

from convarium.data.packed.shards import COLUMNS, STORES, File, Split


@dataclass
class SplitWriter:
    """Writes a split into `folder`, a new shard where the next sample would make one longer than `shard_bytes`.

    A shard of JPEG files is a plain tar of 00000123.jpg and 00000123.cls (the class number as text), without times or
    owners; one of pixels is nothing but pixels.
    """

    folder: Path
    split: str
    store: str
    shard_bytes: int

    def __post_init__(self) -> None:
        self._rows = array("q")  # the index, row by row: eight bytes a number
        self._shards: list[File] = []
        self._file: BinaryIO | None = None
        self._tar: tarfile.TarFile | None = None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def __len__(self) -> int:
        return len(self._rows) // len(COLUMNS)

    def add(self, data: bytes, height: int, width: int, *, target: int) -> None:
        """The next sample."""
        if self._file is not None and self._file.tell() + len(data) > self.shard_bytes:
            self._end_shard()
        if self._file is None:
            self._file = self._path.open("wb")
            if self.store == "jpeg":
                self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        offset = self._file.tell()
        if self._tar is None:
            self._file.write(data)
        else:
            offset += tarfile.BLOCKSIZE  # behind the member's header
            for kind, content in (("jpg", data), ("cls", str(target).encode())):
                member = tarfile.TarInfo(f"{len(self):08}.{kind}")
                member.size = len(content)
                self._tar.addfile(member, io.BytesIO(content))
        self._rows.extend((len(self._shards), offset, len(data), height, width, target, zlib.crc32(data)))

    def finish(self) -> Split:
        """Write the index; what the header says of the split."""
        self._end_shard()
        table = np.frombuffer(self._rows, dtype=np.int64).reshape(-1, len(COLUMNS)).T
        columns = {name: column.astype(kind) for (name, kind), column in zip(COLUMNS.items(), table, strict=True)}
        path = self.folder / f"{self.split}.index.safetensors"
        path.write_bytes(save(columns))
        return Split(len(self), _described(path), tuple(self._shards))

    @property
    def _path(self) -> Path:
        return self.folder / f"{self.split}-{len(self._shards):05}{STORES[self.store]}"

    def _end_shard(self) -> None:
        if self._tar is not None:
            self._tar.close()
            self._tar = None
        if self._file is not None:
            self._file.close()
            self._file = None
            self._shards.append(_described(self._path))


def _described(path: Path) -> File:
    with path.open("rb") as file:
        return File(path.name, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())
