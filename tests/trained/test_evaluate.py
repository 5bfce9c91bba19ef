"""Evaluating a run gives what the run measured, and says no to what would make it another experiment."""

import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from convarium.config.compose import compose
from convarium.errors import ConfigError, RunError
from convarium.learn.checkpoint_file import read_checkpoint
from convarium.run.directory import RunDirectory
from convarium.run.preflight import Placement
from convarium.trained import evaluate as evaluate_module
from convarium.trained.evaluate import evaluate, measure, prepare
from runs import trained, untrained

GPUS = torch.cuda.device_count()


def logged(run: RunDirectory, split: str) -> dict[str, float]:
    """The last figures of a split that the run wrote down."""
    metrics = run.result()["metrics"]
    return {name: value for name, value in metrics.items() if name.startswith(f"{split}/")}


def test_the_logged_test_metrics_are_measured_again_exactly(digits_run: RunDirectory) -> None:
    metrics = evaluate(prepare(digits_run))
    assert list(metrics) == ["test/loss", "test/acc1", "test/acc5", "test/balanced_accuracy", "test/macro_f1"]
    assert metrics == logged(digits_run, "test")


def test_the_logged_validation_metrics_are_measured_again_exactly(digits_run: RunDirectory) -> None:
    assert evaluate(prepare(digits_run, split="val", weights="last")) == logged(digits_run, "val")


def test_averaged_weights_are_measured_again_exactly(averaged_run: RunDirectory) -> None:
    assert evaluate(prepare(averaged_run)) == logged(averaged_run, "test")
    best = evaluate(prepare(averaged_run, split="val", weights="best"))
    assert best["val/acc1"] == read_checkpoint(averaged_run.best)["val/acc1"]
    last = evaluate(prepare(averaged_run, split="val", weights="last"))
    assert last == logged(averaged_run, "val")
    assert last["val/acc1"] < best["val/acc1"]
    assert evaluate(prepare(averaged_run, weights="best")) == logged(averaged_run, "test")
    assert evaluate(prepare(averaged_run, weights="last")) != logged(averaged_run, "test")


def test_other_metrics_than_the_run_logged_are_measured(digits_run: RunDirectory) -> None:
    before = evaluate(prepare(digits_run))
    metrics = evaluate(prepare(digits_run, ["metrics=[accuracy,balanced_accuracy,macro_f1]"]))
    assert list(metrics) == ["test/loss", "test/acc1", "test/balanced_accuracy", "test/macro_f1"]
    assert metrics["test/acc1"] == before["test/acc1"]
    assert 0.5 < metrics["test/macro_f1"] < 1
    with pytest.raises(ConfigError, match=r"^metrics\.macro_f1\.num_classes=3: follows data\.num_classes"):
        prepare(digits_run, ["metrics=[accuracy,macro_f1]", "metrics.macro_f1.num_classes=3"])


def test_a_run_with_other_numbers_and_one_logit_is_measured_again_exactly(tmp_path: Path) -> None:
    data = ("data=synthetic", "data.num_classes=1", "loss=bce", "trainer.limit_test_batches=1")
    binary = trained(tmp_path / "run", "arch=mlp", "precision=bf16", "trainer.max_epochs=1", *data)
    assert evaluate(prepare(binary)) == logged(binary, "test")


