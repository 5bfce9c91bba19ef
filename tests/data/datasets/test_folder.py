import pytest
import torch

from convarium.data.datasets.folder import FolderImages
from convarium.data.image_files.files import Files
from convarium.data.sources import InMemory
from convarium.errors import ConfigError

SPLITS = ("train", "train", "val", "test")


def folder(root, kind=FolderImages, **options):
    facts = {"num_classes": 2, "channels": 3, "image_size": 12, "mean": [0.5], "std": [0.25], "val_fraction": 0.25}
    return kind(root=str(root), **{**facts, "batch_size": 2, "eval_batch_size": 3, **options})


def test_validation_is_carved_from_train_and_serves_as_test_where_there_is_neither(class_folders):
    data = folder(class_folders())
    data.setup("fit")
    assert (data.num_train, data.num_val, data.num_test, data.test_is_val) == (6, 2, 2, True)
    train = {i for batch in data.train_dataloader() for i in batch.index.tolist()}
    val = {i for batch in data.val_dataloader() for i in batch.index.tolist()}
    assert train | val == set(range(8))
    assert not train & val
    assert [b.index.tolist() for b in data.test_dataloader()] == [b.index.tolist() for b in data.val_dataloader()]


def test_a_test_folder_is_the_test_split(class_folders):
    data = folder(class_folders(splits=("train", "test")))
    assert (data.num_train, data.num_val, data.num_test, data.test_is_val) == (6, 2, 8, False)
    assert sum(len(batch.index) for batch in data.test_dataloader()) == 8


def test_a_val_folder_is_validation_and_nothing_is_carved(class_folders):
    data = folder(class_folders(splits=("train", "val")))
    assert (data.num_train, data.num_val, data.num_test, data.test_is_val) == (8, 8, 8, True)


def test_all_three_folders_are_used(class_folders):
    data = folder(class_folders(splits=("train", "val", "test")))
    assert (data.num_train, data.num_val, data.num_test, data.test_is_val) == (8, 8, 8, False)


def test_training_on_everything_leaves_no_validation(class_folders):
    data = folder(class_folders(), val_fraction=0.0)
    assert (data.num_train, data.num_val, data.num_test, data.test_is_val) == (8, 0, 0, False)
    assert len(data.val_dataloader()) == len(data.test_dataloader()) == 0


def test_class_folders_without_splits_are_read(class_folders):
    root = class_folders() / "train"
    data = folder(root, classes=["cat", "dog"])
    assert data.class_names == ["cat", "dog"]
    assert data._train.targets.tolist() == [0] * 4 + [1] * 4


def test_a_small_folder_is_held_in_memory_and_gives_the_same_images_as_its_files(class_folders):
    root = class_folders(size=(30, 20), suffix=".jpg")
    held, files = folder(root), folder(root, in_memory=False, num_workers=2)
    assert isinstance(held._train, InMemory)
    assert isinstance(files._train, Files)
    for a, b in zip(held.train_dataloader(), files.train_dataloader(), strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.targets, b.targets)


def test_a_predicted_image_is_sized_as_the_dataset_own(class_folders):
    root = class_folders(size=(30, 20))
    data = folder(root, crop_share=0.8)
    own = data._train.fetch(torch.tensor([0]))[0][0]
    assert torch.equal(data.open_image(root / "train" / "cat" / "0.png"), own)


def test_grey_images_are_read_with_one_channel(class_folders):
    data = folder(class_folders(), channels=1)
    assert next(iter(data.train_dataloader())).images.shape == (2, 1, 12, 12)


def test_classes_that_differ_between_the_splits_are_named(class_folders):
    root = class_folders(splits=("train", "val"))
    (root / "val" / "dog").rename(root / "val" / "wolf")
    with pytest.raises(ConfigError, match=r"classes of val differ from train's; only in val: wolf; missing there: dog"):
        folder(root).setup("fit")


def test_a_class_without_images_is_named(class_folders):
    root = class_folders()
    for path in (root / "train" / "dog").iterdir():
        path.unlink()
    with pytest.raises(ConfigError, match=r"no images in class folder .*dog"):
        folder(root).setup("fit")


def test_an_unreadable_image_is_named_during_setup(class_folders):
    root = class_folders()
    (root / "train" / "dog" / "3.png").write_bytes(b"?")
    with pytest.raises(ValueError, match=r"dog/3\.png: unreadable image"):
        folder(root).setup("fit")


def test_an_unreadable_image_that_is_read_in_training_is_named(class_folders):
    root = class_folders()
    (root / "train" / "dog" / "3.png").write_bytes(b"?")
    data = folder(root, in_memory=False, val_fraction=0.0)
    data.setup("fit")
    with pytest.raises(ValueError, match=r"dog/3\.png: unreadable image"):
        list(data.train_dataloader())


def test_a_wrong_number_of_classes_is_refused(class_folders):
    with pytest.raises(ConfigError, match=r"data.num_classes=3: but .* has 2 classes"):
        folder(class_folders(), num_classes=3).setup("fit")


def test_a_wrong_size_is_refused(class_folders):
    with pytest.raises(ValueError, match=r"data.train_size=9: but train has 8 images"):
        folder(class_folders(), train_size=9).setup("fit")


def test_a_table_of_paths_and_labels_is_read_like_folders(class_folders):
    root = class_folders()
    rows = [f"train/{label}/{k}.png,{label},{split}" for label in ("cat", "dog") for k, split in enumerate(SPLITS)]
    (root / "labels.csv").write_text("path,label,split\n" + "\n".join(rows))
    data = folder(root / "labels.csv", classes=["cat", "dog"])
    assert (data.num_train, data.num_val, data.num_test, data.test_is_val) == (4, 2, 2, False)
    whole = folder(root)._train
    assert torch.equal(data._train.pixels, whole.pixels[[0, 1, 4, 5]])
    assert data._test.targets.tolist() == [0, 1]


def test_validation_is_carved_from_a_table_without_splits(class_folders):
    root = class_folders()
    rows = [f"train/{label}/{k}.png\t{number}" for number, label in enumerate(("cat", "dog")) for k in range(4)]
    (root / "labels.tsv").write_text("\n".join(rows))
    data = folder(root / "labels.tsv")
    assert (data.num_train, data.num_val, data.num_test, data.test_is_val) == (6, 2, 2, True)
    assert data._train.targets[data._members[1]].tolist() == [0, 1]


def test_a_wrong_number_of_classes_in_a_table_is_refused(class_folders):
    root = class_folders()
    (root / "labels.csv").write_text("train/cat/0.png,cat\ntrain/dog/0.png,dog\n")
    with pytest.raises(ConfigError, match=r"data.num_classes=3: but .*labels\.csv has 2 classes"):
        folder(root / "labels.csv", num_classes=3).setup("fit")
