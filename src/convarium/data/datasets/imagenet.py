"""ImageNet and its smaller relatives: published photographs whose official test split has no public labels."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from convarium.data.datasets import ilsvrc
from convarium.data.datasets.archives import STAGE, check_md5, unpack
from convarium.data.datasets.folder import FolderImages
from convarium.data.image_files.listing import class_folders
from convarium.data.sources import Source
from convarium.errors import ConfigError, MissingData
from convarium.progress_bar import Progress
from convarium.wording import one_line


@dataclass(kw_only=True, eq=False, repr=False)
class OfficialFolders(FolderImages):
    """root/{train,val}/WNID; the official validation split is validation and test.
    With a val_fraction above 0, or a fold, validation is carved from train, and the official validation split is the
    test alone."""

    by_name: ClassVar[bool] = False
    name: str  # what the dataset is called in `data=...`, for the command that fetches it

    def read(self, split: str) -> Source | None:
        self._require()
        if split == "train":
            return super().read(split)
        official = "test" if self.carves else "val"
        return super().read("val") if split == official else None

    def count_test(self) -> int:
        self._require()
        return self._count("val") if self.carves else 0

    def prepare(self, archives: Sequence[Path]) -> list[str]:
        """Make the folders from archives on this disk, or without any, download them; returns what was made, in words.
        What is there is kept. Raises ConfigError."""
        raise NotImplementedError  # abstract: a dataset says

    def fetch(self) -> None:
        self.prepare(())

    @property
    def missing(self) -> list[str]:
        """Those of train and val that are not on this disk."""
        return [split for split in ("train", "val") if not Path(self.root, split).expanduser().is_dir()]

    def _require(self) -> None:
        for split in self.missing:
            raise MissingData(f"data={self.name}: no folder {Path(self.root, split)}; {self._instructions()}")

    def _instructions(self) -> str:
        return f"fetch it with: convarium data fetch {self.name} (data.root names another folder)"


@dataclass(kw_only=True, eq=False, repr=False)
class ImageNet(OfficialFolders):
    """ILSVRC 2012."""

    class_order: str = "sorted"
    """sorted: by WNID, as published weights have it; devkit: by ILSVRC2012_ID, as the challenge's files have it."""

    @property
    def class_names(self) -> list[str]:
        """The usual English names, or the class numbers for a part of ImageNet."""
        from torchvision.models import ResNet50_Weights

        english: list[str] = ResNet50_Weights.IMAGENET1K_V2.meta["categories"]
        if len(english) != self.num_classes:
            return super().class_names
        if self.class_order == "sorted":
            return english
        wnids = self._devkit()
        names = dict(zip(sorted(wnids), english, strict=True))
        return [names[wnid] for wnid in wnids]

    def prepare(self, archives: Sequence[Path]) -> list[str]:
        if archives:
            return ilsvrc.prepare(archives, Path(self.root).expanduser())
        if self.missing:
            raise ConfigError(self._instructions())
        return []

    @property
    def _labels(self) -> list[str] | None:
        return self.classes if self.class_order == "sorted" else self._devkit()

    def _devkit(self) -> list[str]:
        """The class folders by ILSVRC2012_ID; of a part of ImageNet, those that are there."""
        wnids = [synset.wnid for synset in ilsvrc.read_classes(Path(self.root).expanduser())]
        if len(wnids) == self.num_classes:
            return wnids
        there = set(class_folders(self.root))
        return [wnid for wnid in wnids if wnid in there]

    def _instructions(self) -> str:
        return (
            "convarium data fetch cannot download ImageNet: register at image-net.org, get"
            f" {', '.join(ilsvrc.MD5)}, and: convarium data fetch {self.name} from=FOLDER_WITH_THEM"
        )


@dataclass(kw_only=True, eq=False, repr=False)
class DownloadedFolders(OfficialFolders):
    """A smaller relative of ImageNet: one archive that anybody may download."""

    archive: str  # where it is
    md5: str  # the archive's, as published
    wnids: list[str] | None = None
    """The class folders in the order of the class numbers and of `classes`; None: those of train, sorted."""

    @property
    def class_names(self) -> list[str]:
        """The given names, or those in the dataset's own words.txt, or the class numbers."""
        words = Path(self.root, "words.txt").expanduser()
        if self.classes is not None or self.missing or not words.is_file():
            return super().class_names
        names = dict(line.split("\t", 1) for line in words.read_text(encoding="utf-8").splitlines() if "\t" in line)
        return [names.get(wnid, wnid).partition(",")[0] for wnid in class_folders(self.root)]

    def prepare(self, archives: Sequence[Path]) -> list[str]:
        root = Path(self.root).expanduser()
        if len(archives) > 1:
            raise ConfigError(f"from: {len(archives)} files; {self.name} is one archive, {self._file}")
        for path in archives:
            if not path.is_file():
                raise ConfigError(f"from={path}: no such file; accepted: {self._file}")
        if not self.missing:
            return []
        stage = root / STAGE
        stage.mkdir(parents=True, exist_ok=True)
        archive = archives[0] if archives else self._download(stage)
        unpacked = stage / "unpacked"
        shutil.rmtree(unpacked, ignore_errors=True)
        with Progress() as progress:
            if archives:
                check_md5(archive, self.md5, progress)
            unpack(archive, unpacked, progress)
        top = next((folder for folder in sorted(unpacked.iterdir()) if (folder / "train").is_dir()), unpacked)
        for split in ("train", "val"):
            if not (top / split).is_dir():
                raise ConfigError(f"{archive}: has no folder {split}")
        for item in top.iterdir():
            if not (root / item.name).exists():
                item.rename(root / item.name)
        shutil.rmtree(stage)
        return [f"train and val from {archive.name}"]

    @property
    def _labels(self) -> list[str] | None:
        return self.wnids

    @property
    def _file(self) -> str:
        return Path(urlsplit(self.archive).path).name

    def _download(self, folder: Path) -> Path:
        from torchvision.datasets.utils import download_url  # seconds to import, and needed here only

        try:
            download_url(self.archive, folder, self._file, self.md5)
        except (RuntimeError, OSError, ValueError) as error:
            raise ConfigError(
                f"data={self.name}: could not download {self.archive} ({type(error).__name__}: {one_line(error)}); a"
                f" copy of it is unpacked by: convarium data fetch {self.name} from={self._file}"
            ) from error
        return folder / self._file
