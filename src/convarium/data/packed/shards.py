"""What a packed dataset is: a header that says what is in it, an index per split, and shards. No torch here.

DIR/packed.json              the header: classes, channels, ..., and name, length and SHA-256 of every other file
DIR/train.index.safetensors  where each sample lies and what it is: one array per column of Index
DIR/train-00000.tar          JPEG files in a plain tar, each beside its class number (as WebDataset reads them), or
DIR/train-00000.raw          pixels (height, width, channels) of one sample after the other

All of it is data that may come from somebody else: it is checked before it is used, and nothing is unpickled.
"""

import hashlib
import json
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from convarium.data.image_files.tables import SPLITS, are_classes_of
from convarium.data.packed.storage import Bytes, Range, Read, Storage, is_url, open_storage
from convarium.errors import ConfigError, MissingData

HEADER = "packed.json"
FORMAT = "convarium packed"
VERSION = 1
STORES = {"jpeg": ".tar", "raw": ".raw"}
PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # of a file: no separator, so that it lies in the folder
LARGEST_SIDE = 1 << 16


@dataclass(frozen=True)
class File:
    """A file as it was written."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Split:
    """One split of a packed dataset."""

    samples: int
    index: File
    shards: tuple[File, ...]


@dataclass(frozen=True, kw_only=True)
class Header:
    """What is in a packed dataset."""

    store: str  # jpeg or raw
    size: int | None  # the shorter side of a stored picture is at most this; None: as it came
    quality: int | None  # of the JPEG files that were encoded here
    channels: int
    image_size: int
    crop_share: float
    num_classes: int
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    splits: dict[str, Split]

    def to_json(self) -> str:
        """The text of the header's file."""
        content = {"format": FORMAT, "version": VERSION, **asdict(self)}
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def read_header(root: str) -> Header:
    """The header of a packed dataset; several keys of a config ask for it, and over a network it is fetched once.
    Raises MissingData if there is none, ConfigError, naming the file and what is wrong, for one that is not ours."""
    return _remote_header(root) if is_url(root) else _header(root)


def _header(root: str) -> Header:
    storage = open_storage(root)
    try:
        return parse_header(root, storage.read(HEADER))
    except MissingData:
        raise MissingData(
            f"data.root={storage.root}: no packed dataset there (no {HEADER}); make one with"
            " convarium data pack data=folder data.root=PICTURES to=FOLDER"
        ) from None


_remote_header = lru_cache(maxsize=16)(_header)


def parse_header(root: str, raw: bytes) -> Header:
    """The header in the bytes of its file; `root` is named in errors. Raises ConfigError."""
    wrong = partial(_wrong, root, HEADER)
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError):
        raise wrong("not JSON") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise wrong(f"not the header of a packed dataset (format is not {FORMAT!r})")
    if content.get("version") != VERSION:
        raise wrong(f"version {content.get('version')!r}; this program reads version {VERSION}: pack the dataset again")
    try:
        header = Header(
            store=_one_of(content["store"], STORES),
            size=None if content["size"] is None else _count(content["size"], LARGEST_SIDE),
            quality=None if content["quality"] is None else _count(content["quality"], 100),
            channels=_count(content["channels"], 1 << 10),
            image_size=_count(content["image_size"], LARGEST_SIDE),
            crop_share=_number(content["crop_share"]),
            num_classes=_count(content["num_classes"], 1 << 24),
            classes=tuple(_text(name) for name in content["classes"]),
            mean=tuple(map(_number, content["mean"])),
            std=tuple(map(_number, content["std"])),
            splits={_one_of(name, SPLITS): _split(split) for name, split in content["splits"].items()},
        )
    except KeyError as error:
        raise wrong(f"lacks {error.args[0]!r}") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise wrong(str(error)) from None
    if not are_classes_of(header.num_classes, len(header.classes)):
        raise wrong(f"{len(header.classes)} names of classes for num_classes={header.num_classes}")
    if "train" not in header.splits:
        raise wrong("has no split train")
    return header


def _wrong(root: str, name: str, what: str) -> ConfigError:
    return ConfigError(f"data.root={root}: {name}: {what}")


def _wanted(value: Any, good: bool, expected: str) -> Any:
    if not good:
        raise ValueError(f"{value!r} where {expected} is expected")
    return value


def _count(value: Any, most: int) -> int:
    good = type(value) is int and 1 <= value <= most
    return cast(int, _wanted(value, good, f"a whole number from 1 to {most}"))


def _number(value: Any) -> float:
    return float(_wanted(value, type(value) in (int, float) and bool(np.isfinite(value)), "a number"))


def _text(value: Any) -> str:
    return cast(str, _wanted(value, isinstance(value, str), "text"))


def _one_of(value: Any, accepted: Any) -> str:
    return cast(str, _wanted(value, value in tuple(accepted), " or ".join(accepted)))


def _file(raw: Any) -> File:
    name = _text(raw["name"])
    if PLAIN_NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is not the name of a file in the folder")
    return File(name, _count(raw["bytes"], 1 << 62), _text(raw["sha256"]))


def _split(raw: Any) -> Split:
    return Split(_count(raw["samples"], 1 << 40), _file(raw["index"]), tuple(_file(each) for each in raw["shards"]))


