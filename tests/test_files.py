"""Only what is a regular file is read, and nothing is waited for."""

import errno
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from conftest import Outcome
from convarium.config.instantiate import build
from convarium.data.image_files.files import BadFile
from convarium.data.image_files.tables import classes_of
from convarium.errors import ConfigError, RunError
from convarium.files import LARGEST, NO_FILE, full_disk_line, is_full_disk, read_regular
from convarium.run.directory import RunDirectory
from experiments import config_of


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    """A read that waits for a pipe ends the test instead."""
    signal.alarm(60)
    yield
    signal.alarm(0)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def terminal(path: Path) -> None:
    path.symlink_to("/dev/ptmx")


def listener(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def nowhere(path: Path) -> None:
    path.symlink_to("gone")


def itself(path: Path) -> None:
    path.symlink_to(path.name)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(LARGEST + 1)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        *((make, NO_FILE) for make in (Path.mkdir, pipe, endless, terminal, listener)),
        (nowhere, "No such file or directory"),
        (itself, "Too many levels of symbolic links"),
        (sparse, "larger than 2.15 GB"),
    ],
)
def test_what_is_no_file_that_fits_into_memory_is_not_read(
    make: Callable[[Path], None], why: str, own_directory: Path
) -> None:
    make(own_directory / "odd")
    with pytest.raises(OSError, match=why) as refused:
        read_regular("odd")
    bad = BadFile.named("odd", str(refused.value.strerror))
    assert not is_full_disk(refused.value)
    assert not is_full_disk(bad)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ((), "run"),
        (("run/checkpoints/last.ckpt",), "run"),
        (("/run/shm/other",), "/run/shm/other"),
        (("run/weights", None, "elsewhere/weights"), "elsewhere/weights"),  # a copy
        ((3,), "run"),  # a descriptor
    ],
)
def test_a_full_disk_is_that_of_the_file_which_the_error_names(names: tuple[object, ...], said: str) -> None:
    error = RuntimeError("cannot go on")
    error.__cause__ = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *names)
    assert is_full_disk(error)
    assert full_disk_line(error, "run") == f"{said}: no space left on the disk"


@pytest.fixture
def photos(own_directory: Path) -> Path:
    """Two classes of two pictures, and in train and test one name that is none of a file."""
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            folder = own_directory / "photos" / split / label
            folder.mkdir(parents=True)
            for number in range(2):
                Image.new("RGB", (8, 8), (90 * number, 0, 0)).save(folder / f"{number}.png")
    return own_directory / "photos"


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(
    ("make", "why"),
    [
        (pipe, NO_FILE),
        (endless, NO_FILE),
        (nowhere, "a link that leads nowhere"),
        (itself, "a link that leads nowhere"),
    ],
)
def test_a_name_that_is_none_of_a_file_is_a_bad_file_before_the_run_begins(
    split: str, make: Callable[[Path], None], why: str, photos: Path, convarium: Callable[..., Outcome]
) -> None:
    make(photos / split / "cat" / "odd.png")
    words = ("arch=mlp", "data=folder", "data.root=photos", "data.val_fraction=0.25", "batch_size=2", "run_dir=run")
    code, _, err = convarium("train", *words)
    assert (code, err.count("\n")) == (2, 1)
    assert f"{split}/cat/odd.png: unreadable image ({why}" in err
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("verb", "words", "code"),
    [
        ("pack", ("data=folder", "data.root=photos", "to=packed"), 2),
        ("pack", ("data=folder", "data.root=photos", "to=packed", "data.on_bad_file=skip"), 0),
        ("show", ("data=folder", "data.root=photos"), 2),
        ("check", ("photos", "workers=0"), 1),
    ],
)
def test_every_verb_of_data_names_it_in_one_line(
    verb: str, words: tuple[str, ...], code: int, photos: Path, convarium: Callable[..., Outcome]
) -> None:
    pipe(photos / "train" / "cat" / "odd.png")
    told = convarium("data", verb, *words)
    assert (told.code, told.err.count("\n")) == (code, code == 2)
    listed = Path("packed", "bad_files.csv").read_text() if code == 0 else told.err if code == 2 else told.out
    assert "odd.png" in listed
    assert NO_FILE in listed


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_name_that_is_none_of_a_file_is_skipped_like_a_bad_file(in_memory: bool, photos: Path) -> None:
    pipe(photos / "train" / "cat" / "odd.png")
    node = config_of("data=folder", "data.root=photos", "data.channels=3", "batch_size=2")["data"]
    data = build(node | {"on_bad_file": "skip", "in_memory": in_memory}, "data")
    source = data.read("train")
    images, index = source.fetch(torch.arange(len(source)))
    assert len(images) == len(index) == 4


def test_a_table_names_the_line_of_what_is_no_file(photos: Path) -> None:
    pipe(photos / "odd.png")
    (photos / "table.csv").write_text("train/cat/0.png,cat\nodd.png,dog\n")
    with pytest.raises(ConfigError, match=rf"table\.csv line 2: .*odd\.png: {NO_FILE}"):
        classes_of(photos / "table.csv")


def test_a_config_that_is_a_pipe_is_no_answer(
    own_directory: Path, convarium: Callable[..., Outcome], trusting: Callable[[str], None]
) -> None:
    for root in ("mine", "theirs"):
        (own_directory / root / "recipe").mkdir(parents=True)
        pipe(own_directory / root / "recipe" / "odd.yaml")
    trusting("./mine")
    code, _, err = convarium("train", "--config-dir", "theirs", "recipe=odd")
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("error: recipe=odd: unknown")


def test_a_run_whose_records_are_pipes_is_refused(own_directory: Path) -> None:
    (own_directory / "run").mkdir()
    (own_directory / "run" / "config.yaml").symlink_to("/dev/zero")
    pipe(own_directory / "run" / "result.json")
    run = RunDirectory(own_directory / "run")
    assert run.result() == {}
    with pytest.raises(RunError, match=NO_FILE):
        run.config()
