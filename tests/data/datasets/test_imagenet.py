import csv
import hashlib
import io
import itertools
import os
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from convarium.data.datasets import archives, ilsvrc
from convarium.data.datasets.imagenet import DownloadedFolders, ImageNet
from convarium.errors import ConfigError, MissingData

WNIDS = ("n00000003", "n00000001", "n00000002")
"""In the devkit's order, which is not the sorted one."""
TRUTH = (3, 1, 1, 2)
"""The class of each validation image, by its id."""


def picture(shade):
    buffer = io.BytesIO()
    Image.new("RGB", (12, 12), (shade, 0, 0)).save(buffer, "jpeg")
    return buffer.getvalue()


def add(tar, name, content, **changes):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in changes.items():
        setattr(member, key, value)
    tar.addfile(member, io.BytesIO(content))


def packed(path, contents, mode="w"):
    """A tar file of {name: bytes}."""
    with tarfile.open(path, mode) as tar:
        for name, content in contents.items():
            add(tar, name, content)
    return path


def class_archive(wnid, images=2):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for k in range(images):
            add(tar, f"{wnid}_{k + 1}.JPEG", picture(10 * k))
    return buffer.getvalue()


@pytest.fixture
def official(tmp_path, monkeypatch):
    """The three archives in small, in a folder, their MD5 entered as the published ones."""
    savemat = pytest.importorskip("scipy.io").savemat
    folder = tmp_path / "archives"
    folder.mkdir()
    packed(folder / ilsvrc.TRAIN, {f"{wnid}.tar": class_archive(wnid) for wnid in WNIDS})
    packed(folder / ilsvrc.VAL, {f"ILSVRC2012_val_{k + 1:08}.JPEG": picture(20 * k) for k in (2, 0, 3, 1)})
    fields = ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children")
    rows = [(k + 1, wnid, f"word {k + 1}, other", "...", 0) for k, wnid in enumerate(WNIDS)]
    rows.append((4, "n00000009", "a group of classes", "...", 3))
    synsets = np.array(rows, dtype=[(field, object) for field in fields])
    meta = io.BytesIO()
    savemat(meta, {"synsets": synsets[:, None]})
    inside = {
        "meta.mat": meta.getvalue(),
        "ILSVRC2012_validation_ground_truth.txt": "".join(f"{number}\n" for number in TRUTH).encode(),
    }
    contents = {f"ILSVRC2012_devkit_t12/data/{name}": content for name, content in inside.items()}
    packed(folder / ilsvrc.DEVKIT, contents, "w:gz")
    sign(folder, monkeypatch)
    return folder


def sign(folder, monkeypatch):
    """Take the MD5 of the archives as they are for the published ones."""
    for name in ilsvrc.MD5:
        if (folder / name).exists():
            monkeypatch.setitem(ilsvrc.MD5, name, hashlib.md5((folder / name).read_bytes()).hexdigest())


def imagenet(root, **options):
    facts = {"num_classes": 3, "channels": 3, "image_size": 12, "mean": [0.5], "std": [0.25], "val_fraction": 0.0}
    return ImageNet(root=str(root), name="imagenet", **{**facts, "batch_size": 2, "eval_batch_size": 3, **options})


def tree(root):
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


# from the official archives


def test_the_archives_become_folders_and_the_devkit_names_the_validation_images(official, tmp_path):
    root = tmp_path / "imagenet"
    made = ilsvrc.prepare([official], root)
    assert made == ["3 classes in classes.csv", "4 images of val", "3 classes of train"]
    val = {f"val/{WNIDS[number - 1]}/ILSVRC2012_val_{k + 1:08}.JPEG" for k, number in enumerate(TRUTH)}
    train = {f"train/{wnid}/{wnid}_{k}.JPEG" for wnid, k in itertools.product(WNIDS, (1, 2))}
    assert tree(root) == val | train | {"classes.csv"}
    assert (root / "val" / WNIDS[0] / "ILSVRC2012_val_00000002.JPEG").read_bytes() == picture(20)
    assert ilsvrc.read_classes(root)[0] == (1, "n00000003", "word 1, other")
    assert ilsvrc.prepare([official], root)[1:] == []  # all of it is there


def test_the_classes_are_numbered_as_weights_have_them_or_as_the_devkit_has_them(official, tmp_path):
    ilsvrc.prepare([official], tmp_path / "imagenet")
    by_wnid, by_id = imagenet(tmp_path / "imagenet"), imagenet(tmp_path / "imagenet", class_order="devkit")
    assert by_wnid._own_val.targets.tolist() == [0, 1, 2, 2]
    assert by_id._own_val.targets.tolist() == [0, 0, 1, 2]
    assert torch.bincount(by_id._own_val.targets).tolist() == [TRUTH.count(number) for number in (1, 2, 3)]
    assert (by_id.num_train, by_id.num_val, by_id.num_test, by_id.test_is_val) == (6, 4, 4, True)


