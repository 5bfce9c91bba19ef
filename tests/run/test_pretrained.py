"""A network begins with the weights it is given, and the experiment becomes what they ask for."""

import json
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file, save_file

from convarium.archs.resnet import CifarResNet
from convarium.config.identity import config_hash
from convarium.errors import ConfigError
from convarium.run.directory import RunDirectory
from convarium.run.launch import launch
from convarium.run.prepare import prepare
from convarium.run.resume import resume_config
from convarium.trained.evaluate import evaluate, prepare_file
from experiments import SMALL, compose, config_of, experiment
from processes import convarium, run, train
from runs import trained

STILL = ("optimizer.lr=0.0", "optimizer.weight_decay=0.0")  # training changes nothing


def refused(*words: str) -> str:
    with pytest.raises(ConfigError) as caught:
        compose(words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def resnet18(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of torchvision's layout."""
    file = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(torchvision.models.resnet18().state_dict(), file)
    return file


@pytest.fixture
def bottlenecks(tmp_path: Path) -> str:
    """A file of the layout of torchvision's ResNet-50; a little one, of which only the keys count here."""
    state = torchvision.models.resnet18().state_dict() | {"layer1.0.conv3.weight": torch.zeros(1)}
    torch.save({key: value[:1].clone() if value.ndim else value for key, value in state.items()}, tmp_path / "50.pth")
    return str(tmp_path / "50.pth")


# beginning with weights


def test_a_run_begins_with_the_weights_of_another(own_directory: Path) -> None:
    first = experiment(folder="first")
    second = experiment(f"weights={first.weights}", "seed=2", *STILL, folder="second")
    before, after = load_file(first.weights), load_file(second.weights)
    assert before.keys() == after.keys()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    log = second.log_file.read_text()
    assert f" weights  {first.weights} (keys as our own)\n" in log
    assert (
        "\n          assumed, for its keys do not tell: all that has no weights as in this\n          config\n" in log
    )


def test_other_classes_get_a_new_classifier_which_is_said(own_directory: Path) -> None:
    first = experiment(folder="first")
    second = experiment("weights=first/weights.safetensors", "data.num_classes=4", *STILL, folder="second")
    before, after = load_file(first.weights), load_file(second.weights)
    changed = [key for key in before if not torch.equal(before[key], after[key])]
    assert changed == ["classifier.bias", "classifier.weight"]
    assert after["classifier.weight"].shape == (4, 16)
    assert "; classifier new: the file's is for 10 classes" in second.log_file.read_text()


def test_the_weights_are_part_of_what_identifies_an_experiment(own_directory: Path) -> None:
    save_file({"x": torch.zeros(1)}, "any.safetensors")
    config = config_of()
    assert config["weights"] is None
    assert (
        config_hash(config | {"weights": "/a.pth"}) != config_hash(config) != config_hash({**config, "weights": "/b"})
    )


def test_resuming_does_not_need_them_any_more(own_directory: Path) -> None:
    first = experiment(folder="first")
    second = experiment(f"weights={first.weights}", folder="second")
    given = str(first.weights)
    first.weights.unlink()
    config, _, changed = resume_config(second.path, ["trainer.max_epochs=2"])
    assert config["weights"] == given
    assert changed == ["trainer.max_epochs: 1 -> 2"]
    assert config_hash(config) != config_hash(config | {"weights": None})
    assert launch(prepare(config), [], resume=second.path) == 0
    assert second.result()["epochs"] == 2
    save_file({"x": torch.zeros(1)}, "other.safetensors")
    with pytest.raises(ConfigError):
        resume_config(second.path, ["weights=other.safetensors"])


@pytest.mark.slow
def test_every_rank_begins_with_them(own_directory: Path) -> None:
    first = experiment(folder="first")
    log = own_directory / "log"
    second = ("weights=first/weights.safetensors", "run_dir=second", "trainer.devices=2", "arch.hidden=[16]")
    assert run(train, *SMALL, *STILL, *second, log=log) == 0, log.read_text()
    before, after = load_file(first.weights), load_file("second/weights.safetensors")
    assert all(torch.equal(after[key], value) for key, value in before.items())


# what a layout asks for


def test_what_a_layout_asks_for_is_set(resnet18: Path) -> None:
    config = compose(["arch=resnet50", "arch.depth=18", "data=synthetic", f"weights={resnet18}"]).config
    assert config["data"]["mean"] == [0.485, 0.456, 0.406]
    assert config["data"]["std"] == [0.229, 0.224, 0.225]
    assert config["data"]["image_size"] == config["arch"]["image_size"] == 224


def test_a_size_of_one_s_own_is_left(resnet18: Path) -> None:
    words = ["arch=resnet50", "arch.depth=18", "arch.stem=paper", "data=synthetic", f"weights={resnet18}"]
    assert compose([*words, "data.image_size=96"]).config["data"]["image_size"] == 96


def test_the_file_is_written_as_one_whole_path_and_the_overrides_as_they_were(resnet18: Path) -> None:
    words = ["arch=resnet50", "arch.depth=18", "data=synthetic", f"weights={resnet18}"]
    composed = compose(words)
    assert composed.overrides == words
    assert composed.config["weights"] == str(resnet18)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("data.mean=[0.5,0.5,0.5]", "data.mean=[0.5,0.5,0.5]: contradicts weights={}, which need data.mean=[0.485,"),
        ("activation=silu", "activation=silu: contradicts weights={}, which need activation=paper or relu"),
        ("arch.stem=small", "arch.stem=small: contradicts weights={}, which need arch.stem=paper"),
        ("data.std=[1.0,1.0,1.0]", "data.std=[1.0,1.0,1.0]: contradicts weights={}, which need data.std=[0.229,"),
    ],
)
def test_a_key_that_contradicts_is_refused(resnet18: Path, word: str, says: str) -> None:
    told = refused("arch=resnet50", "arch.depth=18", "data=synthetic", f"weights={resnet18}", word)
    assert told.startswith(says.format(f"{resnet18} (ResNet of torchvision and timm)"))


