"""Checkpoint files: how they reach the disk whole, and how one from anybody is read. No Lightning here."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convarium.errors import RunError

FORMAT = 1


def write_checkpoint(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Write, sync, rename, and sync the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        torch.save(dict(checkpoint), file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of ours, on the CPU: tensors and plain values. Raises RunError if missing, corrupt or foreign."""
    if not path.is_file():
        raise RunError(f"{path}: no such checkpoint")
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
    return checkpoint


def net_state(checkpoint: Mapping[str, Any], *, averaged: bool = True) -> dict[str, Tensor]:
    """The network's weights in a checkpoint: the averaged ones if there are any and they are asked for."""
    if averaged and checkpoint.get("averaged") is not None:
        return dict(checkpoint["averaged"])
    return {key[4:]: value for key, value in checkpoint["state_dict"].items() if key.startswith("net.")}
