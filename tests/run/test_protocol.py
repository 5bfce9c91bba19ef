"""Tests of several views in whole runs: against a loop over the pictures, again from the run, and in two processes."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as tv
from PIL import Image
from torch import Tensor, nn

from convarium.config.compose import Conf, compose
from convarium.data.datasets import digits
from convarium.errors import ConfigError
from convarium.run.directory import RunDirectory
from convarium.run.prepare import prepare as prepare_experiment
from convarium.trained.evaluate import evaluate, prepare
from convarium.trained.load import load_run
from processes import convarium
from processes import run as run_process
from runs import trained

MEAN, STD = 0.45, 0.25
FILES = ("data=folder", "data.root=pictures", f"data.mean=[{MEAN}]", f"data.std=[{STD}]", "data.image_size=32")
SHOWN = ("data.crop_share=0.8", "data.val_fraction=0.25", "batch_size=4", "trainer.max_epochs=1")
DENSE = ("test.dense=true", "test.scales=[40,44]", "test.flip=true")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunDirectory]:
    """LeNet-5 for a moment on pictures of many sizes, which lie beside its folder."""
    root = tmp_path_factory.mktemp("shown")
    numbers = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 7)):
        for shade, label in ((60, "dark"), (150, "light")):
            folder = root / "pictures" / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = numbers.integers(0, 100, (41 + 5 * number, 70 - 4 * number, 3)) + shade
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield trained(root / "run", "arch=lenet5", *FILES, *SHOWN, *DENSE, "callbacks=[checkpoint,figures]")


def recomputed(run: RunDirectory, views: Callable[[Image.Image], list[Tensor]], net: nn.Module) -> dict[str, float]:
    """Loss, accuracies and F1 of the mean of the probabilities over the views, one picture after another."""
    chances, targets = [], []
    with torch.inference_mode():
        for target, label in enumerate(("dark", "light")):
            for path in sorted((run.path.parent / "pictures" / "test" / label).iterdir()):
                with Image.open(path) as picture:
                    chances.append(torch.stack([net(view)[0].double().softmax(0) for view in views(picture)]).mean(0))
                targets.append(target)
    table, truth = torch.stack(chances), torch.tensor(targets)
    own = table[torch.arange(len(truth)), truth]
    answers = table.argmax(1)
    right = [int(((answers == truth) & (truth == label)).sum()) for label in (0, 1)]
    there, said = (torch.bincount(labels, minlength=2).tolist() for labels in (truth, answers))
    return {
        "test/loss": float(-own.log().mean()),
        "test/acc1": float((answers == truth).double().mean()),
        "test/balanced_accuracy": sum(hits / all for hits, all in zip(right, there, strict=True)) / 2,
        "test/macro_f1": sum(hits / (a + b) for hits, a, b in zip(right, there, said, strict=True)),
    }


def normalized(picture: Image.Image) -> Tensor:
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).unsqueeze(0)
    return (pixels.float() / 255 - MEAN) / STD


def ten(picture: Image.Image) -> list[Tensor]:
    scale = 40 / min(picture.size)
    width, height = (round(side * scale) for side in picture.size)
    left, top = (width - 40) // 2, (height - 40) // 2
    square = picture.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + 40, top + 40))
    return list(tv.ten_crop(normalized(square), [32, 32]))


def whole(picture: Image.Image, scale: int) -> Tensor:
    sides = [round(side * scale / min(picture.size)) for side in reversed(picture.size)]
    return tv.resize(normalized(picture), sides, antialias=True)


def of_144(picture: Image.Image) -> list[Tensor]:
    crops = []
    for scale in (37, 41, 46, 50):
        pixels = whole(picture, scale)
        longer = max(pixels.shape[2:]) - scale
        for start in (0, longer // 2, longer):
            wide = pixels.shape[3] > scale
            square = pixels[..., start : start + scale] if wide else pixels[:, :, start : start + scale]
            far, middle = scale - 32, (scale - 32) // 2
            for top, left in ((0, 0), (0, far), (far, 0), (far, far), (middle, middle)):
                crops.append(square[:, :, top : top + 32, left : left + 32])
            crops.append(tv.resize(square, [32, 32], antialias=True))
    return crops + [tv.horizontal_flip(crop) for crop in crops]


class Sliding(nn.Module):
    """LeNet-5, which has no padding, on every window of a picture, 4 pixels apart: the mean of its scores."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, picture: Tensor) -> Tensor:
        windows = picture.unfold(2, 32, 4).unfold(3, 32, 4)
        rows = windows.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 32, 32)
        return self.net(rows).mean(0, keepdim=True)