def test_another_stride_or_eps_than_the_weights_have_is_refused(bottlenecks: str) -> None:
    words = ("arch=resnet50", "data=synthetic", f"weights={bottlenecks}")
    assert "which need arch.downsample_in=3x3" in refused(*words, "arch.downsample_in=1x1")
    assert "which need norm.eps=1e-05" in refused(*words, "norm=batch", "norm.eps=0.001")
    assert "of another shape: conv1.weight (1x3x7x7, not 64x3x7x7)" in refused(*words)


def test_another_network_is_refused_by_the_keys_that_differ(resnet18: Path) -> None:
    told = refused("arch=resnet50", "data=synthetic", f"weights={resnet18}")
    assert told.startswith(f"weights={resnet18} (ResNet of torchvision and timm): ")
    assert "keys missing (by our names): stages.0.0.body.2.conv.weight" in told
    assert "of another shape: layer1.0.conv1.weight (64x64x3x3, not 64x64x1x1)" in told


def test_small_images_get_the_stem_that_the_weights_are_of(resnet18: Path) -> None:
    config = compose(["arch=resnet18", "data=synthetic", f"weights={resnet18}", "data.image_size=64"]).config
    assert (config["arch"]["stem"], config["arch"]["shortcut"]) == ("paper", "B")


def test_a_plain_network_is_not_made_a_residual_one(resnet18: Path) -> None:
    told = refused("arch=plain18", "data=synthetic", f"weights={resnet18}")
    assert told.startswith("arch.shortcut=none: contradicts weights=")
    assert told.endswith("which need arch.shortcut=B")


def test_keys_of_nobody_are_refused_with_the_layouts_there_are() -> None:
    torch.save({"blocks.0.weight": torch.zeros(3), "blocks.0.bias": torch.zeros(3)}, "weights.pth")
    told = refused("arch=resnet18", "data=synthetic", "weights=weights.pth")
    assert "keys of no layout that is known (blocks.0.weight, blocks.0.bias, ...); accepted: our own, AlexNet" in told


def test_grey_images_are_refused_by_the_first_convolution(resnet18: Path) -> None:
    told = refused("arch=resnet50", "arch.depth=18", "data=digits", f"weights={resnet18}")
    assert told.endswith("1 key of another shape: conv1.weight (64x3x7x7, not 64x1x7x7)")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("nowhere.pth", "weights=nowhere.pth: no such file; accepted: torchvision:NAME, or a file .safetensors"),
        ("weights.ckpt", "weights={}/weights.ckpt: out of range; accepted: torchvision:NAME, or a file"),
        ("runs/nope", "weights=runs/nope: no such file; accepted: torchvision:NAME, or a file .safetensors, .pth, "),
        ("torchvision:", "weights=torchvision:: out of range"),
        ("3", "weights=3: no such file"),
        ("torchvision:IMAGENET1K_V1", "weights=torchvision:IMAGENET1K_V1: torchvision has no weights of this network"),
    ],
)
def test_what_is_no_file_of_weights_is_refused(own_directory: Path, value: str, says: str) -> None:
    Path("weights.ckpt").touch()
    assert refused(f"weights={value}").startswith(says.format(own_directory))


# scoring a file without a run


@pytest.fixture(scope="module")
def little_run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    data = ("data=synthetic", "data.train_size=64", "data.test_size=32", "data.mean=[0.485,0.456,0.406]")
    words = ("arch=resnet20", "arch.depth=8", "trainer.max_epochs=1", *data)
    return trained(tmp_path_factory.mktemp("resnet") / "run", *words)


WORDS = ("arch=resnet20", "arch.depth=8", "data=synthetic", "data.train_size=64", "data.test_size=32")


