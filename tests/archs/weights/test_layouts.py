"""What others have published computes the same in our networks, brought there by what its layout says.

Their networks are built here with random weights; nothing is downloaded. Each is compared as a whole: their network on
their normalized images, ours on the same images as its own config normalizes them.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, pad, relu

from archs.catalog import asked
from convarium.archs.weights import LAYOUTS, Layout, recognize
from convarium.archs.weights.download import Download
from convarium.config.instantiate import build
from convarium.errors import ConfigError
from convarium.run.pretrained import load_weights
from experiments import compose

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # with which all of them are published
SYNTHETIC = ("data=synthetic", "data.num_classes=10")


def random_weights(net: nn.Module) -> nn.Module:
    """Also what initializations leave at zero or one, and what only training fills."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
        if isinstance(module, nn.BatchNorm2d | nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return net.eval()


def normalized(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    return (images - images.new_tensor(mean).view(1, -1, 1, 1)) / images.new_tensor(std).view(1, -1, 1, 1)


Colours = tuple[tuple[float, ...], tuple[float, ...]]
CIFAR10: Colours = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)  # as most repositories for CIFAR-10 have them


def compare(
    theirs: nn.Module,
    *words: str,
    size: int,
    state: dict[str, Any] | None = None,
    colours: Colours = (MEAN, STD),
) -> dict[str, Any]:
    """Save their weights, read them into the network that `words` choose; its config, if the logits are the same."""
    torch.save(theirs.state_dict() if state is None else state, "weights.pth")
    config = compose([*SYNTHETIC, *words, f"data.image_size={size}", "weights=weights.pth"]).config
    ours = build(config["arch"], "arch").double()
    assert load_weights(ours, config).new_heads == ()
    images = torch.rand(1, 3, size, size, dtype=torch.float64)
    with torch.no_grad():
        expected = theirs.double()(normalized(images, *colours))
        found = ours.eval()(normalized(images, config["data"]["mean"], config["data"]["std"]))
    assert expected.std() > 1e-6
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * expected.std().item())
    return config


# torchvision


@pytest.mark.parametrize("depth", asked([18, 34, 50, 101, 152], [18, 50]))
def test_a_resnet_of_torchvision(depth: int) -> None:
    theirs = random_weights(torchvision.models.get_model(f"resnet{depth}", weights=None, num_classes=10))
    config = compare(theirs, "arch=resnet50", f"arch.depth={depth}", "arch.stem=paper", size=64)
    assert config["arch"]["downsample_in"] == ("3x3" if depth >= 50 else "1x1")


def for_small_images(depth: int) -> nn.Module:
    """torchvision's with the stem that ResNets of images of 32 pixels have."""
    theirs = torchvision.models.get_model(f"resnet{depth}", weights=None, num_classes=10)
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    return random_weights(theirs)


def called(state: dict[str, Tensor], **others: str) -> dict[str, Tensor]:
    """The tensors under keys in which some words are others."""
    return {".".join(others.get(word, word) for word in key.split(".")): value for key, value in state.items()}


@pytest.mark.parametrize("depth", asked([18, 34, 50], [18]))
def test_a_resnet_of_torchvision_with_a_stem_of_3x3(depth: int) -> None:
    config = compare(for_small_images(depth), "arch=resnet50", f"arch.depth={depth}", size=32, colours=CIFAR10)
    assert (config["arch"]["stem"], config["arch"]["shortcut"]) == ("small", "B")


@pytest.mark.parametrize("depth", asked([18, 50], [50]))
def test_a_resnet_of_kuangliu(depth: int) -> None:
    theirs = for_small_images(depth)
    state = {"net": called(theirs.state_dict(), fc="linear", downsample="shortcut"), "acc": 95.5, "epoch": 199}
    compare(theirs, "arch=resnet50", f"arch.depth={depth}", size=32, state=state, colours=CIFAR10)


def test_how_images_were_normalized_may_be_said_where_keys_leave_it_open() -> None:
    half = ("data.mean=[0.5,0.5,0.5]", "data.std=[0.5,0.5,0.5]")
    colours = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    compare(for_small_images(18), "arch=resnet18", *half, size=32, colours=colours)


def small_vgg(name: str) -> nn.Module:
    """For images of 64 pixels, which torchvision's net would stretch to 7x7 maps."""
    theirs = torchvision.models.get_model(name, weights=None, init_weights=False, num_classes=10)
    theirs.avgpool = nn.Identity()
    theirs.classifier[0] = nn.Linear(512 * 2 * 2, 4096)
    return random_weights(theirs)


CONFIGURATIONS = {11: "A", 13: "B", 16: "D", 19: "E"}


