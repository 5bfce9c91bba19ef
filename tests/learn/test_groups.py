"""What every yaml of the learn groups names does its work."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from convarium.learn.averaging import Averaging
from convarium.learn.clipping import ClipStats
from convarium.learn.losses import ClassificationLoss
from convarium.learn.optimizers import build_optimizer
from convarium.learn.schedules import Schedule, TrainingLength

Build = Callable[..., Any]


def run_of(steps: int) -> TrainingLength:
    return TrainingLength(total_steps=steps, steps_per_epoch=10)


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