def dense(picture: Image.Image) -> list[Tensor]:
    views = [whole(picture, scale) for scale in (40, 44)]
    return views + [tv.horizontal_flip(view) for view in views]


PLAIN = ("test.dense=false", "test.scales=null", "test.flip=false")


@pytest.mark.parametrize(
    ("words", "views", "sliding"),
    [
        ((*PLAIN, "test.views=10"), ten, False),
        ((*PLAIN, "test.views=144"), of_144, False),
        ((), dense, True),
        ((*PLAIN, "test.flip=true"), lambda picture: [ten(picture)[4], ten(picture)[9]], False),
        (PLAIN, lambda picture: [ten(picture)[4]], False),
    ],
)
def test_what_is_measured_is_that_of_a_loop_over_the_pictures(
    run: RunDirectory, words: tuple[str, ...], views: Any, sliding: bool
) -> None:
    net = load_run(run.path)
    expected = recomputed(run, views, Sliding(net) if sliding else net)
    assert evaluate(prepare(run, words)) == pytest.approx(expected, rel=1e-5)


def test_the_runs_own_test_is_measured_again_exactly(run: RunDirectory) -> None:
    logged = run.result()["metrics"]
    assert evaluate(prepare(run)) == {name: logged[name] for name in logged if name.startswith("test/")}


def test_validation_is_of_one_crop_unless_views_are_named(run: RunDirectory) -> None:
    logged = run.result()["metrics"]
    val = evaluate(prepare(run, split="val", weights="last"))
    assert val == {name: logged[name] for name in ("val/loss", "val/acc1")}
    assert evaluate(prepare(run, [*PLAIN, "test.views=10"], split="val", weights="last"))["val/loss"] != val["val/loss"]


def test_the_run_says_how_it_was_tested(run: RunDirectory) -> None:
    told = "dense at 40 and 44 pixels, with mirror images"
    assert run.result()["test_views"] == told
    log = (run.path / "train.log").read_text()
    assert f"    test  {told}\n" in log
    assert re.search(rf"^testing the best weights \(epoch 1\), {told}$", log, re.MULTILINE)


def test_the_worst_mistakes_are_drawn_also_of_pictures_of_many_sizes(run: RunDirectory) -> None:
    assert (run.path / "figures" / "worst_mistakes.png").is_file()
    assert "not drawn" not in (run.path / "train.log").read_text()


@pytest.mark.slow
def test_two_processes_count_each_picture_once(run: RunDirectory, own_directory: Path) -> None:
    log = own_directory / "log"
    words = ("trainer.accelerator=cpu", "trainer.devices=2", "format=json")
    assert run_process(convarium, "evaluate", str(run.path), *words, log=log) == 0, log.read_text()
    told = json.loads(log.read_text())
    assert told["views"] == "dense at 40 and 44 pixels, with mirror images"
    assert told["metrics"] == pytest.approx(evaluate(prepare(run)), rel=1e-6)


