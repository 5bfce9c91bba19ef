import subprocess
import sys

import pytest
from omegaconf import OmegaConf
from PIL import Image

from convarium.config.resolvers import register
from convarium.data.facts import EMNIST, carved_size, emnist, folder_image_size
from convarium.data.image_files.listing import class_folders as class_folders_in
from convarium.errors import ConfigError


def test_facts_need_no_torch():
    code = "import sys, convarium.config.resolvers as f; f.register(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("size", "fraction", "carved"), [(60_000, 0.0833333333, 5000), (50_000, 0.1, 5000), (7, 0, 0)])
def test_a_fraction_of_the_training_split_is_a_whole_number(size, fraction, carved):
    assert carved_size(size, fraction) == carved


def test_the_facts_of_a_folder_reach_a_config(class_folders):
    register()
    root = class_folders(classes=("dog", "cat", "émeu"), size=(20, 20))
    config = OmegaConf.create(
        {
            "root": str(root),
            "classes": "${folder_classes:${root}}",
            "num_classes": "${folder_num_classes:${root}}",
            "image_size": "${folder_image_size:${root}}",
        }
    )
    resolved = OmegaConf.to_container(config, resolve=True)
    assert resolved["classes"] == ["cat", "dog", "émeu"]
    assert (resolved["num_classes"], resolved["image_size"]) == (3, 20)


@pytest.mark.parametrize(("size", "expected"), [((20, 20), 20), ((20, 30), 224)])
def test_the_image_size_is_the_common_square_or_224(class_folders, size, expected):
    assert folder_image_size(class_folders(size=size)) == expected


def test_images_of_several_sizes_are_taken_as_224(class_folders):
    root = class_folders(size=(20, 20))
    Image.new("RGB", (30, 30)).save(root / "train" / "dog" / "0.png")
    assert folder_image_size(root) == 224


def test_a_file_that_cannot_be_opened_is_passed_over(class_folders):
    root = class_folders(classes=("cat", "dog"), size=(20, 20), images=20)
    for k in range(3):
        (root / "train" / "cat" / f"{k}.png").write_bytes(b"?" * k)
    assert folder_image_size(root) == 20


def test_of_nothing_but_bad_files_the_image_size_is_224(class_folders):
    root = class_folders(size=(20, 20), images=30)
    for path in root.rglob("*.png"):
        path.write_bytes(b"?")
    assert folder_image_size(root) == 224


def test_few_files_are_opened_for_the_image_size(class_folders, monkeypatch):
    root = class_folders(classes=tuple("abcdefgh"), images=30)
    opened = []
    really = Image.open
    monkeypatch.setattr(Image, "open", lambda path: (opened.append(path), really(path))[1])
    assert folder_image_size(root) == 12
    assert len(opened) == 32


def test_the_facts_of_a_table_reach_a_config(class_folders):
    register()
    root = class_folders(size=(20, 20))
    table = root / "labels = 1.csv"
    table.write_text("train/cat/0.png,0\ntrain/dog/0.png,1\n")
    config = OmegaConf.create(
        {
            "root": str(table),
            "num_classes": "${folder_num_classes:${root}}",
            "classes": "${folder_classes:${root},${num_classes}}",
            "image_size": "${folder_image_size:${root}}",
        }
    )
    assert (config.num_classes, config.classes, config.image_size) == (2, ["0", "1"], 20)
    config.num_classes = 4
    assert config.classes == ["0", "1", "2", "3"]
    config.num_classes = "many"  # refused by its range
    assert config.classes == []


def test_the_splits_of_emnist_have_their_own_facts():
    sizes = {split: emnist(split, "num_classes") for split in EMNIST}
    assert sizes == {"balanced": 47, "byclass": 62, "bymerge": 47, "letters": 26, "digits": 10, "mnist": 10}
    assert "".join(emnist("balanced", "classes")) == "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"
    with pytest.raises(ConfigError, match=r"data.split=leters: accepted are balanced, byclass"):
        emnist("leters", "num_classes")


def test_a_folder_that_is_no_dataset_is_refused_in_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "half" / "val").mkdir(parents=True)
    (tmp_path / "bare" / "cat").mkdir(parents=True)
    for root, fact, message in (
        (tmp_path / "nowhere", class_folders_in, "no such folder"),
        (tmp_path / "empty", class_folders_in, "no class folders in"),
        (tmp_path / "half", class_folders_in, "no class folders in .*val"),
        (tmp_path / "bare", folder_image_size, "no images in class folder"),
    ):
        with pytest.raises(ConfigError, match=f"^data.root=.*{message}") as caught:
            fact(root)
        assert "\n" not in str(caught.value)
