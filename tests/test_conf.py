"""Nothing in conf/ is inert: every yaml says what it is, composes, and is built. Nothing is downloaded."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.types import RunMode
from PIL import Image
from torch import nn

from archs.catalog import EACH_WITHOUT_VALUES
from convarium.config.catalog import conf_dir, groups, members, opening_comments
from convarium.config.compose import Conf
from convarium.config.instantiate import build
from convarium.config.rules import directed
from convarium.config.targets import RULES
from data.packed.packs import packing_of

FILES = sorted(path.relative_to(conf_dir()).as_posix() for path in conf_dir().rglob("*.yaml"))
MEMBERS = [(group, member) for group in RULES if group not in ("parts", "arch") for member in members(group)]
RECIPES = [name for name in members("recipe") if name != "none"]


@pytest.fixture(scope="module")
def conf() -> Conf:
    return Conf()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two classes, each of one image; and the same packed."""
    root = tmp_path_factory.mktemp("images")
    for name in ("cats", "dogs"):
        (root / "train" / name).mkdir(parents=True)
        Image.new("RGB", (40, 40)).save(root / "train" / name / "1.png")
    packing_of(root, root / "packed", classes=["cats", "dogs"])
    return root


@pytest.fixture(scope="module")
def composed(conf: Conf, folder: Path) -> Callable[[str, str], dict[str, Any]]:
    """A config with one answer of one group; the others take their answer of the same number, composed once for all."""

    few = ["batch_size=1", "trainer.devices=1", "trainer.num_nodes=1"]
    small = {"data=folder": [f"data.root={folder}", *few], "data=packed": [f"data.root={folder}/packed", *few]}

    @cache
    def numbered(number: int) -> dict[str, Any]:
        chosen = {group: list(members(group)) for group in RULES if group not in ("parts", "arch")}
        words = []
        for group, names in chosen.items():
            member = names[number % len(names)]
            member = f"accuracy,{member}" if group == "metrics" and member != "accuracy" else member  # it is monitored
            words.append(f"{group}={f'[{member}]' if RULES[group].entries and member != 'none' else member}")
        return conf.compose([*words, *(extra for word in words for extra in small.get(word, []))]).config

    return lambda group, member: numbered(list(members(group)).index(member))


@pytest.mark.parametrize("file", FILES)
def test_a_yaml_opens_with_one_line_that_says_what_it_is(file: str) -> None:
    first, second = (conf_dir() / file).read_text(encoding="utf-8").splitlines()[:2]
    line = second if first == "# @package _global_" else first
    assert line.startswith("# ")
    assert opening_comments(conf_dir() / file)[0] == line.removeprefix("# ").rstrip()


@pytest.mark.parametrize(("group", "member"), MEMBERS)
def test_every_answer_of_every_group_is_built(
    composed: Callable[[str, str], dict[str, Any]], group: str, member: str
) -> None:
    config = composed(group, member)
    node = directed(config[group], config, group)
    with torch.device("meta"):
        built = build(node, group)
    if RULES[group].entries:
        assert set(built) == set(node)
        built = next(iter(built.values()), None)
    if member in ("none", "paper") and node in (None, {}):
        assert built in (None, {})
    elif group in ("norm", "pool"):
        assert isinstance(built(8) if group == "norm" else built(2, 2, channels=8), nn.Module)
    elif group == "activation":
        assert isinstance(built(), nn.Module)
    elif group == "optimizer":
        assert isinstance(built([nn.Parameter(torch.zeros(2, 2))]), torch.optim.Optimizer)
    else:
        assert built is not None


@pytest.mark.parametrize("name", EACH_WITHOUT_VALUES)  # with the papers' parts: not all others are for every network
def test_every_architecture_is_built(conf: Conf, name: str) -> None:
    with torch.device("meta"):
        assert isinstance(build(conf.compose([f"arch={name}"]).config["arch"], "arch"), nn.Module)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_is_built_and_only_selects(conf: Conf, recipe: str) -> None:
    config = conf.compose([f"recipe={recipe}"]).config
    with torch.device("meta"):
        for group in RULES:
            build(config[group], group)
    text = (conf_dir() / "recipe" / f"{recipe}.yaml").read_text(encoding="utf-8")
    assert f"python train.py recipe={recipe}" in text
    assert re.search(r"^(optimizer|schedule|clip|loss|arch|augment):", text, re.MULTILINE) is None


@pytest.mark.parametrize("study", [name for name in members("study") if name != "none"])
def test_a_study_is_a_sweep_and_says_its_command(conf: Conf, study: str) -> None:  # more of it: results/test_study.py
    hydra = conf.merge([f"study={study}"]).hydra
    assert hydra.mode == RunMode.MULTIRUN
    assert "seed" in hydra.sweeper.params
    text = (conf_dir() / "study" / f"{study}.yaml").read_text(encoding="utf-8")
    assert f"python train.py study={study}\n" in text


def test_the_table_of_contents_lists_every_group(conf: Conf) -> None:
    listed = set(conf.compose([]).choices)
    assert listed == {group for group in groups() if "/" not in group and group != "hydra"}


def test_milestones_lie_inside_the_run(conf: Conf) -> None:
    from convarium.learn.lengths import TrainingLength, parse_length

    config = conf.compose(["schedule=multistep"]).config
    length = TrainingLength(total_steps=21 * config["trainer"]["max_epochs"], steps_per_epoch=21)
    steps = [parse_length(milestone).steps(length) for milestone in config["schedule"]["milestones"]]
    assert all(0 < step < length.total_steps for step in steps)


def test_every_trainer_has_the_keys_of_every_other(conf: Conf) -> None:
    keys = [set(conf.compose([f"trainer={member}"]).config["trainer"]) for member in members("trainer")]
    assert all(found == keys[0] for found in keys)
