"""Every yaml of the learn groups names something that can be built, and begins by saying what it is."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from convarium.learn.averaging import Averaging
from convarium.learn.clipping import ClipStats
from convarium.learn.losses import ClassificationLoss
from convarium.learn.optimizers import build_optimizer
from convarium.learn.schedules import Schedule, TrainingLength

CONF = Path(__file__).parents[2] / "conf"
Build = Callable[..., Any]
GROUPS = ("loss", "optimizer", "schedule", "clip", "average")
FILES = [path for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]


def run_of(steps: int) -> TrainingLength:
    return TrainingLength(total_steps=steps, steps_per_epoch=10)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}={path.stem}")
def test_a_yaml_begins_with_one_line_that_says_what_it_is(path: Path) -> None:
    lines = path.read_text().splitlines()
    if lines[0] == "# @package _global_":
        assert OmegaConf.to_container(OmegaConf.load(path)) == {path.parent.name: None}
        lines = lines[1:]
    assert re.match(r"# [A-Z].{8,}", lines[0])
    assert not lines[1].startswith("#")


def test_a_loss_is_built_and_scores_a_batch(
    loss_member: str, build: Build, net: nn.Sequential, problem: tuple[Tensor, Tensor]
) -> None:
    loss = build("loss", loss_member)
    assert isinstance(loss, ClassificationLoss)
    images, targets = problem
    assert loss(net(images), targets).shape == (32,)


def test_an_optimizer_is_built_and_shows_its_rate_and_decay(
    optimizer_member: str, build: Build, net: nn.Sequential
) -> None:
    factory = build("optimizer", optimizer_member)
    assert {"lr", "weight_decay"} <= factory.keywords.keys()
    assert isinstance(build_optimizer(factory, net), torch.optim.Optimizer)


def test_a_schedule_is_built_and_fits_short_and_long_runs(schedule_member: str, build: Build) -> None:
    schedule = build("schedule", schedule_member)
    assert isinstance(schedule, Schedule)
    for length in (run_of(1), run_of(10), run_of(64_000)):
        schedule.check(length)
        assert 0 < schedule.factor(0, length) <= 1


def test_a_clip_is_built_and_clips(
    clip_member: str, build: Build, net: nn.Sequential, problem: tuple[Tensor, Tensor]
) -> None:
    net = net
    images, targets = problem
    (100 * nn.functional.cross_entropy(net(images), targets)).backward()
    stats: Any = build("clip", clip_member)(list(net.named_parameters()))
    assert isinstance(stats, ClipStats)
    assert stats.clipped > 0


def test_an_average_is_built_and_ends_with_an_average(average_member: str, build: Build) -> None:
    rule = build("average", average_member)
    for length in (run_of(1), run_of(640)):
        rule.check(length)
        assert 0 < rule.weight(length.total_steps, length) <= 1
    assert Averaging(rule).averaged_state() is None
