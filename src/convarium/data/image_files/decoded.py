"""Decoded once: a split of image files as one array on disk, mapped into memory by every run that wants it."""

import hashlib
import json
import logging
import os
from pathlib import Path

import numpy as np
import torch

from convarium.data.image_files.files import Files
from convarium.data.sources import InMemory
from convarium.files import appearing, write_atomically

log = logging.getLogger(__name__)

VERSION = 1  # of what is stored; another one is another file


def decoded(files: Files, folder: Path) -> InMemory:
    """`files.load()`, out of `folder` if these very files were decoded before, else decoded and left there.

    Files are distinguished by path, length and time of last change: a changed one is decoded anew. Nothing in `folder`
    is ever changed; it may be deleted at any time. Where it cannot be written to, the images are kept in memory alone.
    """
    name = _digest(files)
    array, notes = folder / f"{name}.npy", folder / f"{name}.json"
    if (kept := _kept(files, array, notes)) is not None:
        return kept
    try:
        _write(files, array, notes)
    except OSError as error:
        log.warning("data.cache=%s: cannot be written to (%s); what is decoded is not kept", folder, error.strerror)
        return files.load()
    kept = _kept(files, array, notes)
    return files.load() if kept is None else kept


def _kept(files: Files, array: Path, notes: Path) -> InMemory | None:
    """What was left there; None if there is nothing, or nothing whole."""
    try:
        bad = {int(sample): str(why) for sample, why in json.loads(notes.read_text())["bad"].items()}
        pixels = np.load(array, mmap_mode="c", allow_pickle=False)  # c: writes, which nobody makes, stay in memory
    except (OSError, ValueError, LookupError, TypeError):  # cut short, or not ours
        return None
    if pixels.dtype != np.uint8 or pixels.shape != (len(files), *files.shape.pixels):
        return None
    for sample, why in bad.items():
        files.note_bad(sample, why)
    return files.held(torch.from_numpy(pixels))


def _write(files: Files, array: Path, notes: Path) -> None:
    """Raises OSError."""
    array.parent.mkdir(parents=True, exist_ok=True)
    with appearing(array) as temporary:
        shape = (len(files), *files.shape.pixels)
        pixels = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        if hasattr(os, "posix_fallocate"):  # a full disk says so now, not by a signal when the pixels are written
            with temporary.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)
        files.load(torch.from_numpy(pixels))
        pixels.flush()
    write_atomically(notes, json.dumps({"bad": files.bad}))  # last: it says that the array is whole


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
