import os
import subprocess
import sys
import unicodedata

import pytest

from convarium.data.image_files.listing import class_folders as class_folders_in
from convarium.data.image_files.listing import class_names, listing, split_folder, walk
from convarium.data.image_files.tables import are_classes_of
from convarium.errors import ConfigError


@pytest.fixture
def table(tmp_path):
    """Write files and a table of them; returns the table's path."""

    def make(text, files=("a.jpg", "b.jpg", "deep/c.jpg"), name="labels.csv", encoding="utf-8"):
        root = tmp_path / "set"
        for file in files:
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).touch()
        (root / name).write_bytes(text.encode(encoding))
        return root / name

    return make


def names(found, root):
    return [os.path.relpath(path, root) for path in found.paths]


def test_listing_needs_no_torch():
    code = "import sys, convarium.data.image_files.listing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# folders


def test_class_folders_become_paths_and_class_numbers(class_folders):
    root = class_folders(splits=("train", "test"), images=2)
    found = listing(root, "train")
    assert names(found, root) == [f"train/{label}/{k}.png" for label in ("cat", "dog") for k in (0, 1)]
    assert (found.targets, found.classes) == ([0, 0, 1, 1], ["cat", "dog"])
    assert listing(root, "val") is None


def test_class_numbers_follow_the_given_order(class_folders):
    root = class_folders(images=1)
    found = listing(root, "train", ["dog", "cat"])
    assert (names(found, root), found.targets) == (["train/dog/0.png", "train/cat/0.png"], [0, 1])


def test_a_folder_without_train_is_the_training_split(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / ".hidden").mkdir()
    assert class_folders_in(tmp_path) == ["a"]
    assert split_folder(tmp_path, "train") == tmp_path
    assert split_folder(tmp_path, "val") is None


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "valid", "test"),
        ("train", "validation", "testing"),
        ("Training", "Val", "Testing"),
        ("TRAIN", "DEV", "Test"),
        ("training_set", "val_images", "test_set"),
        ("train", "dev", "hold-out"),
    ],
)
def test_a_split_is_known_by_any_usual_name(class_folders, train, val, test):
    root = class_folders(splits=(train, val, test), images=1)
    for split, folder in (("train", train), ("val", val), ("test", test)):
        found = listing(root, split)
        assert (names(found, root), found.classes) == ([f"{folder}/cat/0.png", f"{folder}/dog/0.png"], ["cat", "dog"])
    assert class_names(root) == ["cat", "dog"]


def test_a_table_s_splits_are_known_by_any_usual_name(table):
    path = table("path,label,split\na.jpg,cat,Training\nb.jpg,cat,valid\ndeep/c.jpg,cat,holdout\n")
    assert [len(listing(path, split).paths) for split in ("train", "val", "test")] == [1, 1, 1]


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("train/cat", "val/cat", "valid/cat"), "val and valid both look like the split val; keep one"),
        (("Train/cat", "train/cat"), "Train and train both look like the split train"),
        (("train/cat", "train/dog", "bird"), "train named like a split beside bird with the images of a class"),
        (("cat", "dog", "test"), "test named like a split beside cat, dog with"),
        (("cat", "dog", "Valid/cat"), "Valid named like a split beside cat, dog with"),
        (("training/cat", "evaluation/cat"), "evaluation may be either; accepted: a folder val or test"),
    ],
)
def test_what_looks_like_a_split_and_is_not_read_is_refused_by_name(tmp_path, folders, message):
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "0.png").touch()
    with pytest.raises(ConfigError, match=rf"^data\.root=.*: {message}") as refused:
        listing(tmp_path, "train")
    assert "\n" not in str(refused.value)


def test_folders_without_images_may_lie_beside_the_splits(class_folders):
    root = class_folders(splits=("train", "test"), images=1)
    for other in ("labels", "docs/figures", ".hidden"):
        (root / other).mkdir(parents=True)
        (root / other / "notes.txt").touch()
    (root / "docs" / "figures" / "plot.png").touch()
    assert (listing(root, "val"), len(listing(root, "test").paths)) == (None, 2)


