"""Weights of torchvision's catalogue: found by the network that asks for them. Nothing is downloaded here."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from convarium.archs.efficientnet import EfficientNet
from convarium.archs.inception_v1 import InceptionV1
from convarium.archs.inception_v3 import InceptionV3
from convarium.archs.lenet import LeNet5
from convarium.archs.resnet import CifarResNet, ResNet
from convarium.archs.vgg import VGG
from convarium.archs.weights import LAYOUTS
from convarium.archs.weights.download import find
from convarium.errors import ConfigError
from convarium.layers import Parts
from convarium.layers.norm import batch
from convarium.progress_bar import Progress
from experiments import compose

BATCH = Parts(norm=batch)


def found(network: type[nn.Module], name: str = "IMAGENET1K_V1", **options: Any) -> str:
    with torch.device("meta"):
        return str(find(network(**options), name, LAYOUTS).entry)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch.hub looks before it downloads."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub" / "checkpoints"


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_a_resnet_is_known_by_its_weights(depth: int) -> None:
    assert found(ResNet, depth=depth) == f"ResNet{depth}_Weights.IMAGENET1K_V1"


@pytest.mark.parametrize(("configuration", "depth"), [("A", 11), ("B", 13), ("D", 16), ("E", 19)])
def test_a_vgg_is_known_by_its_weights_and_norms(configuration: str, depth: int) -> None:
    assert found(VGG, configuration=configuration) == f"VGG{depth}_Weights.IMAGENET1K_V1"
    assert found(VGG, configuration=configuration, parts=BATCH) == f"VGG{depth}_BN_Weights.IMAGENET1K_V1"


def test_googlenet_is_known_before_it_has_norms_and_after() -> None:
    assert found(InceptionV1) == found(InceptionV1, parts=BATCH, image_size=32) == "GoogLeNet_Weights.IMAGENET1K_V1"


def test_inception_v3_is_known_by_its_weights() -> None:
    assert found(InceptionV3) == "Inception_V3_Weights.IMAGENET1K_V1"


@pytest.mark.parametrize("number", range(8))
def test_an_efficientnet_is_known_by_its_weights(number: int) -> None:
    assert found(EfficientNet, variant=f"b{number}") == f"EfficientNet_B{number}_Weights.IMAGENET1K_V1"


def test_another_stem_or_classifier_is_the_same_network() -> None:
    assert found(ResNet, name="IMAGENET1K_V2", image_size=32, num_classes=7) == "ResNet50_Weights.IMAGENET1K_V2"


@pytest.mark.parametrize(
    ("name", "image_size", "crop_share"), [("IMAGENET1K_V1", 224, 224 / 256), ("IMAGENET1K_V2", 224, 224 / 232)]
)
def test_an_entry_says_how_its_images_are_sized(name: str, image_size: int, crop_share: float) -> None:
    with torch.device("meta"):
        view = find(ResNet(), name, LAYOUTS).view
    assert view == {"data.image_size": image_size, "data.crop_share": pytest.approx(crop_share, abs=1e-6)}


@pytest.mark.parametrize("network", [LeNet5, CifarResNet])
def test_a_network_that_torchvision_has_not_is_refused(network: type[nn.Module]) -> None:
    with pytest.raises(ValueError, match="torchvision has no weights of this network"):
        found(network)


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="torchvision's vgg16 has no such weights; accepted: IMAGENET1K_V1, DEFAULT"):
        found(VGG, name="IMAGENET1K_FEATURES")


def test_what_is_in_the_cache_is_taken(cache: Path) -> None:
    torch.save(torchvision.models.resnet18().state_dict(), cache / "resnet18-f37072fd.pth")
    words = ["arch=resnet50", "arch.depth=18", "data=synthetic", "weights=torchvision:IMAGENET1K_V1"]
    config = compose(words).config
    assert config["weights"] == "torchvision:IMAGENET1K_V1"
    assert config["data"]["image_size"] == config["arch"]["image_size"] == 224
    assert config["data"]["mean"] == [0.485, 0.456, 0.406]


def test_without_a_network_it_says_where_the_file_belongs(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("no route\nto host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(ConfigError) as refused:
        compose(["arch=resnet50", "data=synthetic", "weights=torchvision:IMAGENET1K_V2"])
    assert str(refused.value) == (
        "weights=torchvision:IMAGENET1K_V2: https://download.pytorch.org/models/resnet50-11ad3fa6.pth cannot be had"
        f" (no route to host); put the file into {cache}"
    )


def test_a_download_is_shown_and_checked_against_its_hash(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Reply:
        left = b"not what was published"

        def __enter__(self) -> "Reply":
            return self

        def __exit__(self, *_: object) -> None: ...

        def info(self) -> Any:
            return type("Headers", (), {"get_all": staticmethod(lambda name: None)})

        def read(self, size: int) -> bytes:
            now, self.left = self.left, b""
            return now

    monkeypatch.setattr("torch.hub.urlopen", lambda *_, **__: Reply())
    monkeypatch.setattr(Progress.__init__, "__defaults__", (0.0,))
    theirs = torch.hub.tqdm
    with pytest.raises(ConfigError, match="invalid hash value"):
        compose(["arch=resnet50", "data=synthetic", "weights=torchvision:IMAGENET1K_V2"])
    assert list(cache.iterdir()) == []
    assert capsys.readouterr().err.startswith("download resnet50-11ad3fa6.pth: 22 bytes of 0 bytes  ")
    assert torch.hub.tqdm is theirs


@pytest.mark.parametrize(("depth", "classes"), [(18, 1000), (34, 7)])
def test_a_network_with_the_papers_shortcuts_gets_those_that_torchvisions_weights_have(
    depth: int, classes: int
) -> None:
    with torch.device("meta"):
        net = ResNet(depth=depth, shortcut="A", num_classes=classes)
    found = find(net, "IMAGENET1K_V1", LAYOUTS)
    assert f"resnet{depth}-" in found.entry.url
    assert found.layout.sets({"layer1.0.conv1.weight": torch.empty(0)})["arch.shortcut"] == "B"
