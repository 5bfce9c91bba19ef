"""`convarium data pack`: a dataset's splits into shards, once."""

import csv
import io
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from convarium.data.datasets.folder import FolderImages
from convarium.data.image_files.files import Files
from convarium.data.image_files.tables import SPLITS
from convarium.data.module import ImageData
from convarium.data.packed.shards import HEADER, LARGEST_SIDE, Header, Split
from convarium.data.packed.source import resize, stored_size
from convarium.data.packed.storage import is_url
from convarium.data.packed.writing import SplitWriter
from convarium.data.readers.reader import Reader, Unreadable
from convarium.data.sources import Source, in_order
from convarium.errors import ConfigError
from convarium.files import read_regular
from convarium.machine import cores
from convarium.progress_bar import Progress
from convarium.wording import counted

BAD_FILES = "bad_files.csv"
JPEG_START = b"\xff\xd8\xff"
LARGEST_SAMPLE = 1 << 31


class Sample(NamedTuple):
    """A sample ready to be written."""

    data: bytes
    height: int
    width: int


class Bad(NamedTuple):
    """A file that could not be packed."""

    split: str
    path: str
    reason: str


@dataclass(frozen=True)
class Packing:
    """What was packed."""

    path: Path
    images: dict[str, int]  # per split
    bad: list[Bad]  # left out
    bytes: int
    seconds: float

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {split}" for split, count in self.images.items())
        rate = sum(self.images.values()) / max(self.seconds, 1e-9)
        left_out = f"\n  {counted(len(self.bad), 'file')} left out: {self.path / BAD_FILES}" if self.bad else ""
        return (
            f"{self.path}\n  {counts}; {self.bytes / 1e6:,.1f} MB in {self.seconds:.1f} s ({rate:,.0f} images/s)"
            f"{left_out}\n  train on it: python train.py data=packed data.root={self.path}"
        )