@dataclass(frozen=True)
class Index:
    """Where each sample of a split lies and what it is; every array has one number per sample."""

    shard: NDArray[np.int32]
    offset: NDArray[np.int64]
    length: NDArray[np.int32]
    height: NDArray[np.int32]  # of the stored picture as a person sees it
    width: NDArray[np.int32]
    target: NDArray[np.int32]
    crc: NDArray[np.uint32]  # CRC-32 of the sample's bytes, to notice what a network or a cache did to them

    def __len__(self) -> int:
        return len(self.target)


COLUMNS = {name: np.dtype({"offset": np.int64, "crc": np.uint32}.get(name, np.int32)) for name in Index.__annotations__}


def read_index(storage: Storage, header: Header, split: str) -> Index:
    """The index of a split, every number of it checked against the header; where that costs no request, the shards'
    lengths too. Raises ConfigError, naming the file and what is wrong."""
    described = header.splits[split]
    wrong = partial(_wrong, storage.root, described.index.name)
    raw = storage.read(described.index.name)
    if len(raw) != described.index.bytes or hashlib.sha256(raw).hexdigest() != described.index.sha256:
        raise wrong(f"not the file that {HEADER} describes (its length or checksum differs)")
    index = parse_index(raw, wrong)
    if len(index) != described.samples:
        raise wrong(f"{len(index)} samples, but {HEADER} says {described.samples}")
    _check(index, header, described, wrong)
    for shard in described.shards:
        require_length(storage, shard)
    return index


def require_length(storage: Storage, shard: File) -> None:
    """Raise ConfigError if a shard is longer or shorter than it was written, and that is known without a request."""
    length = storage.length(shard.name)
    if length is not None and length != shard.bytes:
        raise _wrong(storage.root, shard.name, f"{length:,} bytes long, not {shard.bytes:,}")


def parse_index(raw: bytes, wrong: Callable[[str], ConfigError]) -> Index:
    """The arrays in the bytes of an index. Raises what `wrong` makes of what is wrong with them."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        columns = load(raw)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError):
        raise wrong("not an index") from None
    if {name: column.dtype for name, column in columns.items()} != COLUMNS:
        raise wrong(f"its columns are not {', '.join(COLUMNS)}, or not of their types")
    if len({column.shape for column in columns.values()}) != 1 or columns["target"].ndim != 1:
        raise wrong("its columns differ in length")
    return Index(**columns)


def _check(index: Index, header: Header, split: Split, wrong: Callable[[str], ConfigError]) -> None:
    lengths = np.array([shard.bytes for shard in split.shards], dtype=np.int64)
    if not ((index.shard >= 0) & (index.shard < len(lengths))).all():
        raise wrong("names a shard that is not there")
    # offset is compared with what remains, which cannot overflow
    inside = (index.offset >= 0) & (index.length > 0) & (index.offset <= lengths[index.shard] - index.length)
    if not inside.all():
        raise wrong(f"sample {int(np.argmin(inside))} lies outside its shard")
    for name, side in (("height", index.height), ("width", index.width)):
        if not ((side >= 1) & (side < LARGEST_SIDE)).all():
            raise wrong(f"a {name} out of range (1 to {LARGEST_SIDE - 1})")
    if not ((index.target >= 0) & (index.target < max(2, header.num_classes))).all():
        raise wrong(f"a class number out of range (num_classes={header.num_classes})")
    if header.store == "raw":
        pixels = index.height.astype(np.int64) * index.width * header.channels
        if not (pixels == index.length).all():
            raise wrong(f"sample {int(np.argmax(pixels != index.length))} has not as many bytes as pixels")


class Shards:
    """The bytes of a split's samples."""

    def __init__(self, storage: Storage, split: Split, index: Index) -> None:
        self.storage = storage
        self.index = index
        self.names = [shard.name for shard in split.shards]

    def start(self, samples: Sequence[int], parts: Sequence[tuple[int, int]] | None = None) -> list[Read]:
        """Begin to read samples, or of each the bytes (start, stop) of `parts`.
        Whole samples that came over a network are compared with their CRC."""
        every = [None] * len(samples) if parts is None else parts
        reads = self.storage.start([self.range(sample, part) for sample, part in zip(samples, every, strict=True)])
        if parts is not None or not is_url(self.storage.root):
            return reads
        return [partial(self.read_intact, sample, read) for sample, read in zip(samples, reads, strict=True)]

    def range(self, sample: int, part: tuple[int, int] | None = None) -> Range:
        """Where a sample, or a part of it, lies."""
        offset = int(self.index.offset[sample])
        start, stop = part or (0, int(self.index.length[sample]))
        return Range(self.names[self.index.shard[sample]], offset + start, offset + stop)

    def is_intact(self, sample: int, data: Bytes) -> bool:
        """Whether the bytes are the sample's."""
        return zlib.crc32(data.data) == int(self.index.crc[sample])

    def read_intact(self, sample: int, read: Read) -> Bytes:
        """The bytes, if they are the sample's. Raises ConfigError."""
        if not self.is_intact(sample, data := read()):
            raise self.error(sample, "its checksum differs")
        return data

    def error(self, sample: int, what: str) -> ConfigError:
        """That something is wrong with a sample, and where it lies."""
        return ConfigError(f"data.root={self.storage.root}: sample {sample} in {self.range(sample)}: {what}")
