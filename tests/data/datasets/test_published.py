import bz2
import hashlib
import pickle
import struct
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from convarium.config.compose import compose
from convarium.config.instantiate import build
from convarium.data.datasets.published import EMNIST, STL10, PublishedImages
from convarium.data.image_files.pictures import read_picture
from convarium.errors import ConfigError, MissingData

GREY = {"name": "mnist", "torchvision": "MNIST", "channels": 1, "stored_size": 28, "image_size": 32, "resize": "pad"}
COLOUR = {"name": "cifar10", "torchvision": "CIFAR10", "channels": 3, "stored_size": 32, "image_size": 32}


def published(root, kind, cls=PublishedImages, **options):
    facts = {"num_classes": 10, "mean": [0.5], "std": [0.25], "val_fraction": 0.2}
    return cls(root=str(root), **{**facts, **kind, **options})


@pytest.fixture
def mnist(tmp_path):
    """20 + 10 images in MNIST's file format; returns (root, training images)."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    numbers = np.random.default_rng(0)
    for part, n in (("train", 20), ("t10k", 10)):
        images = numbers.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = (np.arange(n) % 10).astype(np.uint8)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, n, 28, 28) + images.tobytes())
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, n) + labels.tobytes())
        if part == "train":
            first = images
    return tmp_path, torch.from_numpy(first)


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """Batches of 10 images in CIFAR-10's file format, their MD5 entered as the published ones."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    numbers = np.random.default_rng(0)

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    def batch():
        pixels = numbers.integers(0, 256, (10, 3072), dtype=np.uint8)
        return {"data": pixels, "labels": list(range(10))}

    batches = [[f"data_batch_{k}", batch()] for k in range(1, 6)]
    first = batches[0][1]["data"]
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [[name, write(name, content)] for name, content in batches])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", write("test_batch", batch())]])
    names = {"label_names": [f"class {k}" for k in range(10)]}
    meta = {"filename": "batches.meta", "key": "label_names", "md5": write("batches.meta", names)}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    return tmp_path, torch.from_numpy(first)


@pytest.fixture
def emnist(tmp_path):
    """10 + 5 images in EMNIST's file format, rows and columns exchanged; returns (root, training images upright)."""
    folder = tmp_path / "EMNIST" / "raw"
    folder.mkdir(parents=True)
    upright = np.random.default_rng(0).integers(0, 256, (10, 28, 28), dtype=np.uint8)
    for part, n in (("train", 10), ("test", 5)):
        images, labels = upright[:n].transpose(0, 2, 1), np.arange(1, n + 1, dtype=np.uint8)
        name = f"emnist-letters-{part}"
        (folder / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, n, 28, 28) + images.tobytes())
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, n) + labels.tobytes())
    return tmp_path, torch.from_numpy(upright)


@pytest.fixture
def svhn(tmp_path, monkeypatch):
    """10 + 4 images in SVHN's file format, their MD5 entered as the published ones."""
    scipy_io = pytest.importorskip("scipy.io")
    images = np.random.default_rng(0).integers(0, 256, (10, 3, 32, 32), dtype=np.uint8)
    listed = {}
    for split, n in (("train", 10), ("test", 4)):
        path = tmp_path / f"{split}_32x32.mat"
        labels = np.arange(1, n + 1, dtype=np.uint8)[:, None]  # 1 to 10, which is the digit 0
        scipy_io.savemat(path, {"X": images[:n].transpose(2, 3, 1, 0), "y": labels})
        listed[split] = ["http://localhost", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(datasets.SVHN, "split_list", listed)
    return tmp_path, torch.from_numpy(images)


@pytest.fixture
def stl10(tmp_path, monkeypatch):
    """10 + 4 images in STL-10's file format, columns before rows, without the file of unlabelled images."""
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (10, 3, 96, 96), dtype=np.uint8)
    lists = []
    for split, n in (("train", 10), ("test", 4)):
        (folder / f"{split}_X.bin").write_bytes(images[:n].transpose(0, 1, 3, 2).tobytes())
        (folder / f"{split}_y.bin").write_bytes(bytes(range(1, n + 1)))
        files = [folder / f"{split}_{part}.bin" for part in "Xy"]
        lists.append([[path.name, hashlib.md5(path.read_bytes()).hexdigest()] for path in files])
    monkeypatch.setattr(datasets.STL10, "train_list", [*lists[0], ["unlabeled_X.bin", "0" * 32]])
    monkeypatch.setattr(datasets.STL10, "test_list", lists[1])
    return tmp_path, torch.from_numpy(images)


