"""Every yaml in conf/data and conf/augment says only what its class takes, and what it says is true."""

import importlib
import inspect
import os
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from convarium.config.instantiate import build
from convarium.config.resolvers import register
from convarium.data.augment.pipeline import Pipeline
from convarium.data.facts import EMNIST, carved_size
from convarium.data.image_files.listing import class_names
from convarium.data.module import ImageData
from data.packed.packs import packing_of

CONF = Path(__file__).parents[2] / "conf"
DATASETS = sorted(path.stem for path in (CONF / "data").glob("*.yaml"))
TOP_LEVEL = {"batch_size": 64, "seed": 1, "augment": {}}


def node(group, name, **overrides):
    """A group's resolved node, with the top-level keys it refers to."""
    register()
    loaded = OmegaConf.load(CONF / group / f"{name}.yaml")
    config = OmegaConf.create({"data": {"mean": [0.4, 0.5, 0.6]}, **TOP_LEVEL, group: loaded})
    for key, value in overrides.items():
        OmegaConf.update(config, f"{group}.{key}", value)
    return OmegaConf.to_container(config, resolve=True)[group]


def target(described):
    module, _, name = described["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), name)


def dataset(name, **overrides):
    described = node("data", name, **overrides)
    return target(described)(**{key: value for key, value in described.items() if key != "_target_"})


def measured(source):
    """Mean and standard deviation per channel of the pixels in 0..1, in float64."""
    sums, squares, count = 0, 0, 0
    for part in torch.arange(len(source)).split(4096):
        pixels = source.fetch(part)[0].double() / 255
        sums, squares = sums + pixels.sum((0, 2, 3)), squares + pixels.square().sum((0, 2, 3))
        count += pixels[:, 0].numel()
    mean = sums / count
    return mean, (squares / count - mean**2).sqrt()


@pytest.fixture
def data_root(tmp_path, monkeypatch, class_folders):
    """CONVARIUM_DATA with a folder of pictures in it, the same packed, and nothing else."""
    packing_of(class_folders(name="folder"), tmp_path / "packed")
    monkeypatch.setenv("CONVARIUM_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_is_instantiated_with_every_key_of_its_class(name, data_root):
    data = dataset(name)
    assert isinstance(data, ImageData)
    assert len(data.class_names) == data.num_classes
    keys = set(node("data", name)) - {"_target_"}
    unsaid = set(inspect.signature(type(data)).parameters) - keys
    assert unsaid <= {"classes", "test_size"}  # a yaml shows every key but those that do not apply


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_mean_std_and_sizes_are_measured(name, data_root):
    data = dataset(name)
    data.setup("fit")
    mean, std = measured(data._train)
    tolerance = 5e-5 if name == "digits" else 0.02  # four digits; the synthetic figures hold for any shape
    torch.testing.assert_close(mean, torch.tensor(data.mean).double().expand_as(mean), atol=tolerance, rtol=0)
    torch.testing.assert_close(std, torch.tensor(data.std).double().expand_as(std), atol=tolerance, rtol=0)
    assert len(data._train) == data.train_size
    assert len(data._test) == data.test_size == data.num_test


def test_the_digits_train_from_a_few_large_batches():
    data = dataset("digits")
    assert (data.num_train, data.num_val, data.num_test, data.epoch_size().remainder) == (1350, 150, 297, 6)


@pytest.mark.slow
def test_the_figures_of_mnist_are_measured_on_its_official_files():
    root = os.environ.get("CONVARIUM_DATA")
    assert root, "set CONVARIUM_DATA to the folder that holds MNIST/raw"
    data = dataset("mnist", root=root)
    data.setup("fit")
    assert (data.num_train, data.num_val, data.num_test) == (55_000, 5_000, 10_000)
    mean, std = measured(data._train)
    torch.testing.assert_close(mean, torch.tensor(data.mean).double(), atol=5e-5, rtol=0)
    torch.testing.assert_close(std, torch.tensor(data.std).double(), atol=5e-5, rtol=0)
    assert torch.bincount(data._test.targets).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert sum(len(batch.index) for batch in data.test_dataloader()) == 10_000


@pytest.mark.parametrize(
    ("name", "stored_mean", "stored_std"),
    [
        ("fashion_mnist", 0.2860, 0.3530),
        ("kmnist", 0.1918, 0.3483),
        ("emnist", 0.1751, 0.3332),
        ("usps", 0.2469, 0.2989),
    ],
)
def test_padding_explains_the_figures_of_the_kin_of_mnist(name, stored_mean, stored_std):
    # mean and second moment shrink by the share of stored pixels; the stored figures are those without the margin
    described = node("data", name)
    share = (described["stored_size"] / described["image_size"]) ** 2
    mean = stored_mean * share
    std = ((stored_std**2 + stored_mean**2) * share - mean**2) ** 0.5
    assert described["mean"] == [pytest.approx(mean, abs=1e-4)]
    assert described["std"] == [pytest.approx(std, abs=1e-4)]


@pytest.mark.parametrize(
    ("name", "val"),
    [("kmnist", 5000), ("emnist", 18_800), ("svhn", 7326), ("stl10", 500), ("usps", 729), ("cifar10", 5000)],
)
def test_the_share_set_aside_is_the_stated_number(name, val):
    described = node("data", name)
    assert carved_size(described["train_size"], described["val_fraction"]) == val


@pytest.mark.parametrize("split", EMNIST)
def test_every_split_of_emnist_is_instantiated(split):
    data = dataset("emnist", split=split)
    assert len(data.class_names) == data.num_classes
    assert (data.train_size, data.test_size) == (EMNIST[split].train_size, EMNIST[split].test_size)


def test_a_folder_brings_its_own_facts(data_root):
    data = dataset("folder")
    assert (data.class_names, data.image_size) == (class_names(data_root / "folder"), 12)
    data.setup("fit")
    assert (data.num_train, data.num_val) == (7, 1)


@pytest.mark.parametrize("name", [path.stem for path in (CONF / "augment").glob("*.yaml") if path.stem != "none"])
def test_every_augmentation_changes_training_images_and_keeps_their_shape(name):
    parts = build(node("augment", name), "augment")
    data = dataset("synthetic")
    data.pipeline = Pipeline(parts)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    plain = data.normalize(batch.images)
    changed = data.on_after_batch_transfer(batch, 0)
    assert changed.images.shape == plain.shape
    assert changed.images.dtype == torch.float32
    assert not torch.equal(changed.images, plain)
