from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import fsspec
import pytest

from data.packed.packs import packing_of

NUMBERS = count()


@pytest.fixture(params=["jpeg", "raw"])
def store(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def packed(class_folders: Callable[..., Path], tmp_path: Path, store: str) -> Path:
    """Twelve pictures of 30x20, in several shards."""
    root = class_folders(splits=("train",), images=6, size=(30, 20))
    packing_of(root, tmp_path / "packed", format=store)
    return tmp_path / "packed"


@pytest.fixture
def in_memory(packed: Path) -> Iterator[str]:
    """The same as objects of a store, each by a URL of its own."""
    files = fsspec.filesystem("memory")
    root = f"/bucket{next(NUMBERS)}"
    for path in packed.iterdir():
        files.pipe_file(f"{root}/{path.name}", path.read_bytes())
    yield f"memory:/{root}"
    files.rm(root, recursive=True)