def test_known_classes_keep_their_folders_whatever_these_are_called(class_folders):
    root = class_folders(splits=(".",), classes=("invalid", "valid"), images=1)
    assert listing(root, "train", ["invalid", "valid"]).targets == [0, 1]
    with pytest.raises(ConfigError, match="valid named like a split beside invalid"):
        listing(root, "train")


def test_images_are_found_at_any_depth_and_in_a_fixed_order(tmp_path):
    hidden = (".hidden.png", ".ipynb_checkpoints/a.png")
    for name in ("b.PNG", "a.jpeg", "deep/er/c.webp", "deep/b.png", "notes.txt", *hidden):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    expected = [str(tmp_path / name) for name in ("a.jpeg", "b.PNG", "deep/b.png", "deep/er/c.webp")]
    assert list(walk(tmp_path)) == expected


@pytest.mark.parametrize("target", [".", "..", "../..", "deep", "/"])
def test_a_loop_of_links_ends_and_lists_each_image_once(tmp_path, target):
    (tmp_path / "train" / "cat" / "deep").mkdir(parents=True)
    (tmp_path / "train" / "cat" / "deep" / "0.png").touch()
    (tmp_path / "train" / "dog").mkdir()
    (tmp_path / "train" / "dog" / "1.png").touch()
    (tmp_path / "train" / "cat" / "loop").symlink_to(target)
    assert list(walk(tmp_path / "train" / "cat")) == [str(tmp_path / "train" / "cat" / "deep" / "0.png")]


def test_a_linked_folder_of_images_is_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "0.png").touch()
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "more").symlink_to(tmp_path / "elsewhere")
    assert list(walk(tmp_path / "cat")) == [str(tmp_path / "cat" / "more" / "0.png")]


def test_a_link_to_itself_is_left_to_the_reader(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "0.png").symlink_to("0.png")
    (tmp_path / "self").symlink_to("self")
    assert class_folders_in(tmp_path) == ["cat"]
    assert list(walk(tmp_path / "cat")) == [str(tmp_path / "cat" / "0.png")]


def test_a_folder_that_cannot_be_opened_is_named(tmp_path, monkeypatch):
    (tmp_path / "cat").mkdir()

    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ConfigError, match=r"cat: cannot list this folder \(Permission denied\)"):
        list(walk(tmp_path / "cat"))


def test_tiny_imagenet_says_in_a_file_what_its_validation_images_are(class_folders):
    root = class_folders(classes=("n1", "n2"))
    (root / "val" / "images").mkdir(parents=True)
    for name in ("v0.JPEG", "v1.JPEG", "unlisted.JPEG"):
        (root / "val" / "images" / name).touch()
    annotations = root / "val" / "val_annotations.txt"
    annotations.write_text("v0.JPEG\tn2\t0\t32\t44\t62\nv1.JPEG\tn1\t0\t0\t9\t9\n")
    found = listing(root, "val")
    assert (names(found, root), found.targets) == (["val/images/v0.JPEG", "val/images/v1.JPEG"], [1, 0])
    for text, message in (
        ("v0.JPEG\tn3\n", r"line 1: n3: not a class folder of train"),
        ("v0.JPEG\tn1\ngone.JPEG\tn1\n", r"line 2: no such file .*gone\.JPEG"),
        ("v0.JPEG\n", r"line 1: 'v0.JPEG': not a class folder"),
        ("", "no lines"),
    ):
        annotations.write_text(text)
        with pytest.raises(ConfigError, match=message):
            listing(root, "val")


