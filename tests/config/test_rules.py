"""Ranges by key name, and the conditions between keys."""

import pytest
import yaml

from convarium.config.catalog import conf_dir
from convarium.config.compose import Conf
from convarium.config.identity import leaves
from convarium.config.instantiate import RULES
from convarium.config.keys import RANGES, accepted, has_type
from convarium.config.rules import check_batch_divides
from convarium.errors import ConfigError


@pytest.fixture(scope="module")
def conf() -> Conf:
    return Conf()


@pytest.mark.parametrize(
    "word",
    [
        "optimizer.lr=-0.1",
        "optimizer.lr=nan",
        "optimizer.lr=inf",
        "optimizer.weight_decay=-1",
        "optimizer.betas=[0.9,1.0]",
        "optimizer.eps=0",
        "clip.max_norm=0",
        "clip.max_norm=-inf",
        "loss.label_smoothing=1.0",
        "schedule.warmup=-1",
        "schedule.warmup=5 parsecs",
        "trainer.devices=0",
        "trainer.devices=some",
        "trainer.num_nodes=0",
        "trainer.max_epochs=-3",
        "trainer.max_epochs=0",
        "trainer.max_steps=0",
        "trainer.max_time=tomorrow",
        "trainer.accelerator=tpu",
        "trainer.strategy=deepspeed",
        "trainer.accumulate_grad_batches=0",
        "trainer.limit_train_batches=1.5",
        "trainer.limit_train_batches=0",
        "trainer.limit_val_batches=-1",
        "trainer.log_every_n_steps=0",
        "data.val_fraction=1",
        "data.val_fraction=-0.1",
        "data.image_size=0",
        "data.std=[0.0]",
        "batch_size=0",
        "seed=-1",
        "dropout=1.0",
        "threads=0",
        "decay=everything",
        "test.weights=first",
        "name=''",
        "callbacks.checkpoint.every_n_steps=0",
        "callbacks.progress.seconds=0",
        "precision.float32_matmul=low",
    ],
)
def test_a_value_out_of_range_is_refused_with_what_is_accepted(conf: Conf, word: str) -> None:
    with pytest.raises(ConfigError, match=r"accepted: |expected ") as caught:
        conf.compose([word])
    assert str(caught.value).startswith(f"{word.partition('=')[0]}=")


@pytest.mark.parametrize(
    "word",
    [
        "optimizer.lr=0",
        "schedule.warmup=500 steps",
        "schedule.warmup=5%",
        "schedule.warmup=2.5",
        "trainer.devices=auto",
        "trainer.max_steps=-1",
        "trainer.max_time=00:12:00:00",
        "trainer.limit_train_batches=10",
        "trainer.limit_val_batches=0",
        "trainer.deterministic=warn",
        "trainer.fast_dev_run=3",
        "dropout=0",
        "threads=2",
        "callbacks.checkpoint.every_n_steps=100",
        "callbacks.checkpoint.every_n_minutes=null",
        "data.val_fraction=0",
    ],
)
def test_a_value_in_range_is_accepted(conf: Conf, word: str) -> None:
    key = word.partition("=")[0]
    assert key in leaves(conf.compose([word]).config)


def test_every_row_of_the_table_is_the_key_of_some_yaml() -> None:
    keys = set(leaves(yaml.safe_load((conf_dir() / "train.yaml").read_text())))
    for group in RULES:
        for path in (conf_dir() / group).glob("*.yaml"):
            keys |= leaves(yaml.safe_load(path.read_text()) or {}, group).keys()
    for row in RANGES:
        group, _, name = row.partition(".")
        assert row in keys or (group == "*" and any(key.endswith(f".{name}") for key in keys)), row


@pytest.mark.parametrize(("value", "types", "good"), [(True, (int,), False), (1, (float,), True), (1.0, (int,), False)])
def test_an_int_may_stand_for_a_float_and_a_bool_for_no_number(value: object, types: tuple[type], good: bool) -> None:
    assert has_type(value, types) is good


def test_a_row_is_found_by_its_dotted_key_before_its_name() -> None:
    assert accepted("optimizer.momentum") is RANGES["*.momentum"]
    assert accepted("average.decay") is RANGES["average.decay"]
    assert accepted("arch.stem") is None


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


def test_what_is_watched_must_be_measured(conf: Conf) -> None:
    with pytest.raises(ConfigError, match=r"stop\.monitor=val/acc1: is not measured"):
        conf.compose(["stop=early", "trainer.limit_val_batches=0"])


def test_only_some_groups_have_several_answers(conf: Conf) -> None:
    assert list(conf.compose(["logger=[wandb,tensorboard]"]).config["logger"]) == ["wandb", "tensorboard"]
    with pytest.raises(ConfigError, match="-m optimizer=sgd,adam"):
        conf.compose(["optimizer=[sgd,adam]"])
    with pytest.raises(ConfigError, match="'none' cannot stand beside others"):
        conf.compose(["logger=[wandb,none]"])


@pytest.mark.parametrize("view", ["test.views=144", "test.dense=true", "test.flip=true"])
def test_a_loss_that_is_no_function_of_probabilities_has_one_view(conf: Conf, view: str) -> None:
    conf.compose([view, "loss=hinge"])
    with pytest.raises(ConfigError, match=rf"{view}: averages probabilities, of which this loss \(MeanSquaredError\)"):
        conf.compose([view, "loss=mse"])


def test_two_answers_that_bring_the_same_part_are_refused(conf: Conf) -> None:
    assert list(conf.compose(["augment=[crop_flip,mixup]"]).config["augment"]) == ["crop", "mix"]
    for chosen, part in (("mixup,cutmix", "mix"), ("flip,vgg", "flip"), ("crop_flip,alexnet", "crop")):
        with pytest.raises(ConfigError, match=rf"augment=\[{chosen}\]: .* both bring augment\.{part}; choose one"):
            conf.compose([f"augment=[{chosen}]"])
