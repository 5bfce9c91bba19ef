"""Lengths of training, read and turned into steps."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convarium.learn.lengths import Length, TrainingLength, parse_length


@pytest.mark.parametrize(
    ("written", "steps"),
    [
        (0, 0),
        (3, 60),
        (2.5, 50),
        ("3", 60),
        ("1.5 epochs", 30),
        ("1 epoch", 20),
        ("500 steps", 500),
        ("1 step", 1),
        ("5%", 10),
        ("12.5 %", 25),
        ("0%", 0),
        (0.01, 0),
    ],
)
def test_a_length_is_the_whole_steps_in_it(written: int | float | str, steps: int) -> None:
    assert parse_length(written).steps(TrainingLength(total_steps=200, steps_per_epoch=20)) == steps


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("soon", "'soon' is not a number of epochs"),
        ("5 %%", "is not a number of epochs"),
        ("5 minutes", "is not a number of epochs"),
        ("", "is not a number of epochs"),
        (None, "None is not a number of epochs"),
        (True, "True is not a number of epochs"),
        ([5], "is not a number of epochs"),
        (-1, "-1 must not be negative"),
        ("-5%", "'-5%' must not be negative"),
        (float("nan"), "is not a number of epochs"),
        (float("inf"), "is not a number of epochs"),
        ("1e999", "must not be negative|is not"),
        ("2.5 steps", "must be a whole number of steps"),
        ("100%", "must be less than 100% of the run"),
    ],
)
def test_what_is_no_length_is_refused_with_the_value(written: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_length(written)  # type: ignore[arg-type]


@given(percent=st.integers(0, 99), total=st.integers(1, 10_000))
def test_a_share_of_the_run_is_exact_and_shorter_than_the_run(percent: int, total: int) -> None:
    steps = parse_length(f"{percent}%").steps(TrainingLength(total, 1))
    assert steps == percent * total // 100 < total


@given(amount=st.floats(0, 1e6), unit=st.sampled_from(["epochs", "steps", "%"]))
def test_a_length_prints_as_it_can_be_read(amount: float, unit: str) -> None:
    amount = float(int(amount)) if unit == "steps" else min(amount, 99.0) if unit == "%" else amount
    length = Length(float(f"{amount:g}"), unit)  # type: ignore[arg-type]
    assert parse_length(str(length)) == length


def test_lengths_and_schedules_are_read_without_torch() -> None:
    code = "import sys, convarium.learn.schedules; print('torch' in sys.modules, 'lightning' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed == "False False\n"