# tables


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a.jpg,cat\nb.jpg,dog\ndeep/c.jpg,cat\n", "labels.csv"),
        ("path,label\na.jpg,cat\nb.jpg,dog\ndeep/c.jpg,cat", "labels.csv"),
        ("Label,Path\ncat,a.jpg\ndog,b.jpg\ncat,deep/c.jpg\n", "labels.CSV"),
        ("path\tlabel\na.jpg\tcat\nb.jpg\tdog\ndeep/c.jpg\tcat\n", "labels.tsv"),
        ("\ufeffpath,label,width\r\na.jpg, cat,3\r\n\r\nb.jpg,dog,4\r\n./deep/../deep/c.jpg,cat,5\r\n", "labels.csv"),
        ('path,label,split\n"a.jpg","cat",train\nb.jpg,dog,train\ndeep/c.jpg,cat,train\n', "labels.csv"),
    ],
)
def test_a_table_is_read_however_it_is_written(table, text, name):
    path = table(text, name=name)
    found = listing(path, "train")
    assert names(found, path.parent) == ["a.jpg", "b.jpg", "deep/c.jpg"]
    assert (found.targets, found.classes) == ([0, 1, 0], ["cat", "dog"])
    assert listing(path, "val") is listing(path, "test") is None


def test_a_table_has_splits(table):
    path = table("path,label,split\na.jpg,cat,train\nb.jpg,cat,val\ndeep/c.jpg,cat,test\n")
    for split, name in (("train", "a.jpg"), ("val", "b.jpg"), ("test", "deep/c.jpg")):
        assert names(listing(path, split), path.parent) == [name]


def test_numbers_are_class_numbers(table):
    path = table("a.jpg,10\nb.jpg,2\ndeep/c.jpg,0\n")
    assert class_names(path, 12) == [str(number) for number in range(12)]
    assert listing(path, "train", class_names(path, 12)).targets == [10, 2, 0]
    with pytest.raises(ConfigError, match=r"up to 10, but 1 does not occur; .* set data\.num_classes=11"):
        listing(path, "train")
    with pytest.raises(ConfigError, match=r"line 1: label 10: out of range; accepted: 0 to 2, by data.num_classes"):
        class_names(path, 3)
    with pytest.raises(ConfigError, match=r"line 1: label 10: out of range"):
        listing(path, "train", ["a", "b", "c"])


def test_one_class_of_numbers_is_binary_data(table):
    path = table("a.jpg,1\nb.jpg,0\ndeep/c.jpg,1\n")
    assert listing(path, "train", class_names(path, 1)).targets == [1, 0, 1]


def test_a_changed_table_is_read_again(table):
    assert listing(table("a.jpg,cat\n"), "train").classes == ["cat"]
    assert listing(table("a.jpg,wolf\n"), "train").classes == ["wolf"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg,cat\nzzz.jpg,dog\n", r"line 2: no such file .*zzz\.jpg"),
        ("a.jpg,cat\nnowhere/b.jpg,dog\n", r"line 2: no such file .*nowhere/b\.jpg"),
        ("a.jpg,cat\na.jpg/b.jpg,dog\n", r"line 2: no such file"),
        ("a.jpg,cat\ndeep,dog\n", r"line 2: .*deep: not a file but a folder"),
        ("a.jpg,cat\n../b.jpg,dog\n", r"line 2: path \.\./b\.jpg: outside the table's folder"),
        ("a.jpg,cat\ndeep/../../b.jpg,dog\n", "line 2: path deep/../../b.jpg: outside the table's folder"),
        ("a.jpg,cat\n/etc/passwd,dog\n", "line 2: path /etc/passwd: outside the table's folder"),
        ("a.jpg,cat\nb.jpg,\n", r"line 2: no label for b\.jpg"),
        ("a.jpg,cat\n,dog\n", "line 2: no path"),
        ("a.jpg,cat\na\0.jpg,dog\n", "line 2: no path"),
        ("a.jpg,cat\nb.jpg,dog\n./a.jpg,dog\n", r"line 3: path a\.jpg: listed as dog, but in line 1 as cat"),
        ("a.jpg,cat,train\nb.jpg,dog,train\na.jpg,cat,val\n", "line 3: .* listed as val, but in line 1 as train"),
        ("a.jpg,cat\nb.jpg,dog\na.jpg,cat\n", "line 3: path a.jpg: listed again after line 1"),
        ("path,label,split\na.jpg,cat,trainee\n", "line 2: split 'trainee': accepted: train, val, test"),
        ("path,label,split\na.jpg,cat,\n", "line 2: split '': accepted: train, val, test"),
        ("a.jpg,cat,val\n", "no rows of split train"),
        ("a.jpg,cat,train\nb.jpg,wolf,val\n", "line 2: label wolf: not among the 1 classes cat"),
        ("a.jpg,1\nb.jpg,cat\n", "line 2: label cat: but line 1 has 1; use names or numbers"),
        ("a.jpg,1\nb.jpg,-1\n", "line 2: label -1: out of range"),
        ("a.jpg,0\nb.jpg,1000000\n", "up to 1000000, but 1 does not occur"),
        ("a.jpg,1\nb.jpg,2\n", "up to 2, but 0 does not occur"),
        ("a.jpg;cat\nb.jpg;dog\n", "line 1: 1 column; accepted: path,label"),
        ("a.jpg,cat\nb.jpg,dog,train\n", "line 2: 3 columns, but line 1 has 2"),
        ("path,label\na.jpg\n", "line 2: 1 column, but line 1 has 2"),
        ('a.jpg,"cat\nb.jpg,dog\n', r"line 2: cannot be read \(unexpected end of data\)"),
        ("", "labels.csv: no rows"),
        ("path,label\n", "labels.csv: no rows"),
    ],
)
def test_a_wrong_table_is_refused_by_line_and_value(table, text, message):
    path = table(text)
    with pytest.raises(ConfigError, match=rf"^data\.root=.*{message}") as caught:
        listing(path, "train"), listing(path, "val")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_table_in_another_encoding_is_refused_by_line(table, encoding):
    path = table("a.jpg,cat\nb.jpg,chaton égaré\n", encoding=encoding)
    line = 1 if encoding == "utf-16" else 2
    with pytest.raises(ConfigError, match=rf"labels.csv line {line}: not UTF-8 text"):
        listing(path, "train")


