import subprocess
import sys

import pytest
from omegaconf import OmegaConf
from PIL import Image

from convarium.data import facts
from convarium.data.facts import carved_size, folder_image_size, image_files, register, split_folder
from convarium.errors import ConfigError


def test_facts_need_no_torch():
    code = "import sys, convarium.data.facts as f; f.register(); sys.exit('torch' in sys.modules)"
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


def test_a_folder_without_train_is_the_training_split(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / ".hidden").mkdir()
    assert facts.class_folders(tmp_path) == ["a"]
    assert split_folder(tmp_path, "train") == tmp_path
    assert split_folder(tmp_path, "val") is None


def test_images_are_found_at_any_depth_and_in_a_fixed_order(tmp_path):
    for name in ("b.PNG", "a.jpeg", "deep/er/c.webp", "notes.txt", ".hidden.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert image_files(tmp_path) == [str(tmp_path / name) for name in ("a.jpeg", "b.PNG", "deep/er/c.webp")]


@pytest.mark.parametrize(("size", "expected"), [((20, 20), 20), ((20, 30), 224)])
def test_the_image_size_is_the_common_square_or_224(class_folders, size, expected):
    assert folder_image_size(class_folders(size=size)) == expected


def test_images_of_several_sizes_are_taken_as_224(class_folders):
    root = class_folders(size=(20, 20))
    Image.new("RGB", (30, 30)).save(root / "train" / "dog" / "0.png")
    assert folder_image_size(root) == 224


def test_a_folder_that_is_no_dataset_is_refused_in_one_line(tmp_path, class_folders):
    (tmp_path / "empty").mkdir()
    (tmp_path / "half" / "val").mkdir(parents=True)
    (tmp_path / "bare" / "cat").mkdir(parents=True)
    broken = class_folders()
    (broken / "train" / "cat" / "0.png").write_bytes(b"?")
    for root, fact, message in (
        (tmp_path / "nowhere", facts.class_folders, "no such folder"),
        (tmp_path / "empty", facts.class_folders, "no class folders in"),
        (tmp_path / "half", facts.class_folders, "has val but no folder train"),
        (tmp_path / "bare", folder_image_size, "no images in class folder"),
        (broken, folder_image_size, r"unreadable image .*cat/0\.png"),
    ):
        with pytest.raises(ConfigError, match=f"^data.root=.*{message}") as caught:
            fact(root)
        assert "\n" not in str(caught.value)
