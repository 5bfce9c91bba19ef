"""A disk without room: a status, one line and no half of a file; with room made the same goes on.

The disks are tmpfs of 4 MB, which only root can mount; a limit on the size of files stands in for them elsewhere.
"""

import hashlib
import json
import os
import resource
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from convarium.run.directory import RunDirectory
from processes import convarium, run, train

EXPERIMENT = (
    *("arch=mlp", "arch.hidden=[64]", "data=synthetic", "data.channels=1", "data.image_size=8"),
    *("trainer.accelerator=cpu", "threads=1", "trainer.max_epochs=2", "trainer.log_every_n_steps=1"),
)
TRAIN = ("train", *EXPERIMENT, "run_dir=run")
SWEEP = ("train", "-m", *EXPERIMENT, "callbacks=[checkpoint]", "seed=1,2", "sweep.name=s", "sweep.jobs=1")
RESUME = ("train", "resume=run", "trainer.max_epochs=4")
PACK = ("data", "pack", "data=digits", "to=packed", "format=raw")
PREDICT = ("predict", "run", *30 * ("picture.png",), "format=csv")


class Full(NamedTuple):
    """A command on a disk of which so many kilobytes are free, and what ends it when there is room."""

    left: int
    words: tuple[str, ...]
    then: tuple[str, ...] = ()


GONE_ON = {TRAIN: ("train", "resume=run"), SWEEP: (*SWEEP, "sweep.retry_failed=true")}
DISKS = [
    *(Full(left, TRAIN) for left in (0, 4, 8, 12, 16, 20, 24, 32, 48, 64, 96, 128)),
    *(Full(left, RESUME) for left in (0, 4, 8, 16, 32, 48)),
    *(Full(left, SWEEP) for left in (0, 8, 40, 90)),
    *(
        Full(left, ("export", "run", f"format={name}"))
        for left, name in ((0, "safetensors"), (8, "safetensors"), (8, "torch_export"))
    ),
    *(Full(left, PACK) for left in (0, 40, 200)),
    *(Full(left, PREDICT) for left in (0, 4)),
    *(Full(left, ("evaluate", "run", "--json")) for left in (0,)),
    *(Full(left, ("data", "fetch", "tiny_imagenet", "from=tiny.zip", "data.root=sets")) for left in (0, 16)),
]
SHORT = (Full(8, TRAIN), Full(48, TRAIN), Full(16, RESUME), Full(4, PREDICT), Full(40, PACK))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, and a picture to predict and an archive to unpack beside it."""
    folder = tmp_path_factory.mktemp("trained")
    before = Path.cwd()
    os.chdir(folder)
    assert run(train, *TRAIN[1:], log=folder / "log") == 0, (folder / "log").read_text()
    os.chdir(before)
    from PIL import Image

    Image.new("L", (8, 8), 99).save(folder / "picture.png")
    with zipfile.ZipFile(folder / "tiny.zip", "w") as bundle:
        for split in ("train", "val"):
            bundle.writestr(f"top/{split}/n1/1.JPEG", 60_000 * b"x")
    return folder


@pytest.fixture
def disk(own_directory: Path) -> Iterator[Path]:
    """A disk of its own of 4 MB; what is mounted in the test's folder."""
    folder = own_directory / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("no disk can be mounted here")
    os.chdir(folder)
    yield folder
    os.chdir(own_directory)
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(left: int) -> None:
    """Leave so many kilobytes free in the current folder."""
    system = os.statvfs(".")
    with open("fill", "wb") as file:
        file.write(bytes(system.f_bavail * system.f_frsize - left * 1024))


def command(*words: str) -> int:
    return train(*words[1:]) if words[0] == "train" else convarium(*words)


def limited(size: int, *words: str) -> int:
    """A command whose files have at most `size` bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    return command(*words)


def half_written(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name.endswith(".tmp") or path.name.startswith(".export")]


def said_in_one_line(errors: Path) -> bool:
    lines = [line for line in errors.read_text().splitlines() if not line.startswith("figures: ")]
    return len(lines) == 1 and ("o space left on" in lines[0] or "File too large" in lines[0])


def check_ended(code: int, errors: Path, words: tuple[str, ...]) -> None:
    """A status, one line, nothing half-written. A sweep says in its table which jobs have failed."""
    assert code not in (0, 120), errors.read_text()
    assert "Traceback" not in errors.read_text()
    if words == SWEEP:
        for job in Path("sweeps/s/jobs").glob("*"):
            assert RunDirectory(job).result().get("status") != "running"
            assert "Traceback" not in (job / "train.log").read_text() if (job / "train.log").exists() else True
    else:
        assert said_in_one_line(errors), errors.read_text()
    if Path("run").exists():
        status = json.loads(Path("run/result.json").read_text())["status"]
        assert status == ("failed" if words == TRAIN else status)
        assert status != "running"
        assert {"config.yaml", "overrides.yaml"} <= {path.name for path in Path("run").iterdir()}
    assert half_written(Path.cwd()) == []


def check_full_disk(full: Full, trained: Path, outside: Path) -> None:
    words = full.words
    if words != TRAIN:
        for name in ("run", "picture.png", "tiny.zip"):
            (shutil.copytree if (trained / name).is_dir() else shutil.copy)(trained / name, name)
    if "fetch" in words:
        words = (*words, f"data.md5={hashlib.md5(Path('tiny.zip').read_bytes()).hexdigest()}")
    fill(full.left)
    errors, shown = outside / "errors", Path("shown") if words[-1] in ("--json", "format=csv") else outside / "log"
    shown.touch()
    code = run(command, *words, log=shown, errors=errors)
    check_ended(code, errors, full.words)
    Path("fill").unlink()
    went_on = GONE_ON.get(words, words) if Path("run").exists() or words == SWEEP else words
    assert run(command, *went_on, log=outside / "log") == 0, (outside / "log").read_text()
    if "train" in words and words != SWEEP:
        assert RunDirectory(Path("run")).result()["status"] == "ok"


@pytest.mark.parametrize("full", SHORT, ids=lambda full: f"{full.words[0]}-{full.left}")
def test_a_full_disk_ends_in_one_line_and_with_room_it_goes_on(
    full: Full, disk: Path, trained: Path, own_directory: Path
) -> None:
    check_full_disk(full, trained, own_directory)


@pytest.mark.slow
@pytest.mark.parametrize("full", DISKS, ids=lambda full: f"{'-'.join(full.words[:2])}-{full.left}")
def test_thirty_full_disks_end_in_one_line_and_with_room_they_go_on(
    full: Full, disk: Path, trained: Path, own_directory: Path
) -> None:
    assert len(DISKS) >= 30
    check_full_disk(full, trained, own_directory)


def test_a_limit_on_the_size_of_files_ends_as_a_full_disk_does(own_directory: Path) -> None:
    errors, log = own_directory / "errors", own_directory / "log"
    code = run(limited, 20_000, *TRAIN, log=log, errors=errors)
    check_ended(code, errors, TRAIN)
    assert run(train, "resume=run", log=log) == 0, log.read_text()