@pytest.mark.parametrize(
    "name", asked([f"vgg{depth}{norm}" for depth in CONFIGURATIONS for norm in ("", "_bn")], ["vgg11_bn"])
)
def test_a_vgg_of_torchvision(name: str) -> None:
    configuration = CONFIGURATIONS[int(name[3:5])]
    config = compare(small_vgg(name).double(), "arch=vgg16", f"arch.configuration={configuration}", size=64)
    assert config["norm"]["_target_"] == f"convarium.layers.norm.{'batch' if name.endswith('bn') else 'none'}"


def test_a_vgg_without_norms_takes_the_lrn_away() -> None:
    compare(small_vgg("vgg11"), "arch=vgg16", "arch.configuration=A-LRN", size=64)


def test_googlenet_of_torchvision() -> None:
    theirs = torchvision.models.googlenet(weights=None, init_weights=False, transform_input=True, num_classes=10)
    config = compare(random_weights(theirs), "arch=inception_v1", size=224)
    assert config["norm"]["eps"] == 0.001
    assert config["data"]["mean"] == config["data"]["std"] == [0.5, 0.5, 0.5]
    assert config["arch"]["last_pool"] == 2
    assert config["arch"]["aux_heads"] is True


def test_googlenet_without_auxiliary_heads() -> None:
    options = {"aux_logits": False, "init_weights": False, "transform_input": True}
    theirs = torchvision.models.googlenet(weights=None, num_classes=10, **options)
    config = compare(random_weights(theirs), "arch=inception_v1", "arch.stem=paper", size=64)
    assert config["arch"]["aux_heads"] is False


@pytest.mark.parametrize(("aux_heads", "size"), [(True, 299), (False, 107)])
def test_inception_v3_of_torchvision(aux_heads: bool, size: int) -> None:
    options = {"aux_logits": aux_heads, "init_weights": False, "transform_input": True}
    theirs = torchvision.models.inception_v3(weights=None, num_classes=10, **options)
    config = compare(random_weights(theirs), "arch=inception_v3", size=size)
    assert config["arch"]["count_padding"] is True
    assert config["arch"]["aux_heads"] is aux_heads
    assert config["norm"] is None


EFFICIENTNETS = {f"b{number}": 1e-3 if number >= 5 else 1e-5 for number in range(8)}


@pytest.mark.parametrize("variant", asked(EFFICIENTNETS, ["b0"]))
def test_an_efficientnet_of_torchvision(variant: str) -> None:
    theirs = random_weights(torchvision.models.get_model(f"efficientnet_{variant}", weights=None, num_classes=10))
    config = compare(theirs, f"arch=efficientnet_{variant}", "arch.stem=paper", size=64)
    assert config["arch"]["padding"] == "symmetric"
    assert (config["norm"] or {"eps": 1e-3})["eps"] == EFFICIENTNETS[variant]


@pytest.mark.parametrize("variant", EFFICIENTNETS)
def test_an_efficientnet_sees_images_as_its_weights_of_torchvision_did(variant: str) -> None:
    with torch.device("meta"):
        state = torchvision.models.get_model(f"efficientnet_{variant}", weights=None).state_dict()
    layout = recognize(state)
    assert layout is not None
    entry = torchvision.models.get_model_weights(f"efficientnet_{variant}").IMAGENET1K_V1
    assert layout.view(state) == Download(layout, entry).view


def test_alexnet_of_torchvision() -> None:
    theirs = torchvision.models.alexnet(weights=None, num_classes=10)
    theirs.avgpool = nn.Identity()  # which would stretch the 2x2 maps of 96 pixels to 6x6
    theirs.classifier[1] = nn.Linear(256 * 2 * 2, 4096)
    compare(random_weights(theirs), "arch=alexnet_one_tower", "arch.stem=paper", size=96)


# timm


def test_a_vgg_of_timm_is_that_of_torchvision_with_convolutions_for_linear_layers() -> None:
    theirs, state = small_vgg("vgg11_bn").state_dict(), {}
    for key, value in theirs.items():
        key = key.replace("classifier.0", "pre_logits.fc1").replace("classifier.3", "pre_logits.fc2")
        shape = {"pre_logits.fc1.weight": (4096, 512, 2, 2), "pre_logits.fc2.weight": (4096, 4096, 1, 1)}.get(key)
        state[key.replace("classifier.6", "head.fc")] = value if shape is None else value.view(shape)
    layout, torchvisions = recognize(state), recognize(theirs)
    assert layout is not None
    assert torchvisions is not None
    assert (layout.name, layout.sets(state)) == ("VGG of timm", torchvisions.sets(theirs))
    found, expected = layout.translate(state), torchvisions.translate(theirs)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


# CIFAR