def test_a_stopped_preparation_goes_on_and_shows_only_what_is_whole(official, tmp_path, monkeypatch):
    root = tmp_path / "imagenet"
    extract, done = tarfile.TarFile.extract, []

    def stop_in_the_second_class(self, member, *args, **kwargs):
        extract(self, member, *args, **kwargs)
        done.append(member.name)
        if len(done) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarFile, "extract", stop_in_the_second_class)
        with pytest.raises(KeyboardInterrupt):
            ilsvrc.prepare([official / ilsvrc.TRAIN], root)
    assert [path.name for path in (root / "train").iterdir()] == [WNIDS[0]]
    assert len(tree(root / "train")) == 2
    checked = []
    monkeypatch.setattr(ilsvrc, "check_md5", lambda path, *_: checked.append(path))
    first = (root / "train" / WNIDS[0]).stat().st_mtime_ns
    assert ilsvrc.prepare([official / ilsvrc.TRAIN], root) == ["2 classes of train"]
    assert len(tree(root / "train")) == 6
    assert (root / "train" / WNIDS[0]).stat().st_mtime_ns == first
    assert checked == []  # known to be sound since the first call
    assert not (root / archives.STAGE).exists()


def test_a_validation_split_appears_only_as_a_whole(official, tmp_path, monkeypatch):
    packed(official / ilsvrc.VAL, {"ILSVRC2012_val_00000001.JPEG": picture(0)})
    sign(official, monkeypatch)
    with pytest.raises(ConfigError, match="has 1 images, but the devkit 4"):
        ilsvrc.prepare([official], tmp_path / "imagenet")
    assert not (tmp_path / "imagenet" / "val").exists()


@pytest.mark.parametrize("name", list(ilsvrc.MD5))
def test_a_damaged_archive_is_not_unpacked(official, tmp_path, capsys, name):
    with (official / name).open("r+b") as file:
        file.seek(700)
        file.write(b"?")
    with pytest.raises(ConfigError, match=rf"{name}: damaged, incomplete or another file: its MD5 is [0-9a-f]+, the"):
        ilsvrc.prepare([official], tmp_path / "imagenet")
    assert not (tmp_path / "imagenet" / ("val" if name == ilsvrc.VAL else "train")).exists()
    assert capsys.readouterr() == ("", "")  # no bars where nobody looks


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("../../evil.JPEG", {}),
        ("/tmp/evil.JPEG", {}),
        ("n00000001/n00000001_1.JPEG", {}),
        ("n00000001_1.JPEG", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd", "size": 0}),
        ("n00000001_1.JPEG", {"type": tarfile.LNKTYPE, "linkname": "../../x", "size": 0}),
        ("n00000001_1.sh", {}),
    ],
)
def test_what_is_no_plain_image_is_not_unpacked(official, tmp_path, monkeypatch, name, changes):
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as tar:
        add(tar, name, b"" if changes else b"content", **changes)
    packed(official / ilsvrc.TRAIN, {"n00000001.tar": inner.getvalue()})
    sign(official, monkeypatch)
    with pytest.raises(ConfigError, match=r"not unpacked: .* is not an image of ILSVRC 2012"):
        ilsvrc.prepare([official / ilsvrc.TRAIN], tmp_path / "imagenet")
    assert tree(tmp_path / "imagenet") <= {".fetch/checked.json"}
    assert not (tmp_path / "evil.JPEG").exists()


@pytest.mark.parametrize("name", ["../n00000001.tar", "n00000001", "readme.txt", "n1.tar"])
def test_what_is_no_archive_of_a_class_is_not_unpacked(official, tmp_path, monkeypatch, name):
    packed(official / ilsvrc.TRAIN, {name: class_archive("n00000001")})
    sign(official, monkeypatch)
    with pytest.raises(ConfigError, match="is not the archive of a class"):
        ilsvrc.prepare([official / ilsvrc.TRAIN], tmp_path / "imagenet")


def test_archives_that_are_not_those_are_refused_by_name(official, tmp_path):
    (tmp_path / "ILSVRC2012_img_test.tar").touch()
    (tmp_path / "empty").mkdir()
    for given, message in (
        ([tmp_path / "ILSVRC2012_img_test.tar"], "not an archive of ILSVRC 2012; accepted: ILSVRC2012_img_train.tar"),
        ([tmp_path / "gone.tar"], "gone.tar: no such file"),
        ([tmp_path / "empty"], "none of ILSVRC2012_img_train.tar, .* in this folder"),
        ([official / ilsvrc.VAL], "the class of each image stands in ILSVRC2012_devkit_t12.tar.gz; give it beside"),
    ):
        with pytest.raises(ConfigError, match=message):
            ilsvrc.prepare(given, tmp_path / "imagenet")