def pack(
    data: ImageData,
    to: str | Path,
    *,
    reader: Reader,
    format: str = "jpeg",
    size: int | None = 256,
    quality: int = 90,
    shard_mb: float = 64,
    on_bad_file: str = "raise",
    threads: int | None = None,
) -> Packing:
    """Write the splits of a dataset into the new folder `to`: all of it, or nothing.

    Files are decoded from disk, other datasets are taken as they are held. The samples keep their numbers (those that
    follow a bad file move up), so that the same seed gives the same validation split and order as the dataset itself.
    The same input gives the same bytes.

    format: jpeg, or raw: pixels, which take several times the room and no decoding.
    size: the shorter side is shrunk to it, never enlarged; None: as it is. A JPEG file that need not shrink is not
    encoded again.
    shard_mb: length of a shard in 10^6 bytes; a larger sample has one of its own.
    on_bad_file: raise, or skip, which lists them in `bad_files.csv`.
    Raises ConfigError, naming the key or the file.
    """
    if is_url(os.fspath(to)):
        raise ConfigError(f"to={to}: pack into a folder here, then copy it there as it is")
    target = Path(to).expanduser().absolute()
    if target.exists() or target.is_symlink():
        raise ConfigError(f"to={to}: exists already; accepted: a new folder")
    if on_bad_file not in ("raise", "skip"):
        raise ConfigError(f"on_bad_file={on_bad_file}: accepted are raise and skip")
    if format == "jpeg" and data.channels not in (1, 3):
        raise ConfigError(f"format=jpeg: for 1 or 3 channels, not {data.channels}; use format=raw")
    if isinstance(data, FolderImages):
        data.in_memory = False  # the whole pictures, not the squares cut out of them
    encoder = _Encoder(reader, data.channels, format, size, quality)
    started = time.monotonic()
    bad: list[Bad] = []
    splits: dict[str, Split] = {}
    with Progress() as progress, _folder_that_appears_at_the_end(target) as folder:
        for name in SPLITS:
            try:
                source = data.read(name)
            except ValueError as error:
                raise ConfigError(str(error)) from error
            if source is None:
                continue
            progress.begin(len(source), "images", name)
            with closing(SplitWriter(folder, name, store=format, shard_bytes=round(shard_mb * 1e6))) as writer:
                for number, sample in enumerate(_encoded(encoder, source, threads or cores())):
                    if isinstance(sample, Sample):
                        writer.add(*sample, target=int(source.targets[number]))
                    else:
                        path = str(source.paths[number]) if isinstance(source, Files) else "an image in memory"
                        if on_bad_file == "raise":
                            raise ConfigError(f"{path}: {sample}; data.on_bad_file=skip leaves it out")
                        bad.append(Bad(name, path, sample))
                    progress.advance(note=f"{len(bad):,} left out" if bad else "")
                if len(writer) == 0:
                    raise ConfigError(f"data.root={getattr(data, 'root', '')}: no readable image in {name}")
                splits[name] = writer.finish()
        header = Header(
            store=format,
            size=size,
            quality=quality if format == "jpeg" else None,
            channels=data.channels,
            image_size=data.image_size,
            crop_share=float(getattr(data, "crop_share", 1.0)),
            num_classes=data.num_classes,
            classes=tuple(data.classes or data.class_names),
            mean=tuple(data.mean),
            std=tuple(data.std),
            splits=splits,
        )
        (folder / HEADER).write_text(header.to_json(), encoding="utf-8")
        if bad:
            with (folder / BAD_FILES).open("w", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows([Bad._fields, *bad])
    total = sum(path.stat().st_size for path in target.iterdir())
    images = {name: split.samples for name, split in splits.items()}
    return Packing(target, images, bad, total, time.monotonic() - started)


@dataclass(frozen=True)
class _Encoder:
    """From a file, or an image in memory, to what is stored."""

    reader: Reader
    channels: int
    store: str
    size: int | None
    quality: int

    def encode(self, source: Source, number: int) -> Sample | str:
        """A sample ready to be written, or why it cannot be packed."""
        try:
            read = self._file(source.paths[number]) if isinstance(source, Files) else self._image(source, number)
        except OSError as error:
            return error.strerror or type(error).__name__
        except Unreadable as error:
            return f"unreadable image ({error})"
        sample = read if isinstance(read, Sample) else self._stored(read)
        if max(sample.height, sample.width) >= LARGEST_SIDE or len(sample.data) >= LARGEST_SAMPLE:
            return f"too large ({sample.width} x {sample.height} pixels)"
        return sample

    def _file(self, path: str | Path) -> Sample | NDArray[np.uint8]:
        data = read_regular(path)
        own_size = self.reader.size(data)
        size = stored_size(*own_size, self.size)
        if self.store == "jpeg" and size == own_size and data.startswith(JPEG_START):
            self.reader.read(data, None, None, channels=self.channels)  # so that a damaged one is noticed now
            return Sample(data, *size)
        return self.reader.read(data, None, size, channels=self.channels).permute(1, 2, 0).numpy()

    def _image(self, source: Source, number: int) -> NDArray[np.uint8]:
        picture = source.fetch(torch.tensor([number]))[0][0].permute(1, 2, 0).numpy()
        return resize(picture, stored_size(picture.shape[0], picture.shape[1], self.size)).transpose(1, 2, 0)

    def _stored(self, picture: NDArray[np.uint8]) -> Sample:
        if self.store == "raw":
            return Sample(picture.tobytes(), *picture.shape[:2])
        buffer = io.BytesIO()
        pixels = picture[:, :, 0] if picture.shape[2] == 1 else np.ascontiguousarray(picture)
        Image.fromarray(pixels).save(buffer, "JPEG", quality=self.quality)
        return Sample(buffer.getvalue(), *picture.shape[:2])


def _encoded(encoder: _Encoder, source: Source, threads: int) -> Iterator[Sample | str]:
    """The samples in order; a few are encoded ahead."""
    with (
        ThreadPoolExecutor(threads, thread_name_prefix="pack") as pool,
        closing(in_order(pool, partial(encoder.encode, source), range(len(source)), 4 * threads)) as samples,
    ):
        yield from samples


@contextmanager
def _folder_that_appears_at_the_end(target: Path) -> Iterator[Path]:
    """A folder to write to, which gets its name when all is written, and goes if not."""
    folder = target.with_name(f"{target.name}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
    except FileExistsError:
        why = "packed at this moment, or left by a stop; remove it"
        raise ConfigError(f"to={target}: {folder} is there: {why}") from None
    except OSError as error:
        raise ConfigError(f"to={target}: {error.strerror}") from None
    try:
        yield folder
        folder.rename(target)
    except OSError as error:
        raise ConfigError(f"to={target}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