def test_a_link_that_leaves_the_table_s_folder_is_refused(table, tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "x.jpg").touch()
    path = table("a.jpg,cat\n")
    (path.parent / "out.jpg").symlink_to(tmp_path / "secret" / "x.jpg")
    (path.parent / "away").symlink_to(tmp_path / "secret")
    (path.parent / "in.jpg").symlink_to("a.jpg")
    (path.parent / "self.jpg").symlink_to("self.jpg")
    assert names(listing(table("in.jpg,cat\n"), "train"), path.parent) == ["in.jpg"]
    for name in ("out.jpg", "away/x.jpg"):
        with pytest.raises(ConfigError, match=rf"line 1: path {name}: a link leads outside the table's folder"):
            listing(table(f"{name},cat\n"), "train")
    with pytest.raises(ConfigError, match=r"line 1: no such file .*self\.jpg"):
        listing(table("self.jpg,cat\n"), "train")


def test_names_are_text_of_any_kind(table):
    name = unicodedata.normalize("NFC", "café 1,2 = #.jpg")
    path = table(f'"{name}",naïve\nb.jpg,"x, y"\n', files=(name, "b.jpg"))
    found = listing(path, "train")
    assert (names(found, path.parent), found.classes) == ([name, "b.jpg"], ["naïve", "x, y"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "no such folder; accepted: a folder of class folders of images, or a table"),
        ("nowhere.csv", "no such file"),
        ("photos.zip", r"a file; accepted: a folder of class folders of images, or a table .*\.csv or \.tsv"),
    ],
)
def test_a_root_that_is_neither_folder_nor_table_is_refused(tmp_path, name, message):
    (tmp_path / "photos.zip").touch()
    with pytest.raises(ConfigError, match=rf"^data.root=.*{name}: {message}"):
        listing(tmp_path / name, "train")


@pytest.mark.parametrize(
    ("num_classes", "number", "fits"), [(2, 2, True), (1, 1, True), (1, 2, True), (2, 1, False), (1, 3, False)]
)
def test_one_logit_stands_for_two_classes(num_classes: int, number: int, fits: bool) -> None:
    assert are_classes_of(num_classes, number) == fits