def test_a_disk_that_is_too_small_is_named_before_anything_is_unpacked(official, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ConfigError, match=r"GB are needed there, 0\.0 GB are free"):
        ilsvrc.prepare([official], tmp_path / "imagenet")


def test_a_full_disk_ends_in_one_line(official, tmp_path, monkeypatch):
    def full(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "extract", full)
    with pytest.raises(ConfigError, match=r"No space left on device.*; what is whole is kept: make room and repeat"):
        ilsvrc.prepare([official / ilsvrc.TRAIN], tmp_path / "imagenet")


@pytest.mark.parametrize("contents", [{}, {"ILSVRC2012_devkit_t12/data/meta.mat": b"?"}])
def test_a_devkit_without_its_files_is_refused(official, tmp_path, monkeypatch, contents):
    packed(official / ilsvrc.DEVKIT, contents, "w:gz")
    sign(official, monkeypatch)
    with pytest.raises(ConfigError, match=r"has no file ILSVRC2012_devkit_t12/data/"):
        ilsvrc.prepare([official / ilsvrc.DEVKIT], tmp_path / "imagenet")


# as a dataset


def test_imagenet_validates_and_tests_on_its_validation_split(class_folders):
    data = imagenet(class_folders(splits=("train", "val", "test"), classes=WNIDS))
    assert (data.num_train, data.num_val, data.num_test, data.test_is_val) == (12, 12, 12, True)


def test_imagenet_tests_on_its_validation_split_alone_where_validation_is_carved(class_folders):
    data = imagenet(class_folders(splits=("train", "val"), classes=WNIDS), val_fraction=0.5)
    assert (data.num_train, data.num_val, data.num_test, data.test_is_val) == (6, 6, 12, False)


def test_imagenet_has_english_names():
    data = imagenet("nowhere", num_classes=1000)
    assert (len(data.class_names), data.class_names[0]) == (1000, "tench")


def test_the_english_names_follow_the_devkit_s_order(tmp_path):
    wnids = [f"n{number:08}" for number in reversed(range(1000))]
    with (tmp_path / ilsvrc.CLASSES).open("w", newline="") as file:
        csv.writer(file).writerows([ilsvrc.Synset._fields, *((k + 1, wnid, "") for k, wnid in enumerate(wnids))])
    names = imagenet(tmp_path, num_classes=1000).class_names
    assert imagenet(tmp_path, num_classes=1000, class_order="devkit").class_names == names[::-1]


def test_the_devkit_s_order_without_the_devkit_says_how_to_get_it(class_folders):
    data = imagenet(class_folders(splits=("train", "val"), classes=WNIDS), class_order="devkit")
    with pytest.raises(ConfigError, match=r"no file .*classes\.csv; make it with: convarium data fetch imagenet from="):
        data.setup("fit")


def test_missing_imagenet_says_where_it_belongs(tmp_path):
    data = imagenet(tmp_path / "imagenet")
    with pytest.raises(MissingData, match=r"data=imagenet: no folder .*imagenet/train; .*image-net\.org"):
        data.setup("fit")
    with pytest.raises(ConfigError, match=r"cannot download ImageNet"):
        data.fetch()


# its smaller relatives


def relative(root, archive, **options):
    facts = {"num_classes": 2, "channels": 3, "image_size": 12, "mean": [0.5], "std": [0.25], "val_fraction": 0.0}
    md5 = hashlib.md5(archive.read_bytes()).hexdigest() if archive.exists() else "0" * 32
    where = {"root": str(root), "archive": f"http://localhost/{archive.name}", "md5": md5}
    return DownloadedFolders(name="small", **{**facts, **where, "batch_size": 2, **options})


@pytest.fixture
def imagenette(tmp_path):
    contents = {f"imagenette2/{split}/n{k}/{k}.JPEG": picture(k) for split in ("train", "val") for k in (1, 2)}
    return packed(tmp_path / "imagenette2.tgz", contents, "w:gz")


