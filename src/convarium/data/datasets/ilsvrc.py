"""From the official archives of ILSVRC 2012 to root/{train,val}/WNID/*.JPEG and root/classes.csv. No torch here.

torchvision has readers of the same archives; these check the train archive without a sign of life, unpack it twice,
leave half a dataset behind when they are stopped, and start again from the beginning.
"""

import csv
import io
import json
import re
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from convarium.data.datasets.archives import STAGE, check_md5, unpacking
from convarium.errors import ConfigError
from convarium.progress_bar import Progress

TRAIN, VAL, DEVKIT = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"
MD5 = {
    TRAIN: "1d675b47d978889d74fa0da5fadfb00e",
    VAL: "29b22e2961454d5413ddabcf34fc5622",
    DEVKIT: "fa75699e90414af021442c21a62c3abf",
}
"""As published at image-net.org."""
CLASSES = "classes.csv"  # in the dataset's root: the devkit's classes in the order of their ILSVRC2012_ID
_WNID = re.compile(r"n\d{8}")
_TRAIN_IMAGE = re.compile(r"n\d{8}_\d+\.JPEG")
_VAL_IMAGE = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")


class Synset(NamedTuple):
    """A class: its ILSVRC2012_ID from 1, the name of its folder, and what it is called."""

    id: int
    wnid: str
    words: str


def prepare(archives: Sequence[Path], root: Path) -> list[str]:
    """Check and unpack any of the three archives; returns what was made, in words.

    archives: files by their official names, or folders that hold them.
    What is there already is kept, so a stopped call goes on where it was: a class folder of train, and val as a
    whole, appear only when they are complete. Raises ConfigError for another file, a damaged archive, a full disk.
    """
    given = find(archives)
    if VAL in given and DEVKIT not in given:
        raise ConfigError(f"{given[VAL]}: the class of each image stands in {DEVKIT}; give it beside")
    root.mkdir(parents=True, exist_ok=True)
    made = []
    with Progress() as progress:
        stage = Stage(root, progress)
        if DEVKIT in given:
            synsets, truth = stage.devkit(given[DEVKIT])
            made.append(f"{len(synsets):,} classes in {CLASSES}")
            if VAL in given:
                wnids = {synset.id: synset.wnid for synset in synsets}
                made += stage.val(given[VAL], [wnids[number] for number in truth])
        if TRAIN in given:
            made += stage.train(given[TRAIN])
    shutil.rmtree(root / STAGE, ignore_errors=True)
    return made


def find(archives: Sequence[Path]) -> dict[str, Path]:
    """The archives by their official names. Raises ConfigError for a file of another name, or if there is none."""
    files: dict[str, Path] = {}
    for path in archives:
        inside = [path / name for name in MD5 if (path / name).is_file()] if path.is_dir() else [path]
        if not inside:
            raise ConfigError(f"from={path}: none of {', '.join(MD5)} in this folder")
        if not inside[0].is_file():
            raise ConfigError(f"from={path}: no such file")
        if inside[0].name not in MD5:
            raise ConfigError(f"from={path}: not an archive of ILSVRC 2012; accepted: {', '.join(MD5)}")
        files |= {file.name: file for file in inside}
    return files


def read_classes(root: Path) -> list[Synset]:
    """The devkit's classes, written by `prepare`. Raises ConfigError if they are not there or not readable."""
    path = root / CLASSES
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [Synset(int(row["id"]), row["wnid"], row["words"]) for row in csv.DictReader(file, strict=True)]
    except FileNotFoundError:
        how = f"make it with: convarium data fetch imagenet from={DEVKIT}"
        raise ConfigError(f"data.class_order=devkit: no file {path}; {how}") from None
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise ConfigError(f"{path}: cannot be read ({type(error).__name__}: {error})") from None


