"""What makes two experiments the same."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from convarium.config.compose import Conf, compose
from convarium.config.identity import config_hash, determines_result, slug, sweep_name
from convarium.config.keys import leaves
from convarium.errors import ConfigError


@pytest.fixture(scope="module")
def conf() -> Conf:
    return Conf()


def hash_of(conf: Conf, *overrides: str) -> str:
    return config_hash(conf.compose(overrides).config)


@pytest.mark.parametrize(
    "word",
    [
        "run_dir=elsewhere",
        "name=other",
        "threads=3",
        "sweep.name=a",
        "logger=wandb",
        "callbacks=[checkpoint]",
        "callbacks.progress.seconds=1",
        "trainer.accelerator=cpu",
        "trainer.devices=2",
        "trainer.num_nodes=2",
        "trainer.strategy=ddp",
        "trainer.log_every_n_steps=7",
        "data.eval_batch_size=7",
    ],
)
def test_paths_loggers_and_device_layout_do_not_change_the_hash(conf: Conf, word: str) -> None:
    assert hash_of(conf, word) == hash_of(conf)


@pytest.mark.parametrize(
    "word",
    ["seed=2", "batch_size=64", "arch=resnet20", "norm=batch", "dropout=0.5", "optimizer.lr=0.1", "decay=all",
     "trainer.max_epochs=3", "precision=bf16", "stop=early", "test.weights=last", "data.val_fraction=0.2",
     "data.fold=0", "data.sampler=balanced", "loss.class_weights=balanced"],
)  # fmt: skip
def test_what_determines_the_result_changes_the_hash(conf: Conf, word: str) -> None:
    assert hash_of(conf, word) != hash_of(conf)


def test_an_int_for_a_float_keeps_the_hash(conf: Conf) -> None:
    assert hash_of(conf, "optimizer.lr=1") == hash_of(conf, "optimizer.lr=1.0")


def test_the_hash_survives_the_yaml_file_and_any_order_of_keys(conf: Conf) -> None:
    config = conf.compose(["optimizer.eps=1e-10", "data=cifar100"]).config
    again = yaml.safe_load(yaml.safe_dump(config, sort_keys=True))
    assert config_hash(again) == config_hash(config)


def test_a_new_option_that_is_off_keeps_the_hash_of_older_runs(conf: Conf) -> None:
    config = conf.compose([]).config
    assert config_hash({**config, "lanes": None}) == config_hash(config)


def test_keys_of_a_cross_validation_say_nothing_without_one(conf: Conf) -> None:
    config = conf.compose([]).config
    older = {name: value for name, value in config["data"].items() if name not in ("fold", "folds", "sampler")}
    assert config_hash({**config, "data": older}) == config_hash(config) == hash_of(conf, "data.folds=7")
    assert hash_of(conf, "data.fold=0", "data.folds=7") != hash_of(conf, "data.fold=0")


def test_a_key_below_a_layout_key_belongs_to_it() -> None:
    assert not determines_result("logger.wandb.project")
    assert not determines_result("trainer.devices")
    assert determines_result("trainer.max_epochs")
    assert determines_result("loggers")


def test_leaves_keeps_lists_and_empty_dicts_whole() -> None:
    assert leaves({"a": {"b": [1, {"c": 2}], "d": {}}, "e": None}) == {"a.b": [1, {"c": 2}], "a.d": {}, "e": None}


@given(st.text())
def test_a_slug_is_a_safe_name_and_stays_as_it_is(text: str) -> None:
    name = slug(text)
    assert name
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-")
    assert not name.startswith((".", "-"))
    assert len(name) <= 48
    assert slug(name) == name


def test_a_sweep_is_found_again_by_its_base_and_axes() -> None:
    fixed = {"data": "cifar10", "optimizer.lr": 0.1, "trainer.devices": 2}
    name = sweep_name(fixed, ["arch", "seed"], "0" * 12)
    assert name.startswith("cifar10-arch-seed-")
    assert sweep_name({**fixed, "trainer.devices": 1}, ["seed", "arch"], "0" * 12) == name
    assert sweep_name({**fixed, "optimizer.lr": 0.2}, ["arch", "seed"], "0" * 12) != name
    assert sweep_name(fixed, ["arch"], "0" * 12) != name
    assert sweep_name(fixed, ["arch", "seed"], "1" * 12) != name


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ([], "lenet5-digits"),
        (["arch=vgg16", "data=cifar10", "norm=batch", "activation=silu"], "vgg16-cifar10-batch-silu"),
        (["arch=mlp", "norm=none", "init=he", "augment=[crop_flip,cutout]"], "mlp-digits-no_norm-he-crop_flip-cutout"),
        (["recipe=resnet_cifar_2015", "data.root=a"], "resnet20-cifar10-crop_flip"),
        (["name=mine"], "mine"),
    ],
)
def test_an_experiment_is_called_after_what_was_chosen(words: list[str], name: str) -> None:
    assert compose(words).config["name"] == name


def test_a_config_holds_the_answer_of_each_group() -> None:
    config = compose(["norm=batch", "augment=[flip,cutout]"]).config
    answers = {name: config["choices"][name] for name in ("arch", "norm", "activation", "augment", "optimizer")}
    assert answers == {
        "arch": "lenet5",
        "norm": "batch",
        "activation": "paper",
        "augment": ["flip", "cutout"],
        "optimizer": "adamw",
    }
    assert not determines_result("choices.norm")
    with pytest.raises(ConfigError, match="choices: no such key"):
        compose(["choices.norm=group"])