def test_a_file_scores_as_the_run_it_is_from(little_run: RunDirectory) -> None:
    words = [*WORDS, "data.mean=[0.485,0.456,0.406]", f"weights={little_run.weights}", "trainer=cpu"]
    metrics = evaluate(prepare_file(words))
    logged = little_run.result()["metrics"]
    assert metrics == {name: value for name, value in logged.items() if name.startswith("test/")}


def test_evaluate_prints_the_same_as_of_a_run(little_run: RunDirectory, own_directory: Path) -> None:
    words = (*WORDS, "data.mean=[0.485,0.456,0.406]", f"weights={little_run.weights}", "trainer=cpu")
    assert run(convarium, "evaluate", *words, "--json", log=own_directory / "json") == 0
    told = json.loads((own_directory / "json").read_text())
    assert told["assumption"].startswith("assumed, for its keys do not tell: all that has no weights")
    assert (told["run"], told["weights"], told["split"]) == (None, str(little_run.weights), "test")
    assert told["metrics"]["test/acc1"] == little_run.result()["metrics"]["test/acc1"]
    assert run(convarium, "evaluate", *words, log=own_directory / "text") == 0
    text = (own_directory / "text").read_text()
    assert text.startswith(f"resnet20-synthetic, {little_run.weights} weights, test split, on cpu\nassumed, ")
    assert f"    acc1  {told['metrics']['test/acc1']:9.4f}\n" in text
    assert {path.name for path in own_directory.iterdir()} == {"json", "text"}


@pytest.mark.slow
def test_two_processes_score_a_file_as_one(little_run: RunDirectory, own_directory: Path) -> None:
    words = (*WORDS, "data.mean=[0.485,0.456,0.406]", f"weights={little_run.weights}", "trainer.accelerator=cpu")
    assert run(convarium, "evaluate", *words, "trainer.devices=2", "--json", log=own_directory / "json") == 0
    told, logged = json.loads((own_directory / "json").read_text()), little_run.result()["metrics"]
    assert (told["device"], told["metrics"]["test/acc1"]) == ("2 x cpu", logged["test/acc1"])
    assert told["metrics"]["test/loss"] == pytest.approx(logged["test/loss"], rel=1e-6)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "weights: none given; an evaluation without a run needs weights=FILE, or torchvision:NAME"),
        (("weights=nowhere.pth",), "nowhere.pth: no such file"),
        (("weights={}", "optimizer.lr=1"), "optimizer.lr: has no part in an evaluation"),
        (("weights={}", "dropout=0.1"), "dropout: has no part in an evaluation"),
        (("weights={}", "data.num_classes=4"), "data.num_classes=4: weights={} are for 10 classes"),
        (("weights={}", "arch.depth=14"), "30 keys missing: stages.0.1.body.0.conv.weight"),
        (("weights={}", "arch=resnet21"), "arch=resnet21: unknown"),
        (("weights={}", "split=tset"), "split=tset: unknown; did you mean 'test'?"),
    ],
)
def test_bad_input_is_one_line(
    little_run: RunDirectory, own_directory: Path, words: tuple[str, ...], says: str
) -> None:
    given = [word.format(little_run.weights) for word in words]
    log = own_directory / "log"
    assert run(convarium, "evaluate", *WORDS, *given, log=log) == 2
    assert log.read_text().startswith("error: ")
    assert says.format(little_run.weights) in log.read_text()
    assert log.read_text().count("\n") == 1


def test_a_published_cifar_file_is_scored_on_a_folder_of_images(own_directory: Path) -> None:
    for split in ("train", "test"):
        for number in range(10):
            folder = own_directory / "images" / split / f"class{number}"
            folder.mkdir(parents=True)
            Image.new("RGB", (32, 32), (number * 25, 100, 255 - number * 25)).save(folder / "1.png")
    names = {"conv1": "stem.conv", "bn1": "stem.norm", "linear": "classifier"}
    ours, theirs = CifarResNet(depth=20).state_dict(), {}
    for theirs_name, our_name in names.items():
        theirs |= {k.replace(our_name, theirs_name): v for k, v in ours.items() if k.startswith(f"{our_name}.")}
    for key, value in ours.items():
        if key.startswith("stages."):
            _, stage, block, _, number, kind, leaf = key.split(".")
            layer = "conv" if kind == "conv" else "bn"
            theirs[f"layer{int(stage) + 1}.{block}.{layer}{int(number) + 1}.{leaf}"] = value
    torch.save({"state_dict": {f"module.{key}": value for key, value in theirs.items()}}, "published.th")
    words = ("arch=resnet20", "weights=published.th", "data=folder", "data.root=images", "trainer=cpu")
    metrics = evaluate(prepare_file(list(words)))
    assert 0 <= metrics["test/acc1"] <= 1
    assert metrics["test/loss"] > 0