def test_small_images_in_memory_are_tested_whole_in_batches(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", "trainer.max_epochs=1", "test.dense=true", "test.scales=[36]")
    metrics = run.result()["metrics"]
    assert evaluate(prepare(run)) == {name: metrics[name] for name in metrics if name.startswith("test/")}
    assert evaluate(prepare(run, ["data.eval_batch_size=297"])) == pytest.approx(evaluate(prepare(run)), rel=1e-6)


def test_a_shift_test_is_measured_beside_the_rest_which_it_does_not_change(tmp_path: Path) -> None:
    words = ("arch=mlp", "data.image_size=8", "trainer.max_epochs=1", "trainer.limit_train_batches=9")
    plain, run = (trained(tmp_path / name, *words, *more) for name, more in (("plain", ()), ("run", ("test.shift=1",))))
    metrics = run.result()["metrics"]
    assert ", also moved by up to 1 pixel" in (run.path / "train.log").read_text()
    added = {name: metrics.pop(name) for name in ("test/consistency", "test/shifted_acc1")}
    assert metrics == plain.result()["metrics"]
    assert evaluate(prepare(plain, ["test.shift=1"])) == evaluate(prepare(plain)) | added
    assert set(evaluate(prepare(plain, split="val"))) == {"val/loss", "val/acc1", "val/acc5"}
    assert "val/consistency" not in evaluate(prepare(run, split="val"))
    assert evaluate(prepare(run, ["test.shift=1"], split="val"))["val/consistency"] < 1
    with np.load(digits.FILE) as file:
        counts, targets = file["images"][file["test"]], torch.from_numpy(file["targets"][file["test"]])
    images = ((torch.from_numpy(counts).float() * (255 / 16)).round() / 255 - 0.3050) / 0.3234
    net, alike, right = load_run(plain.path), 0, 0
    with torch.inference_mode():
        answers = net(images[:, None]).argmax(1)
        for down in (-1, 0, 1):
            for sideways in (-1, 0, 1):
                rows, columns = ((torch.arange(8) - step).clamp(0, 7) for step in (down, sideways))
                others = net(images[:, rows][:, :, columns][:, None]).argmax(1)
                alike, right = alike + int((others == answers).sum()), right + int((others == targets).sum())
    unmoved = int((answers == targets).sum())
    assert added == {"test/consistency": (alike - 297) / 2376, "test/shifted_acc1": (right - unmoved) / 2376}


# what is refused ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def conf() -> Conf:
    return Conf()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("test.views=12", "test.views=12: out of range; accepted: 1, 10, 144"),
        ("test.views=true", "test.views=true: expected int, got bool; accepted: 1, 10, 144"),
        (
            "test.views=10",
            "test.views=10: images of 32 pixels are all of the 32 they are cut from; accepted: test.views=1 or 144",
        ),
        (
            "test.views=10 data=imagenet data.crop_share=1",
            "test.views=10: images of 224 pixels are all of the 224 they are cut from;"
            " accepted: e.g. data.crop_share=0.875",
        ),
        (
            "test.views=10 test.dense=true",
            "test.views=10: has no part in test.dense=true, which shows the whole; accepted: 1",
        ),
        (
            "test.views=144 test.flip=true",
            "test.flip=true: the mirror images are among test.views=144 already; accepted: false",
        ),
        (
            "test.dense=true test.scales=[48,31]",
            "test.scales=[48,31]: 31 is smaller than data.image_size=32; accepted: 32 or more",
        ),
        ("test.shift=0", "test.shift=0: out of range; accepted: at least 1, or null"),
        ("test.shift=32", "test.shift=32: moves images of 32 pixels out of sight; accepted: 1 to 31"),
        ("test.scales=[48]", "test.scales=[48]: has a part in test.dense=true only; accepted: null"),
        ("test.dense=true test.scales=48", "test.scales=48: expected a list of whole numbers, e.g. [32]"),
        ("test.dense=true test.scales=[]", "test.scales=[]: expected a list of whole numbers, e.g. [32]"),
        (
            "test.dense=true test.scales=[48.5]",
            "test.scales=[48.5]: out of range; accepted: a list of whole numbers from 1 to 16384, or null",
        ),
    ],
)
def test_what_cannot_be_shown_is_refused(conf: Conf, words: str, line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        conf.compose(words.split())
    assert str(refused.value) == line


def test_a_network_without_maps_is_not_tested_densely() -> None:
    with pytest.raises(ConfigError) as refused:
        prepare_experiment(compose(["arch=mlp", "test.dense=true", "trainer.accelerator=cpu"]).config)
    assert str(refused.value) == (
        "test.dense=true: arch=mlp has no maps over which its linear layers could slide; accepted: false"
    )
    prepare_experiment(compose(["arch=lenet5", "test.dense=true", "trainer.accelerator=cpu"]).config)


def test_an_evaluation_refuses_the_same(digits_run: RunDirectory) -> None:
    with pytest.raises(ConfigError, match=r"test.views=10: images of 32 pixels are all of the 32"):
        prepare(digits_run, ["test.views=10"])
    with pytest.raises(ConfigError, match=r"test.weights: has no part in an evaluation"):
        prepare(digits_run, ["test.weights=last"])
