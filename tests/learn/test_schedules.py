"""Learning rate schedules: a table of values, and the laws all of them obey."""

import math
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from convarium.learn.schedules import (
    Constant,
    Cosine,
    Exponential,
    MultiStep,
    OneCycle,
    Plateau,
    Polynomial,
    Schedule,
    Step,
    TrainingLength,
)

RUN = TrainingLength(total_steps=100, steps_per_epoch=10)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Constant(), {0: 1, 50: 1, 99: 1}),
        (Constant(warmup="4 steps"), {0: 0.2, 1: 0.4, 3: 0.8, 4: 1, 99: 1}),
        (Step(every=3, gamma=0.5), {0: 1, 29: 1, 30: 0.5, 60: 0.25, 99: 0.125}),
        (Step(every="30%", gamma=0.1), {29: 1, 30: 0.1, 99: 0.001}),
        (MultiStep(milestones=["50%", 7.5], gamma=0.1), {49: 1, 50: 0.1, 74: 0.1, 75: 0.01, 99: 0.01}),
        (MultiStep(milestones=[2, 5], gamma=[0.4, 0.5]), {19: 1, 20: 0.4, 49: 0.4, 50: 0.2, 99: 0.2}),
        (MultiStep(milestones=["32 steps"], gamma=0.2, warmup=1), {0: 1 / 11, 10: 1, 31: 1, 32: 0.2}),
        (MultiStep(milestones=[5], warmup=2, warmup_factor=0.1), {0: 0.1, 19: 0.1, 20: 1, 49: 1, 50: 0.1}),
        (Exponential(gamma=0.81), {0: 1, 5: 0.9, 10: 0.81, 20: 0.6561}),
        (Exponential(gamma=0.81, warmup=1), {10: 1, 15: 0.9, 20: 0.81}),
        (Polynomial(), {0: 1, 25: 0.75, 99: 0.01, 100: 0}),
        (Polynomial(power=2, final=0.2, warmup="20%"), {20: 1, 60: 0.4, 100: 0.2}),
        (Cosine(warmup=0), {0: 1, 25: (1 + math.sqrt(0.5)) / 2, 50: 0.5, 100: 0}),
        (Cosine(warmup="20%", final=0.1), {9: 10 / 21, 20: 1, 60: 0.55, 100: 0.1}),
        (OneCycle(warmup="20%", start=0.04), {0: 0.04, 10: 0.52, 20: 1, 60: 0.5, 100: 0}),
        (Plateau(warmup="4 steps"), {0: 0.2, 4: 1, 99: 1}),
    ],
    ids=repr,
)
def test_a_schedule_has_the_values_of_its_formula(schedule: Schedule, expected: dict[int, float]) -> None:
    schedule.check(RUN)
    assert {step: schedule.factor(step, RUN) for step in expected} == pytest.approx(expected, abs=1e-12)


runs = st.builds(TrainingLength, total_steps=st.integers(1, 3000), steps_per_epoch=st.integers(1, 200))
lengths = st.one_of(
    st.integers(0, 20),
    st.floats(0, 20),
    st.integers(0, 500).map("{} steps".format),
    st.floats(0, 99).map("{:.3f}%".format),
)
shares = st.floats(0.01, 1)
FULL = {
    Constant: st.builds(Constant, warmup=lengths),
    Step: st.builds(
        Step, warmup=lengths, every=lengths.filter(lambda length: str(length)[0] in "123456789"), gamma=shares
    ),
    Exponential: st.builds(Exponential, warmup=lengths, gamma=shares),
    Polynomial: st.builds(Polynomial, warmup=lengths, power=st.floats(0.1, 4), final=shares),
    Cosine: st.builds(Cosine, warmup=lengths, final=shares),
    OneCycle: st.builds(OneCycle, warmup=lengths, start=shares, final=shares),
    Plateau: st.builds(Plateau, warmup=lengths),
}
schedules: st.SearchStrategy[Any] = st.one_of(*FULL.values())


def fits(schedule: Schedule, length: TrainingLength) -> bool:
    try:
        schedule.check(length)
    except ValueError:
        return False
    return True