def test_emnist_stands_upright_and_letters_begin_at_zero(emnist):
    root, upright = emnist
    facts = {"num_classes": 26, "mean": [0.5], "std": [0.25], "val_fraction": 0.2, "split": "letters"}
    data = EMNIST(root=str(root), **{**GREY, **facts, "name": "emnist", "torchvision": "EMNIST"})
    assert torch.equal(data._train.pixels[:, 0, 2:30, 2:30], upright)
    assert data._train.targets.tolist() == list(range(10))
    assert len(data._test) == 5


def test_svhn_keeps_its_colours_and_rows_and_counts_digits(svhn):
    root, images = svhn
    data = published(root, COLOUR, name="svhn", torchvision="SVHN")
    assert torch.equal(data._train.pixels, images)
    assert data._train.targets.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    assert len(data._test) == 4


def test_svhn_without_scipy_says_what_to_install(svhn, monkeypatch):
    root, _ = svhn
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(ConfigError, match=r"data=svhn: its files need scipy.*: pip install scipy"):
        published(root, COLOUR, name="svhn", torchvision="SVHN").setup("fit")


def test_stl10_is_read_without_its_unlabelled_images(stl10):
    root, images = stl10
    data = published(root, COLOUR, STL10, name="stl10", torchvision="STL10", stored_size=96, image_size=96)
    assert torch.equal(data._train.pixels, images)
    assert data._train.targets.tolist() == list(range(10))
    assert len(data._test) == 4


def test_mnist_is_padded_with_background(mnist):
    root, stored = mnist
    data = published(root, GREY, train_size=20, test_size=10)
    assert (data.num_train, data.num_val, data.num_test) == (16, 4, 10)
    assert data._train.pixels.shape == (20, 1, 32, 32)
    assert torch.equal(data._train.pixels[:, 0, 2:30, 2:30], stored)
    assert data._train.pixels.sum() == stored.sum()


def test_mnist_is_read_as_stored_if_asked_for(mnist):
    root, stored = mnist
    assert torch.equal(published(root, GREY, image_size=28)._train.pixels.squeeze(1), stored)


def test_a_split_too_large_to_be_enlarged_in_memory_is_enlarged_as_it_is_sliced(mnist, monkeypatch):
    root, _ = mnist
    whole = published(root, GREY, resize="bilinear", image_size=64)
    whole.setup("fit")
    monkeypatch.setattr("convarium.data.datasets.stored.IN_MEMORY_LIMIT", 1000)
    sliced = published(root, GREY, resize="bilinear", image_size=64)
    some = torch.tensor([3, 17])
    assert sliced._train.pixels.shape[-1] == 28
    assert whole._train.pixels.shape[-1] == 64
    assert torch.equal(sliced._train.fetch(some)[0], whole._train.fetch(some)[0])


def test_cifar_keeps_its_colours_and_rows(cifar):
    root, stored = cifar
    data = published(root, COLOUR)
    assert torch.equal(data._train.pixels[:10], stored.view(10, 3, 32, 32))
    assert data._train.targets.tolist() == list(range(10)) * 5
    assert len(data._test) == 10


