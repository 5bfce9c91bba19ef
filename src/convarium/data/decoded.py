"""Decoded once: a split of image files as one array on disk, mapped into memory by every run that wants it."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import torch

from convarium.data.files import Files, without
from convarium.data.sources import InMemory

VERSION = 1  # of what is stored; another one is another file


def decoded(files: Files, folder: Path) -> InMemory:
    """`files.load()`, out of `folder` if these very files were decoded before, else decoded and left there.

    Files are told apart by path, length and time of last change: a changed one is decoded anew. Nothing in `folder`
    is ever changed; it may be deleted at any time.
    """
    name = _digest(files)
    array, notes = folder / f"{name}.npy", folder / f"{name}.json"
    if not notes.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f"{name}.{os.getpid()}.tmp"
        try:
            channels, side, _ = files.shape
            stored = np.lib.format.open_memmap(
                temporary, mode="w+", dtype=np.uint8, shape=(len(files), channels, side, side)
            )
            files.load(torch.from_numpy(stored))
            stored.flush()
            os.replace(temporary, array)
        finally:
            temporary.unlink(missing_ok=True)
        temporary.write_text(json.dumps({"bad": files.bad}))
        os.replace(temporary, notes)  # last: it says that the array is whole
    bad = {int(sample): why for sample, why in json.loads(notes.read_text())["bad"].items()}
    files.recall(bad)
    pixels = np.load(array, mmap_mode="c", allow_pickle=False)  # c: writes, which nobody makes, would stay in memory
    return without(torch.from_numpy(pixels), files.targets, bad)


def _digest(files: Files) -> str:
    digest = hashlib.sha256(repr((VERSION, *files.shape, files.reader.name)).encode())
    for path in files.paths:
        try:
            stat = os.stat(path)
            known = (stat.st_size, stat.st_mtime_ns)
        except OSError:
            known = (-1, -1)
        digest.update(f"{os.path.abspath(path)}\0{known}\n".encode())
    return digest.hexdigest()[:32]