@pytest.fixture
def tiny_imagenet(tmp_path):
    with zipfile.ZipFile(tmp_path / "tiny.zip", "w") as bundle:
        for k in (1, 2):
            bundle.writestr(f"tiny/train/n{k}/images/n{k}_0.JPEG", picture(k))
            bundle.writestr(f"tiny/val/images/val_{k}.JPEG", picture(k))
        bundle.writestr("tiny/val/val_annotations.txt", "val_1.JPEG\tn2\t0\t0\t9\t9\nval_2.JPEG\tn1\t0\t0\t9\t9\n")
        bundle.writestr("tiny/test/images/test_0.JPEG", picture(0))
        bundle.writestr("tiny/words.txt", "n1\ttabby, tabby cat\nn3\tnobody\nn2\ttench, Tinca tinca\n")
    return tmp_path / "tiny.zip"


def test_imagenette_is_unpacked_and_named(imagenette, tmp_path):
    data = relative(tmp_path / "sets", imagenette, wnids=["n1", "n2"], classes=["tench", "church"])
    assert data.prepare([imagenette]) == ["train and val from imagenette2.tgz"]
    assert {path.name for path in (tmp_path / "sets").iterdir()} == {"train", "val"}
    assert (data.class_names, data.num_train, data.num_val, data.test_is_val) == (["tench", "church"], 2, 2, True)
    assert data.prepare([]) == []


def test_tiny_imagenet_is_unpacked_and_its_test_images_are_left_alone(tiny_imagenet, tmp_path):
    data = relative(tmp_path / "sets", tiny_imagenet)
    assert data.class_names == ["0", "1"]  # not there yet
    data.prepare([tiny_imagenet])
    assert data.class_names == ["tabby", "tench"]
    assert (data.num_train, data.num_val, data.num_test, data.test_is_val) == (2, 2, 2, True)
    assert data._own_val.targets.tolist() == [1, 0]


def test_another_class_than_the_dataset_s_is_named(imagenette, tmp_path):
    data = relative(tmp_path / "sets", imagenette, wnids=["n1", "n7"])
    data.prepare([imagenette])
    with pytest.raises(
        ConfigError, match="the classes of train differ from those expected; only in train: n2; missing"
    ):
        data.setup("fit")


def test_a_wrong_archive_is_refused(imagenette, tmp_path):
    data = relative(tmp_path / "sets", imagenette, md5="0" * 32)
    with pytest.raises(ConfigError, match=r"imagenette2\.tgz: damaged, incomplete or another file"):
        data.prepare([imagenette])
    with pytest.raises(ConfigError, match=r"gone.tgz: no such file; accepted: imagenette2.tgz"):
        data.prepare([tmp_path / "gone.tgz"])
    with pytest.raises(ConfigError, match=r"2 files; small is one archive, imagenette2.tgz"):
        data.prepare([imagenette, imagenette])


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_an_archive_cannot_write_outside(tmp_path, kind):
    archive = tmp_path / f"evil.{kind}"
    if kind == "tar":
        packed(archive, {"../../evil.txt": b"?"})
    else:
        with zipfile.ZipFile(archive, "w") as bundle:
            bundle.writestr("../../evil.txt", b"?")
    with pytest.raises(ConfigError, match=r"not unpacked: .*evil.txt.* outside"):
        relative(tmp_path / "sets" / "small", archive).prepare([archive])
    assert not list(tmp_path.rglob("evil.txt"))


def test_an_archive_without_the_folders_is_refused(tmp_path):
    archive = packed(tmp_path / "other.tgz", {"other/train/n1/1.JPEG": picture(1)}, "w:gz")
    with pytest.raises(ConfigError, match=r"other\.tgz: has no folder val"):
        relative(tmp_path / "sets", archive).prepare([archive])
    (tmp_path / "no.zip").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=r"no\.zip: neither a \.zip nor a \.tar"):
        relative(tmp_path / "sets", tmp_path / "no.zip").prepare([tmp_path / "no.zip"])


def test_without_a_network_the_way_to_a_copy_is_said(tmp_path, monkeypatch):
    from torchvision.datasets import utils

    def refuse(*args):
        raise OSError("no route to host")

    monkeypatch.setattr(utils, "download_url", refuse)
    with pytest.raises(ConfigError, match=r"could not download http://localhost/x\.tgz .* fetch small from=x\.tgz"):
        relative(tmp_path / "sets", tmp_path / "x.tgz").fetch()
    assert tree(tmp_path) == set()


def test_a_download_is_unpacked_and_not_kept(imagenette, tmp_path, monkeypatch):
    from torchvision.datasets import utils

    def copy(url, folder, name, md5):
        assert url == "http://localhost/imagenette2.tgz"
        shutil.copy(imagenette, os.path.join(folder, name))

    monkeypatch.setattr(utils, "download_url", copy)
    data = relative(tmp_path / "sets", imagenette)
    data.fetch()
    assert {path.name for path in (tmp_path / "sets").iterdir()} == {"train", "val"}
