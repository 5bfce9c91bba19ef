"""The conditions between keys."""

from collections.abc import Callable
from pathlib import Path

import pytest

from convarium.config.compose import Conf
from convarium.config.rules import check_batch_divides, directed
from convarium.errors import ConfigError


@pytest.fixture(scope="module")
def conf() -> Conf:
    return Conf()


def test_the_global_batch_must_divide_by_devices_nodes_and_accumulation(conf: Conf) -> None:
    check_batch_divides(64, devices=4, num_nodes=2, accumulate_grad_batches=8)
    with pytest.raises(ConfigError) as caught:
        check_batch_divides(127, devices=2, num_nodes=1, accumulate_grad_batches=1)
    assert str(caught.value) == "batch_size=127: does not divide by trainer.devices=2; nearest that does: 128"
    with pytest.raises(
        ConfigError, match=r"trainer.devices=3 x trainer.accumulate_grad_batches=2; nearest that does: 30"
    ):
        conf.compose(["trainer.devices=3", "trainer.accumulate_grad_batches=2"])
    assert conf.compose(["trainer.devices=3", "batch_size=66"]).config["batch_size"] == 66


def test_a_batch_larger_than_the_training_set_is_refused(conf: Conf) -> None:
    assert conf.compose(["batch_size=1350"]).config["batch_size"] == 1350  # 1,500 less a tenth
    with pytest.raises(ConfigError, match="batch_size=1351: more than the 1350 training images"):
        conf.compose(["batch_size=1351"])


def test_a_limit_in_micro_batches_must_divide_by_accumulation(conf: Conf) -> None:
    with pytest.raises(ConfigError, match=r"trainer.limit_train_batches=3: does not divide .* nearest that does: 4"):
        conf.compose(["trainer.limit_train_batches=3", "trainer.accumulate_grad_batches=2"])


def test_one_limit_must_not_undo_another(conf: Conf) -> None:
    with pytest.raises(ConfigError, match="overfit_batches=1: has no effect"):
        conf.compose(["trainer.overfit_batches=1", "trainer.limit_train_batches=10"])


DIRECTIONS = (
    (["stop=early"], "stop", "max"),
    (["stop=early", "stop.monitor=val/loss"], "stop", "min"),
    (["stop=early", "stop.monitor=train/acc1"], "stop", "max"),
    (["schedule=plateau"], "schedule", "min"),
    (["schedule=plateau", "schedule.monitor=val/macro_f1", "metrics=[macro_f1,accuracy]"], "schedule", "max"),
    (["schedule=recipe/vgg_2014", "schedule.monitor=train/loss"], "schedule", "min"),
    (["callbacks.checkpoint.monitor=val/loss"], "callbacks.checkpoint", "min"),
)


@pytest.mark.parametrize(("words", "key", "mode"), DIRECTIONS)
def test_the_direction_follows_the_metric_and_one_against_it_is_refused(
    conf: Conf, words: list[str], key: str, mode: str
) -> None:
    config = conf.compose(words).config
    node = config["callbacks"]["checkpoint"] if "." in key else config[key]
    assert directed(node, config, key)["mode"] == mode
    conf.compose([*words, f"{key}.mode={mode}"])
    other = "min" if mode == "max" else "max"
    with pytest.raises(ConfigError, match=rf"^{key}\.mode={other}: of .* is better; accepted: auto, {mode}$"):
        conf.compose([*words, f"{key}.mode={other}"])


def test_the_direction_of_a_metric_of_ones_own_is_what_its_class_says(
    tmp_path: Path, trusting: Callable[[str], None]
) -> None:
    lines = ["from convarium.learn.metrics import Accuracy"]
    (tmp_path / "metrics").mkdir()
    for name, higher in (("Error", False), ("Silent", None)):
        lines.append(f"class {name}(Accuracy):\n    higher_is_better = {higher}")
        (tmp_path / f"metrics/{name.lower()}.yaml").write_text(f"own:\n  _target_: measured_here.{name}\n")
    (tmp_path / "measured_here.py").write_text("\n".join(lines))
    trusting(str(tmp_path))
    words = ["stop=early", "stop.monitor=val/own"]
    lower = Conf().compose([*words, "metrics=[accuracy,error]"]).config
    assert directed(lower["stop"], lower, "stop")["mode"] == "min"
    with pytest.raises(ConfigError, match=r"stop\.mode=auto: val/own does not say .* accepted: min, max"):
        Conf().compose([*words, "metrics=[accuracy,silent]"])
    assert Conf().compose([*words, "metrics=[accuracy,silent]", "stop.mode=max"]).config["stop"]["mode"] == "max"


def test_a_validation_that_never_comes_in_time_is_refused(conf: Conf) -> None:
    late = ["trainer.check_val_every_n_epoch=9", "trainer.max_epochs=5"]
    conf.compose(late)  # one validates at the end all the same
    for waits in (["stop=early"], ["schedule=plateau"]):
        with pytest.raises(ConfigError, match=r"^trainer\.check_val_every_n_epoch=9: leaves .* nothing to act on"):
            conf.compose([*late, *waits])
    conf.compose([*late, "stop=early", "stop.monitor=train/loss"])


def test_what_is_watched_must_be_measured(conf: Conf) -> None:
    with pytest.raises(ConfigError, match=r"stop\.monitor=val/acc1: is not measured"):
        conf.compose(["stop=early", "trainer.limit_val_batches=0"])


def test_only_some_groups_have_several_answers(conf: Conf) -> None:
    assert list(conf.compose(["logger=[wandb,tensorboard]"]).config["logger"]) == ["wandb", "tensorboard"]
    with pytest.raises(ConfigError, match="-m optimizer=sgd,adam"):
        conf.compose(["optimizer=[sgd,adam]"])
    with pytest.raises(ConfigError, match="'none' cannot stand beside others"):
        conf.compose(["logger=[wandb,none]"])


def test_two_answers_that_bring_the_same_part_are_refused(conf: Conf) -> None:
    assert list(conf.compose(["augment=[crop_flip,mixup]"]).config["augment"]) == ["crop", "mix"]
    for chosen, part in (("mixup,cutmix", "mix"), ("flip,vgg", "flip"), ("crop_flip,alexnet", "crop")):
        with pytest.raises(ConfigError, match=rf"augment=\[{chosen}\]: .* both bring augment\.{part}; choose one"):
            conf.compose([f"augment=[{chosen}]"])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["stop=early", "stop.monitor=val_loss"], "stop.monitor=val_loss: is not measured; did you mean 'val/loss'?"),
        (["schedule=plateau", "schedule.monitor=val/f1"], "schedule.monitor=val/f1: is not measured"),
        (["data=synthetic", "data.num_classes=5", "stop.monitor=val/acc5"], "stop.monitor=val/acc5: is not measured"),
        (["metrics=[top5]"], "stop.monitor=val/acc1: is not measured"),
    ],
)
def test_a_figure_that_nobody_measures_is_refused(conf: Conf, words: list[str], line: str) -> None:
    conf.compose(["stop=early", "stop.monitor=val/macro_f1", "metrics=[accuracy,macro_f1]"])
    with pytest.raises(ConfigError) as caught:
        conf.compose(["stop=early", *words])
    assert str(caught.value).startswith(line)