class Stage:
    """Where the archives are checked and unpacked, beside what is whole already."""

    def __init__(self, root: Path, progress: Progress) -> None:
        self.root = root
        self.folder = root / STAGE
        self.progress = progress
        self.folder.mkdir(exist_ok=True)

    def devkit(self, archive: Path) -> tuple[list[Synset], list[int]]:
        """Write the classes to classes.csv; see `read_devkit`."""
        self._check(archive)
        synsets, truth = read_devkit(archive)
        path = self.folder / CLASSES
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([Synset._fields, *synsets])
        path.replace(self.root / CLASSES)
        return synsets, truth

    def train(self, archive: Path) -> list[str]:
        """Unpack the archive of one archive per class, a class at a time."""
        train = self.root / "train"
        with unpacking(archive), tarfile.open(archive, "r:") as outer:
            classes = {}
            for member in outer.getmembers():
                wnid = member.name.removesuffix(".tar")
                if not member.isreg() or not _WNID.fullmatch(wnid) or wnid == member.name:
                    raise ConfigError(f"{archive}: not unpacked: {member.name!r} is not the archive of a class")
                classes[wnid] = member
            missing = {wnid: member for wnid, member in classes.items() if not (train / wnid).is_dir()}
            if not missing:
                return []
            self._begin(archive, sum(member.size for member in missing.values()))
            train.mkdir(exist_ok=True)
            for wnid, member in missing.items():
                stream = outer.extractfile(member)
                assert stream is not None  # a regular file
                folder = self._empty("train", wnid)
                with tarfile.open(fileobj=stream, mode="r:") as inner:
                    for image in inner:
                        _require_image(archive, image, _TRAIN_IMAGE)
                        inner.extract(image, folder, filter="data")
                        self.progress.advance(image.size)
                folder.replace(train / wnid)
        return [f"{len(missing):,} classes of train"]

    def val(self, archive: Path, wnids: list[str]) -> list[str]:
        """Unpack the archive of all validation images into a folder per class, given the class of each in turn."""
        if (self.root / "val").is_dir():
            return []
        self._begin(archive, archive.stat().st_size)
        folder, count = self._empty("val"), 0
        with unpacking(archive), tarfile.open(archive, "r:") as tape:
            for image in tape:
                number = int(_require_image(archive, image, _VAL_IMAGE)[1])
                if not 1 <= number <= len(wnids):
                    raise ConfigError(f"{archive}: {image.name}: the devkit has {len(wnids)} validation images")
                tape.extract(image, folder / wnids[number - 1], filter="data")
                self.progress.advance(image.size)
                count += 1
        if count != len(wnids):
            raise ConfigError(f"{archive}: has {count:,} images, but the devkit {len(wnids):,}")
        folder.replace(self.root / "val")
        return [f"{count:,} images of val"]

    def _begin(self, archive: Path, size: int) -> None:
        self._check(archive)
        free = shutil.disk_usage(self.root).free
        if free < size:
            raise ConfigError(f"{self.root}: {size / 1e9:.1f} GB are needed there, {free / 1e9:.1f} GB are free")
        self.progress.begin(size, "bytes", f"unpack {archive.name}")

    def _check(self, archive: Path) -> None:
        """Once per archive, also if the call is repeated: to read 138 GB takes minutes."""
        record = self.folder / "checked.json"
        checked = json.loads(record.read_text()) if record.exists() else {}
        status = archive.stat()
        mark = [str(archive.resolve()), status.st_size, status.st_mtime_ns, MD5[archive.name]]
        if checked.get(archive.name) != mark:
            check_md5(archive, MD5[archive.name], self.progress)
            record.write_text(json.dumps({**checked, archive.name: mark}))

    def _empty(self, *names: str) -> Path:
        folder = self.folder.joinpath(*names)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder


def read_devkit(archive: Path) -> tuple[list[Synset], list[int]]:
    """The classes that have images, by their id, and the id of each validation image in turn, without unpacking
    anything. Raises ConfigError."""
    from scipy.io import loadmat

    inside = []
    with unpacking(archive), tarfile.open(archive, "r:gz") as bundle:
        for name in ("meta.mat", "ILSVRC2012_validation_ground_truth.txt"):
            path = f"ILSVRC2012_devkit_t12/data/{name}"
            stream = bundle.extractfile(path) if path in bundle.getnames() else None
            if stream is None:
                raise ConfigError(f"{archive}: has no file {path}")
            inside.append(stream.read())
    meta, truth = inside
    try:
        rows = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
        leaves = [row for row in rows if int(row["num_children"]) == 0]  # the others are groups of classes
        synsets = sorted(Synset(int(row["ILSVRC2012_ID"]), str(row["WNID"]), str(row["words"])) for row in leaves)
        ids = [int(line) for line in truth.decode("ascii").split()]
        if not set(ids) <= {synset.id for synset in synsets}:
            raise ValueError("a validation image of no known class")
        if not all(_WNID.fullmatch(synset.wnid) for synset in synsets):
            raise ValueError("a class with a strange name")
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{archive}: cannot be read ({type(error).__name__}: {error})") from None
    return synsets, ids


def _require_image(archive: Path, member: tarfile.TarInfo, pattern: re.Pattern[str]) -> re.Match[str]:
    """The name of a member taken apart; nothing but plain files of the expected form is unpacked."""
    match = pattern.fullmatch(member.name)
    if match is None or not member.isreg():
        raise ConfigError(f"{archive}: not unpacked: {member.name!r} is not an image of ILSVRC 2012")
    return match
