"""A truncated picture among one's own: the run that ends over it names it, the run that goes on lists it."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from processes import convarium, run, train

QUICK = (
    *("data=folder", "data.root=photos", "data.image_size=32", "batch_size=4", "data.val_fraction=0.125"),
    *("data.num_workers=2", "data.reader=pillow", "trainer.max_epochs=2", "trainer.accelerator=cpu", "threads=1"),
    "callbacks=[]",
)
BAD = Path("photos", "train", "dog", "5.jpg")
IMAGES = 16  # of which two are for validation
LENET5 = 61326  # parameters, for two classes of colour images


@pytest.fixture(autouse=True)
def photos(own_directory: Path) -> None:
    """Two classes of eight JPEG files, one of which ends in its middle."""
    numbers = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (own_directory / "photos" / "train" / label).mkdir(parents=True)
        for number in range(8):
            pixels = numbers.integers(0, 256, (36, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(own_directory / "photos" / "train" / label / f"{number}.jpg")
    BAD.write_bytes(BAD.read_bytes()[:900])


def trained(log: Path, *words: str) -> int:
    return run(train, *QUICK, *words, "run_dir=run", log=log)


def result() -> dict[str, object]:
    found: dict[str, object] = json.loads(Path("run", "result.json").read_text())
    return found


def listed() -> list[list[str]]:
    with Path("run", "bad_files.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_a_file_that_cannot_be_read_into_memory_ends_it_before_there_is_a_run(own_directory: Path) -> None:
    log = own_directory / "log"
    assert trained(log, "data.in_memory=true") == 2
    [line] = log.read_text().splitlines()
    assert line.startswith(f"error: {own_directory / BAD}: unreadable image (")
    assert line.endswith("data.on_bad_file=skip or replace goes on without it")
    assert not Path("run").exists()


def test_a_file_that_cannot_be_read_in_training_ends_the_run_and_is_named(own_directory: Path) -> None:
    log = own_directory / "log"
    assert trained(log, "data.in_memory=false") == 1
    [line] = [line for line in log.read_text().splitlines() if line.startswith("failed: ") and str(BAD) in line]
    assert line.startswith(f"failed: {own_directory / BAD}: unreadable image (")
    found = result()
    assert found["status"] == "failed"
    assert f"failed: {found['error']}" == line


@pytest.mark.slow
def test_of_two_ranks_a_file_that_cannot_be_read_is_one_line_too(own_directory: Path) -> None:
    log, two = own_directory / "log", ("trainer.devices=2", "trainer.accelerator=cpu")
    assert trained(log, "data.in_memory=false", *two) == 1
    text = log.read_text()
    assert "Traceback" not in text
    assert re.search(rf"^failed: rank \d: {re.escape(str(own_directory / BAD))}: unreadable image \(", text, re.M)
    shutil.rmtree("run")
    assert trained(log, "data.in_memory=false", "data.on_bad_file=skip") == 0
    log.write_text("")
    assert run(convarium, "evaluate", "run", "data.root=photos/train", "data.on_bad_file=raise", *two, log=log) == 2
    assert re.fullmatch(r"error: .*: unreadable image \(.*\n", log.read_text().rpartition("\r")[2])


@pytest.mark.parametrize("in_memory", ["true", "false"])
@pytest.mark.parametrize("on_bad_file", ["skip", "replace"])
def test_a_run_that_goes_on_without_a_file_lists_it_once(in_memory: str, on_bad_file: str, own_directory: Path) -> None:
    log = own_directory / "log"
    code = trained(log, f"data.in_memory={in_memory}", f"data.on_bad_file={on_bad_file}")
    assert code == 0, log.read_text()
    found = result()
    assert (found["status"], found["params"]) == ("ok", LENET5)
    [(path, why, done)] = listed()
    assert (path, done) == (str(own_directory / BAD), on_bad_file)
    assert re.search("truncated", why)
    metrics = found["metrics"]
    assert isinstance(metrics, dict)
    # 14 to train on, in batches of 4 of which the last is dropped; skipped, a batch has one fewer
    expected = {12.0} if in_memory == "true" or on_bad_file == "replace" else {11.0, 12.0}
    assert metrics["train/images"] in expected


@pytest.mark.parametrize("in_memory", ["true", "false"])
def test_what_cannot_be_read_is_listed_once_although_a_resumed_run_meets_it_again(
    in_memory: str, own_directory: Path
) -> None:
    log = own_directory / "log"
    words = (f"data.in_memory={in_memory}", "data.on_bad_file=skip", "callbacks=[checkpoint]")
    assert trained(log, *words) == 0, log.read_text()
    assert run(train, "resume=run", "trainer.max_epochs=3", log=log) == 0, log.read_text()
    assert [path for path, _, _ in listed()] == [str(own_directory / BAD)]


def test_pictures_that_can_all_be_read_leave_no_list(own_directory: Path) -> None:
    BAD.unlink()
    log = own_directory / "log"
    assert trained(log, "data.in_memory=false") == 0, log.read_text()
    assert not Path("run", "bad_files.csv").exists()