class Block(nn.Module):
    """Two convolutions around which the input goes: every second position, zeros on both sides of its maps."""

    def __init__(self, in_channels: int, width: int, stride: int, projection: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        self.stride, self.new = stride, width - in_channels
        if self.new and projection:
            self.shortcut = nn.Sequential(nn.Conv2d(in_channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        around = self.shortcut(x)
        if not len(self.shortcut):
            around = pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.new // 2, self.new // 2))
        return relu(self.bn2(self.conv2(relu(self.bn1(self.conv1(x))))) + around)


class CifarReference(nn.Module):
    """The ResNet for CIFAR-10 with the keys of the widely used checkpoints."""

    def __init__(self, depth: int, projection: bool = False) -> None:
        super().__init__()

        def stage(in_channels: int, width: int, stride: int) -> nn.Sequential:
            first = Block(in_channels, width, stride, projection)
            return nn.Sequential(first, *(Block(width, width, 1, projection) for _ in range((depth - 2) // 6 - 1)))

        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1, self.layer2, self.layer3 = stage(16, 16, 1), stage(16, 32, 2), stage(32, 64, 2)
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(relu(self.bn1(self.conv1(x))))))
        logits: Tensor = self.linear(adaptive_avg_pool2d(x, 1).flatten(1))
        return logits


@pytest.mark.parametrize("depth", asked([20, 32, 44, 56, 110], [20, 32]))
def test_a_cifar_resnet(depth: int) -> None:
    theirs = random_weights(CifarReference(depth))
    state = {"state_dict": {f"module.{key}": value for key, value in theirs.state_dict().items()}, "best_prec1": 92.6}
    config = compare(theirs, "arch=resnet20", f"arch.depth={depth}", size=32, state=state)
    assert (config["data"]["mean"], config["data"]["std"]) == (list(MEAN), list(STD))


def test_a_cifar_resnet_with_projections() -> None:
    compare(random_weights(CifarReference(20, projection=True)), "arch=resnet20", "arch.shortcut=B", size=32)


@pytest.mark.parametrize("projection", [False, True])
def test_a_cifar_resnet_with_the_keys_of_torchvision(projection: bool) -> None:
    theirs = random_weights(CifarReference(20, projection))
    state = called(theirs.state_dict(), linear="fc", shortcut="downsample")
    config = compare(theirs, "arch=resnet20", size=32, state=state, colours=CIFAR10)
    assert config["arch"]["shortcut"] == ("B" if projection else "A")


def test_the_maps_are_as_many_before_as_behind_and_not_only_behind() -> None:
    """The padding matters: without renumbering, these weights compute something else."""
    theirs = random_weights(CifarReference(20))
    layout = recognize(theirs.state_dict())
    assert layout is not None
    before, after = theirs.state_dict()["layer2.0.conv2.weight"], layout.translate(theirs.state_dict())
    assert torch.equal(after["stages.1.0.body.1.conv.weight"], before[[*range(8, 24), *range(8), *range(24, 32)]])


# how a layout is recognized


LAYOUT_OF: dict[str, Callable[[], nn.Module]] = {
    "ResNet of torchvision and timm": torchvision.models.resnet18,
    "VGG of torchvision": torchvision.models.vgg11_bn,
    "AlexNet of torchvision": torchvision.models.alexnet,
    "GoogLeNet of torchvision": lambda: torchvision.models.googlenet(init_weights=False),
    "Inception-v3 of torchvision": lambda: torchvision.models.inception_v3(init_weights=False),
    "EfficientNet of torchvision": torchvision.models.efficientnet_b0,
    "CIFAR ResNet (pytorch_resnet_cifar10)": lambda: CifarReference(8),
}
CALLED_OTHERWISE = {  # the layout of which others are but for some words
    "VGG of timm": ("VGG of torchvision", {}),
    "ResNet of kuangliu's pytorch-cifar": (
        "ResNet of torchvision and timm",
        {"fc": "linear", "downsample": "shortcut"},
    ),
    "CIFAR ResNet in torchvision's keys": ("CIFAR ResNet (pytorch_resnet_cifar10)", {"linear": "fc"}),
}


@pytest.mark.parametrize("name", [*LAYOUT_OF, *CALLED_OTHERWISE])
def test_a_layout_is_recognized_by_its_keys_and_no_other_claims_them(name: str) -> None:
    with torch.device("meta"):
        state = of_layout(name)
    assert [layout.name for layout in LAYOUTS if layout.likeness(state) == 1] == [name]


@pytest.mark.parametrize("name", ["mobilenet_v2", "densenet121", "squeezenet1_0", "efficientnet_v2_s", "convnext_tiny"])
def test_networks_that_we_do_not_have_are_of_no_layout(name: str) -> None:
    with torch.device("meta"):
        assert recognize(torchvision.models.get_model(name, weights=None).state_dict()) is None


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_a_layout_is_recognized_without_one_of_its_marks(layout: Layout) -> None:
    with torch.device("meta"):
        state = of_layout(layout.name)
    for mark in layout.marks:
        assert recognize({key: value for key, value in state.items() if key != mark}) is layout


def of_layout(name: str) -> dict[str, Tensor]:
    if name in LAYOUT_OF:
        return LAYOUT_OF[name]().state_dict()
    other, words = CALLED_OTHERWISE[name]
    if words:
        return called(LAYOUT_OF[other]().state_dict(), **words)
    names = {"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2", "classifier.6": "head.fc"}
    state = LAYOUT_OF["VGG of torchvision"]().state_dict()
    return {names.get(module := key.rpartition(".")[0], module) + key.removeprefix(module): state[key] for key in state}


def test_a_layout_says_what_neither_keys_nor_shapes_can_tell() -> None:
    """Networks that compute something else have the same: with a blur before each stride, another activation, ..."""
    with torch.device("meta"):
        said = {layout.name: ", ".join(layout.assumes(of_layout(layout.name))) for layout in LAYOUTS}
        blurred, bottlenecks = torchvision.models.resnet18(), torchvision.models.resnet50()
    assert all(re.match("relu, |silu, ", text) for text in said.values())
    assert "nothing blurred" in said["ResNet of torchvision and timm"]
    layout = recognize(blurred.state_dict())
    assert layout is not None
    assert "a bottleneck's stride in its 3x3" in layout.assumes(bottlenecks.state_dict())
    blurred.maxpool = nn.Sequential(blurred.maxpool, nn.AvgPool2d(2, 1))
    assert recognize(blurred.state_dict()) is layout
    assert "zeros on both sides" in said["CIFAR ResNet (pytorch_resnet_cifar10)"]
    assert "BGR" in said["VGG of torchvision"]


def test_a_preactivation_resnet_of_the_same_repository_is_refused_by_its_keys() -> None:
    state = called(for_small_images(18).state_dict(), fc="linear", downsample="shortcut")
    torch.save({key: value for key, value in state.items() if not key.startswith("bn1.")}, "weights.pth")
    with pytest.raises(ConfigError, match=r"4 keys missing \(by our names\): stem\.norm\.weight"):
        compose(["arch=resnet18", *SYNTHETIC, "data.image_size=32", "weights=weights.pth"])


STRANGE = [
    "layer1.0.downsample.5.weight",
    "layer2.0.shortcut.7.weight",
    "features.x.weight",
    "features.0.2.weight",
    "inception6a.branch1.conv.weight",
    "inception3a.branch9.conv.weight",
    "conv9.conv.weight",
    "Conv2d_9z_9x9.conv.weight",
    "Mixed_5b.branch9x9.conv.weight",
    "Mixed_9b.branch1x1.conv.weight",
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_keys_and_shapes_of_something_else_go_through_to_be_named(layout: Layout) -> None:
    with torch.device("meta"):
        state = of_layout(layout.name)
    strange = {key: torch.zeros(()) for key in STRANGE}
    translated = layout.translate(state | strange)
    layout.sets(state | strange), layout.view(state | strange)
    assert all(layout.ours(state | strange)[key] in translated for key in STRANGE)
    for key in state:
        broken = state | {key: torch.zeros(())}
        layout.translate(broken), layout.sets(broken), layout.view(broken)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"linear.weight": torch.zeros(10)}, r"of another shape: linear.weight \(10, not 10x64\)"),
        ({"layer2.0.conv2.weight": None}, r"1 key missing \(by our names\): stages.1.0.body.1.conv.weight"),
        (
            {"layer2.0.conv2.weight": torch.zeros(())},
            r"of another shape: layer2.0.conv2.weight \(a number, not 32x32x3x3",
        ),
        ({"layer9.0.conv2.weight": torch.zeros(3)}, "1 key too many: layer9.0.conv2.weight"),
        ({"linear.weight": None}, r"1 key missing \(by our names\): classifier.weight"),
    ],
)
def test_a_cifar_file_that_does_not_fit_is_refused_by_its_keys(change: dict[str, Tensor | None], says: str) -> None:
    state = CifarReference(8).state_dict() | change
    torch.save({key: value for key, value in state.items() if value is not None}, "weights.pth")
    with pytest.raises(ConfigError, match=rf"weights=\S+weights.pth \(CIFAR ResNet \S+\): .*{says}"):
        compose(["arch=resnet20", "arch.depth=8", "data=synthetic", "weights=weights.pth"])