@settings(max_examples=150, deadline=None)
@given(schedule=schedules, length=runs)
def test_a_factor_lies_between_zero_and_one_at_every_step(schedule: Schedule, length: TrainingLength) -> None:
    assume(fits(schedule, length))
    factors = [
        schedule.factor(step, length) for step in range(0, length.total_steps + 1, max(1, length.total_steps // 97))
    ]
    assert all(0 <= factor <= 1 for factor in factors)


@settings(max_examples=150, deadline=None)
@given(schedule=schedules, length=runs)
def test_a_warm_up_rises_from_above_zero_to_one_and_nothing_rises_after_it(
    schedule: Schedule, length: TrainingLength
) -> None:
    assume(fits(schedule, length))
    factors = [schedule.factor(step, length) for step in range(length.total_steps + 1)]
    peak = factors.index(1.0) if 1.0 in factors else None
    assert peak is not None
    assert factors[0] > 0
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


@settings(max_examples=100, deadline=None)
@given(schedule=st.one_of(FULL[Polynomial], FULL[Cosine], FULL[OneCycle]), length=runs)
def test_a_schedule_with_an_end_reaches_it_where_the_run_ends(schedule: Any, length: TrainingLength) -> None:
    assume(fits(schedule, length))
    assert schedule.factor(length.total_steps, length) == pytest.approx(schedule.final)
    assert schedule.factor(length.total_steps + 7, length) == pytest.approx(schedule.final)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (Cosine(warmup=10), "schedule.warmup=10: 100 steps is not less than the run's 100"),
        (Constant(warmup="2000 steps"), "schedule.warmup=2000 steps: 2000 steps is not less than the run's 100"),
        (MultiStep(milestones=[5, 10]), "schedule.milestones=10: step 100 is not inside the run of 100 steps"),
        (MultiStep(milestones=[5], warmup=6), "schedule.milestones=5: step 50 is not after the warm-up of 60 steps"),
        (MultiStep(milestones=[7, 5]), r"schedule.milestones=\[7, 5\]: must increase"),
        (MultiStep(milestones=[5, 5]), r"schedule.milestones=\[5, 5\]: must increase"),
        (Step(every=30), "schedule.every=30: step 300 is not inside the run of 100 steps"),
        (Step(every=1, warmup=2), "schedule.every=1: step 10 is not after the warm-up of 20 steps"),
    ],
    ids=repr,
)
def test_a_length_that_does_not_fit_the_run_is_refused(schedule: Schedule, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        schedule.check(RUN)


@pytest.mark.parametrize(
    "schedule", [Constant(), Step(), MultiStep(), Exponential(), Polynomial(), Cosine(), OneCycle()]
)
def test_the_defaults_fit_a_run_of_one_step(schedule: Schedule) -> None:
    schedule.check(TrainingLength(total_steps=1, steps_per_epoch=1))
    assert schedule.factor(0, TrainingLength(total_steps=1, steps_per_epoch=1)) == 1


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.one_of(st.floats(0, 10), st.sampled_from([1.0, 2.0, math.nan, math.inf])), max_size=40),
    mode=st.sampled_from(["min", "max"]),
    patience=st.integers(0, 3),
    cooldown=st.integers(0, 3),
)
def test_a_plateau_cuts_when_torchs_does(values: list[float], mode: Any, patience: int, cooldown: int) -> None:
    settings = {"mode": mode, "patience": patience, "cooldown": cooldown, "threshold": 1e-2}
    plateau = Plateau(gamma=0.5, min_factor=1e-3, **settings)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, min_lr=1e-3, eps=0, **settings)
    for value in values:
        plateau.observe(value)
        reference.step(value)
        assert plateau.factor(0, RUN) == pytest.approx(optimizer.param_groups[0]["lr"])


def test_a_plateau_goes_on_from_its_state_as_if_it_had_not_stopped() -> None:
    through, stopped, resumed = (Plateau(patience=1, cooldown=1, gamma=0.5) for _ in range(3))
    values = [3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0]
    for value in values[:5]:
        stopped.observe(value)
    resumed.load_state_dict(stopped.state_dict())
    for value in values[5:]:
        resumed.observe(value)
    for value in values:
        through.observe(value)
    assert resumed.state == through.state
    assert through.factor(0, RUN) == 0.125
    assert all(type(value) in (int, float) for value in through.state_dict().values())