def test_a_changed_cifar_file_is_not_opened(cifar):
    root, _ = cifar
    (root / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(MissingData, match="data=cifar10: not found, or not complete"):
        published(root, COLOUR).setup("fit")


@pytest.mark.parametrize(
    "kind",
    [
        GREY,
        COLOUR,
        {**COLOUR, "name": "svhn", "torchvision": "SVHN"},
        {**COLOUR, "name": "stl10", "torchvision": "STL10", "stored_size": 96, "image_size": 96},
        {**GREY, "name": "kmnist", "torchvision": "KMNIST"},
    ],
    ids=lambda kind: kind["name"],
)
def test_a_missing_dataset_names_the_place_and_the_command(tmp_path, kind):
    name = kind["name"]
    with pytest.raises(MissingData, match=rf"in {tmp_path}; fetch it with: convarium data fetch {name}") as caught:
        published(tmp_path, kind).setup("fit")
    assert "\n" not in str(caught.value)


def test_a_truncated_mnist_file_is_an_error_of_one_line(mnist):
    root, _ = mnist
    file = root / "MNIST" / "raw" / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(ConfigError, match=r"data=mnist: could not read it in .*RuntimeError"):
        published(root, GREY).setup("fit")


def test_reading_the_training_split_does_not_read_the_test_split(mnist):
    root, _ = mnist
    data = published(root, GREY, test_size=10, batch_size=8)
    data.setup("fit")
    (root / "MNIST" / "raw" / "t10k-images-idx3-ubyte").write_bytes(b"")
    list(data.train_dataloader())
    list(data.val_dataloader())
    assert data.num_test == 10
    with pytest.raises(ConfigError, match="data=mnist: could not read it"):
        data.test_dataloader()


def test_padding_cannot_shrink(tmp_path):
    with pytest.raises(ValueError, match=r"data.image_size=16: padding cannot shrink 28 pixels; use data.resize=bil"):
        published(tmp_path, GREY, image_size=16)


@pytest.fixture
def usps(tmp_path):
    """20 + 10 images in USPS's file format: lines of class number from 1 and pixels from -1 to 1, compressed."""
    levels = np.random.default_rng(0).integers(0, 256, (20, 256))
    for file, n in (("usps.bz2", 20), ("usps.t.bz2", 10)):
        rows = [
            " ".join([str(k % 10 + 1), *(f"{i + 1}:{(v + 0.5) / 127.5 - 1:.5f}" for i, v in enumerate(levels[k]))])
            for k in range(n)
        ]
        (tmp_path / file).write_bytes(bz2.compress("\n".join(rows).encode()))
    return tmp_path, torch.from_numpy(levels.astype(np.uint8)).view(20, 16, 16)


def test_usps_is_a_yaml_of_facts_alone(usps):
    root, stored = usps
    words = ["data=usps", f"data.root={root}", "data.train_size=20", "data.test_size=10", "batch_size=6"]
    data = build(compose(words).config["data"], "data")
    assert torch.equal(data._train.pixels[:, 0, 8:24, 8:24], stored)
    assert data._train.targets.tolist() == [*range(10)] * 2
    assert (data.num_train, data.num_val, len(data._test)) == (18, 2, 10)


def test_a_dataset_without_an_array_is_read_image_by_image(tmp_path):
    folder = tmp_path / "gtsrb" / "GTSRB"
    numbers = np.random.default_rng(0)
    for label in range(3):
        (folder / "Training" / f"{label:05}").mkdir(parents=True)
        pixels = numbers.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "Training" / f"{label:05}" / "0.ppm")
    (folder / "Final_Test" / "Images").mkdir(parents=True)
    Image.fromarray(pixels).save(folder / "Final_Test" / "Images" / "0.ppm")
    (tmp_path / "gtsrb" / "GT-final_test.csv").write_text("Filename;ClassId\n0.ppm;2\n")
    data = published(tmp_path, COLOUR, name="gtsrb", torchvision="GTSRB", stored_size=16, image_size=16)
    train, test = data.read("train"), data.read("test")
    files = sorted(folder.glob("Training/*/0.ppm"))
    expected = [read_picture(path, channels=3, image_size=16) for path in files]
    assert torch.equal(train.pixels, torch.stack(expected))
    assert (train.targets.tolist(), test.targets.tolist()) == ([0, 1, 2], [2])


class Pets(datasets.VisionDataset):
    """A dataset whose training split is called trainval, of grey pictures of two sizes; nothing to download."""

    def __init__(self, root, split="trainval"):
        super().__init__(root)
        self.sizes = {"trainval": [(8, 8), (8, 12), (16, 16)], "test": [(8, 8)]}[split]

    def __len__(self):
        return len(self.sizes)

    def __getitem__(self, number):
        return Image.new("L", self.sizes[number], 10 * number), torch.tensor(number)


class Boxes(Pets):
    """A dataset of boxes, which are no class numbers."""

    def __getitem__(self, number):
        return Image.new("L", (8, 8)), [0, 0, 4, 4]


@pytest.fixture
def more_datasets(monkeypatch):
    for kind in (Pets, Boxes):
        monkeypatch.setattr(datasets, kind.__name__, kind, raising=False)


def test_a_dataset_is_asked_for_the_splits_that_its_class_has(more_datasets, tmp_path):
    data = published(tmp_path, GREY, name="pets", torchvision="Pets", stored_size=8, image_size=8)
    train = data.read("train")
    assert train.pixels.amax((1, 2, 3)).tolist() == train.pixels.amin((1, 2, 3)).tolist() == [0, 10, 20]
    assert train.targets.tolist() == [0, 1, 2]
    assert len(data.read("test")) == 1
    with pytest.raises(ConfigError, match=f"data=pets: torchvision cannot download it; put its files in {tmp_path}"):
        data.fetch()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("USSP", r"data.torchvision=USSP: no class of torchvision.datasets; did you mean 'USPS'\?"),
        ("utils", "data.torchvision=utils: no class of torchvision.datasets"),
        ("FakeData", r"data.torchvision=FakeData: has no official test split \(no train=, no split=\)"),
        ("Boxes", "data.torchvision=Boxes: gives Image and list, not an image and a class number"),
    ],
)
def test_a_class_that_is_no_labelled_dataset_is_refused(more_datasets, tmp_path, name, message):
    with pytest.raises(ConfigError, match=message):
        published(tmp_path, GREY, torchvision=name).setup("fit")
