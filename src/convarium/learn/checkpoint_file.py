"""Checkpoint files: how they reach the disk whole, and how one from anybody is read. No Lightning here."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from convarium.errors import RunError
from convarium.files import appearing, is_odd_archive

FORMAT = 2
"""2: with a checksum."""
DIGEST = b"sha256 "  # begins the comment at the end of the zip archive that torch.save writes
LONGEST = len(DIGEST) + hashlib.sha256().digest_size * 2


class _Summed:
    """A file that knows the checksum of what was written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.sum = file, hashlib.sha256()

    def write(self, data: Any) -> int:
        self.sum.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def write_checkpoint(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Write, sync, rename, and sync the folder."""
    path.parent.mkdir(exist_ok=True)  # not the folder of the run, if that is gone
    with appearing(path) as temporary, temporary.open("wb") as file:
        torch.save(dict(checkpoint), summed := _Summed(file))  # type: ignore[arg-type]
        comment = DIGEST + summed.sum.hexdigest().encode()
        file.seek(-2, os.SEEK_END)  # the length of the archive's comment, 0 so far
        file.write(len(comment).to_bytes(2, "little") + comment)
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of ours, on the CPU: tensors and plain values. Raises RunError if missing, corrupt or foreign."""
    if not path.is_file():
        raise RunError(f"{path}: no such checkpoint")
    if is_odd_archive(path):
        raise RunError(f"{path}: not a checkpoint that can be read (a compressed or damaged archive)")
    summed = _is_as_written(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for a broken file
        raise RunError(f"{path}: not a checkpoint that can be read ({type(error).__name__})") from error
    if not (
        isinstance(checkpoint, dict)
        and "config_hash" in checkpoint
        and isinstance(checkpoint.get("state_dict"), dict)
        and isinstance(checkpoint.get("averaged"), dict | None)
    ):
        raise RunError(f"{path}: not a checkpoint of Convarium")
    if checkpoint.get("format") != 1 and not summed:  # those of format 1 have no checksum
        raise RunError(f"{path}: damaged: its checksum is not that of its content")
    return checkpoint


def _is_as_written(path: Path) -> bool:
    """Whether a file ends with the checksum of what is before it."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - LONGEST - 2))
        tail = file.read()
        left, total = end - len(tail), hashlib.sha256()
        file.seek(0)
        while block := file.read(min(left, 1 << 20)):
            left -= len(block)
            total.update(block)
    total.update(b"\0\0")  # no comment
    return tail == LONGEST.to_bytes(2, "little") + DIGEST + total.hexdigest().encode()


def net_state(checkpoint: Mapping[str, Any], *, averaged: bool = True) -> dict[str, Tensor]:
    """The network's weights in a checkpoint: the averaged ones if there are any and they are asked for."""
    if averaged and checkpoint.get("averaged") is not None:
        return dict(checkpoint["averaged"])
    return {key[4:]: value for key, value in checkpoint["state_dict"].items() if key.startswith("net.")}