@pytest.mark.gpu
def test_a_run_on_a_gpu_is_measured_again(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", "trainer=gpu", "trainer.accelerator=gpu", "precision=bf16", "trainer.max_epochs=1")
    metrics = evaluate(prepare(run))
    assert metrics["test/acc1"] == logged(run, "test")["test/acc1"]
    assert metrics == pytest.approx(logged(run, "test"), rel=1e-6)


def test_nothing_is_written_into_the_run(digits_run: RunDirectory) -> None:
    before = {path: path.stat().st_mtime_ns for path in digits_run.path.rglob("*")}
    evaluate(prepare(digits_run, ["data.val_fraction=0.5"], split="val"))
    assert {path: path.stat().st_mtime_ns for path in digits_run.path.rglob("*")} == before


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the process that starts others has said, one thing after the other."""
    said: list[str] = []

    @contextmanager
    def sampled(what: Callable[[], str]) -> Iterator[None]:
        over = threading.Event()

        def sample() -> None:
            while not over.wait(0.05):
                said.extend([now] if (now := what()) not in said[-1:] else [])

        sampler = threading.Thread(target=sample)
        sampler.start()
        yield
        over.set()
        sampler.join()

    monkeypatch.setattr(evaluate_module, "doing", sampled)
    return said


@pytest.mark.slow
def test_two_processes_measure_the_same_and_the_first_has_the_terminal_for_its_bar(
    digits_run: RunDirectory, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    evaluation = prepare(digits_run, ["trainer.accelerator=cpu", "trainer.devices=2"])
    assert evaluation.placement.description == "2 x cpu"
    (metrics, images, _), expected = measure(evaluation), logged(digits_run, "test")
    assert said == ["start the processes", "", "end the processes"]
    assert images == 297
    assert metrics.pop("test/loss") == pytest.approx(expected.pop("test/loss"), rel=1e-6)
    assert metrics == expected
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler  # torch's launcher had taken it
    assert os.environ["OMP_NUM_THREADS"] == "5"  # the threads of these processes are not those of what follows


def test_of_a_run_whose_config_dir_is_gone_our_own_answers_may_be_evaluated(own_directory: Path) -> None:
    for group, yaml_text in (("optimizer", "defaults: [sgd, _self_]"), ("data", "defaults: [digits, _self_]")):
        (own_directory / "mine" / group).mkdir(parents=True)
        (own_directory / "mine" / group / "own.yaml").write_text(f"# Mine\n{yaml_text}\n")
    words = ["arch=mlp", "optimizer=own", "trainer.accelerator=cpu"]
    runs = {}
    for data in ("digits", "own"):
        runs[data] = RunDirectory(own_directory / data)
        runs[data].make(compose([*words, f"data={data}"], "mine").config, [*words, f"data={data}"])
    shutil.rmtree("mine")
    assert prepare(runs["digits"], ["trainer.limit_test_batches=1"]).config["trainer"]["limit_test_batches"] == 1
    assert prepare(runs["own"], ["data=digits"]).config["data"] == runs["own"].config()["data"]
    gone = f"^{own_directory}/mine, the --config-dir of the run, is gone; data=own: unknown. One of: cifar10,"
    with pytest.raises(ConfigError, match=gone):
        prepare(runs["own"], ["trainer.limit_test_batches=1"])


# What may be changed


def test_a_larger_share_may_be_validated_on(digits_run: RunDirectory) -> None:
    evaluation = prepare(digits_run, ["data.val_fraction=0.5", "data.eval_batch_size=7"], split="val")
    data = evaluation.config["data"]
    assert (data["val_fraction"], data["eval_batch_size"]) == (0.5, 7)
    assert digits_run.config()["data"] | {"val_fraction": 0.5, "eval_batch_size": 7} == data


def test_what_follows_from_a_changed_key_changes_with_it(digits_run: RunDirectory) -> None:
    config = prepare(digits_run, ["precision=bf16", "threads=1", "trainer.limit_test_batches=2"]).config
    assert config["precision"]["mode"] == "bf16-mixed"
    assert config["trainer"]["limit_test_batches"] == 2


def test_a_batch_that_would_not_divide_in_training_is_no_matter(digits_run: RunDirectory) -> None:
    assert prepare(digits_run, ["trainer.accelerator=cpu", "trainer.devices=3"]).placement == Placement("cpu", 3, 1)


def test_other_data_are_shown_as_the_network_is_used_to_see_them(digits_run: RunDirectory) -> None:
    evaluation = prepare(digits_run, ["data=synthetic", "data.channels=1", "data.test_size=11"])
    own, given = digits_run.config()["data"], evaluation.config["data"]
    assert given["_target_"].endswith("SyntheticImages")
    assert given["test_size"] == 11
    assert [given[key] for key in ("mean", "std", "image_size")] == [own[key] for key in ("mean", "std", "image_size")]
    assert {"test/loss", "test/acc1", "test/acc5"} < evaluate(evaluation).keys()
    asked = prepare(digits_run, ["data=synthetic", "data.channels=1", "data.mean=[0.5]"]).config["data"]
    assert (asked["mean"], asked["std"]) == ([0.5], own["std"])


def test_images_that_have_moved_are_named_anew(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for shade, name in ((20, "dark"), (220, "light")):
            (tmp_path / "here" / split / name).mkdir(parents=True)
            for number in range(6):
                Image.new("RGB", (32, 32), (shade, shade + number, shade)).save(
                    tmp_path / "here" / split / name / f"{number}.png"
                )
    data = ("data=folder", "data.root=here", "data.val_fraction=0.2", "batch_size=4")
    run = trained(tmp_path / "run", "arch=mlp", "trainer.max_epochs=1", *data)
    measured = evaluate(prepare(run))
    Path("here").rename("there")
    with pytest.raises(ConfigError, match="here: no such folder"):
        evaluate(prepare(run))
    assert evaluate(prepare(run, ["data.root=there"])) == measured == logged(run, "test")


# Other images


@pytest.fixture
def photographs() -> Callable[..., str]:
    """Write pictures of random pixels into class folders; the folder's name."""

    def write(root: str, **images: int) -> str:
        for place, count in images.items():
            folder = Path(root, *place.split("__"))
            folder.mkdir(parents=True)
            for number in range(count):
                shade = (37 * number + 11 * ord(folder.name[0])) % 256
                Image.new("RGB", (8, 8), (shade, 255 - shade, number)).save(folder / f"{number}.png")
        return root

    return write


@pytest.fixture
def three_classes(tmp_path: Path, photographs: Callable[..., str]) -> RunDirectory:
    """A run that has not learned anything of three classes of pictures."""
    root = photographs("own", train__cat=8, train__dog=8, train__emu=8)
    data = ("arch=mlp", "arch.hidden=[4]", "data=folder", f"data.root={root}", "batch_size=4")
    return untrained(tmp_path / "run", *data, "metrics=[accuracy,macro_f1]")


def test_a_folder_of_classes_is_measured_as_a_whole(three_classes: RunDirectory, photographs: Callable) -> None:
    photographs("new", cat=3, dog=5, emu=4)
    assert measure(prepare(three_classes, ["data.root=new"])).images == 12
    assert measure(prepare(three_classes, ["data.root=new", "data.val_fraction=0.25"], split="val")).images == 3
    rows = [f"{path},{path.parent.name}" for path in sorted(Path("new").rglob("*.png"))]
    Path("table.csv").write_text("\n".join(rows))
    by_table = measure(prepare(three_classes, ["data.root=table.csv"]))
    assert by_table == measure(prepare(three_classes, ["data.root=new"]))


def test_the_run_s_own_folder_of_classes_is_measured_as_in_training(tmp_path: Path, photographs: Callable) -> None:
    photographs("own", cat=10, dog=10)
    data = ("arch=mlp", "arch.hidden=[4]", "data=folder", "data.root=own", "batch_size=4")
    assert measure(prepare(untrained(tmp_path / "run", *data))).images == 2


def test_a_folder_with_nothing_but_a_test_split_is_measured(three_classes: RunDirectory, photographs: Callable) -> None:
    photographs("new", Test__cat=3, Test__dog=5, Test__emu=4)
    assert measure(prepare(three_classes, ["data.root=new"])).images == 12
    with pytest.raises(ConfigError, match=r"new: has Test but no folder train$"):
        measure(prepare(three_classes, ["data.root=new"], split="val"))


def test_some_of_the_run_s_classes_are_measured_by_their_names(
    three_classes: RunDirectory, photographs: Callable
) -> None:
    photographs("all", cat=3, dog=5, emu=4)
    photographs("two", dog=5, emu=4)
    photographs("one", test__cat=3)
    whole, two, one = (measure(prepare(three_classes, [f"data.root={root}"])) for root in ("all", "two", "one"))
    assert (two.images, one.images) == (9, 3)
    for name in ("test/loss", "test/acc1"):
        parts = 9 * two.metrics[name] + 3 * one.metrics[name]
        assert parts / 12 == pytest.approx(whole.metrics[name], rel=1e-5)


def test_a_class_that_the_run_does_not_know_is_refused_by_name(
    three_classes: RunDirectory, photographs: Callable
) -> None:
    photographs("new", cat=3, ibis=5)
    says = r"^data\.root=.*new: class ibis: unknown to this run, which has cat, dog, emu$"
    with pytest.raises(ConfigError, match=says):
        prepare(three_classes, ["data.root=new"])


@pytest.mark.parametrize("in_memory", ["true", "false"])
def test_a_bad_file_is_named_and_not_counted_and_leaves_no_list(
    in_memory: str, three_classes: RunDirectory, photographs: Callable, convarium: Callable
) -> None:
    photographs("new", cat=3, dog=5, emu=4)
    Path("new/dog/0.png").write_text("no picture")
    os.mkfifo("new/dog/pipe.png")
    before = sorted(Path().rglob("*"))
    words = ["data.root=new", f"data.in_memory={in_memory}"]
    measured = measure(prepare(three_classes, [*words, "data.on_bad_file=skip"]))
    assert measured.images == 11
    assert sorted(measured.left_out) == [f"{Path().absolute()}/new/dog/{name}" for name in ("0.png", "pipe.png")]
    told = convarium("evaluate", three_classes.path, *words, "data.on_bad_file=skip")
    assert (told.code, told.err.count("left out: ")) == (0, 2)
    for bad in ("pipe", "0"):  # the one is known when the folder is listed
        with pytest.raises(ConfigError, match=rf"new/dog/{bad}\.png: unreadable image .*; data\.on_bad_file=skip"):
            measure(prepare(three_classes, words))
        Path(f"new/dog/{bad}.png").unlink()
        before.remove(Path(f"new/dog/{bad}.png"))
    assert sorted(Path().rglob("*")) == before


def test_the_number_of_images_is_told(digits_run: RunDirectory, convarium: Callable) -> None:
    assert convarium("evaluate", digits_run.path).out.splitlines()[-1].split() == ["images", "297"]
    told = json.loads(convarium("evaluate", digits_run.path, "trainer.limit_test_batches=2", "format=json").out)
    assert told["images"] == 64


def test_a_limit_that_leaves_less_than_a_batch_is_refused(digits_run: RunDirectory) -> None:
    with pytest.raises(
        ConfigError, match=r"^trainer\.limit_test_batches=0\.05: less than one of the 10 batches of test"
    ):
        measure(prepare(digits_run, ["trainer.limit_test_batches=0.05"]))


def test_a_run_on_devices_that_are_not_here_is_measured_on_one_of_these(
    digits_run: RunDirectory, tmp_path: Path
) -> None:
    run = RunDirectory.open(shutil.copytree(digits_run.path, tmp_path / "run"))
    config = run.config()
    config["trainer"] |= {"accelerator": "gpu", "devices": 64, "num_nodes": 4}
    run.config_file.write_text(yaml.safe_dump(config))
    assert prepare(run).placement == Placement("cuda" if GPUS else "cpu", 1, 1)
    with pytest.raises(ConfigError, match=r"trainer.devices=65: this machine has"):
        prepare(run, ["trainer.devices=65", "trainer.accelerator=auto"])


# What may not


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("arch=vgg16", "arch: has no part in an evaluation. Accepted: weights, split, format, threads, test.views, "),
        ("arch.parts.dropout=0.5", "arch.parts.dropout: has no part in an evaluation"),
        ("optimizer.lr=1", "optimizer.lr: has no part"),
        ("wieghts=best", "wieghts: has no part in an evaluation; did you mean 'weights'?"),
        ("batch_size=3", "batch_size: has no part"),
        ("data.batch_size=3", "data.batch_size: has no part"),
        ("augment=crop_flip", "augment: has no part"),
        ("trainer.max_epochs=3", "trainer.max_epochs: has no part"),
        ("data.imagesize=48", "data.imagesize: no such key in data=digits; did you mean 'image_size'?"),
        ("data=digit", "data=digit: unknown; did you mean 'digits'?"),
        ("data.val_fraction=2", "data.val_fraction=2.0: out of range"),
        ("data.val_fraction=x", "data.val_fraction=x: expected float"),
        ("trainer.devices=0", "trainer.devices=0: out of range"),
        ("data.num_classes=3", "data.num_classes=3: the network of this run has 10"),
        ("data=cifar10", "data.channels=3: the network of this run has 1"),
        ("data=fashion_mnist", "data.classes=.T-shirt/top,.*: the network of this run has .0,1,"),
        ("trainer=multinode", "trainer.num_nodes=2: an evaluation runs on one machine"),
        ("precision=fp16 trainer=cpu", "precision=fp16: not on cpu"),
        ("trainer", "trainer: not of the form key=value"),
    ],
)
def test_an_override_that_makes_no_sense_is_refused(digits_run: RunDirectory, words: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        prepare(digits_run, words.split())
    assert "\n" not in str(refused.value)


def test_a_size_that_the_network_does_not_take_is_refused(digits_run: RunDirectory) -> None:
    with pytest.raises(ConfigError, match=r"data.image_size=48: the network of this run does not take it"):
        evaluate(prepare(digits_run, ["data.image_size=48"]))


@pytest.mark.parametrize(
    ("words", "split", "says"),
    [
        (["data.val_fraction=0"], "val", "split=val: there are no such images; accepted: split=test"),
        (["trainer.limit_test_batches=0"], "test", "trainer.limit_test_batches=0: leaves nothing to measure"),
        (["data=mnist", "data.root=nowhere"], "test", "convarium data fetch mnist"),
    ],
)
def test_a_split_without_images_is_refused(digits_run: RunDirectory, words: list[str], split: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        evaluate(prepare(digits_run, words, split=split))


def test_weights_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"best.ckpt: not there, the run is not started"):
        evaluate(prepare(untrained(tmp_path / "run"), weights="best"))
