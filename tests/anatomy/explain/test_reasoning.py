"""A formula is printed as it is computed: written by hand, then with its numbers, then its value."""

import math

import pytest

from convarium.anatomy.explain.reasoning import Reasoning, Step, shown, written


def test_a_step_has_its_formula_its_numbers_and_its_value() -> None:
    why = Reasoning({"size": 28, "kernel_size": 5})
    assert why.step("places", "(size - kernel_size) / 2 + 1", "places") == 12.5
    why.step("in all", "places**2", "all", "pixels")
    assert why.results == {"places": 12.5, "all": 156.25}
    assert why.parts == [
        Step("places", "(size - kernel_size) / 2 + 1", "(28 - 5) / 2 + 1", "12.5"),
        Step("in all", "places²", "12.5²", "156.25 pixels"),
    ]


def test_numbers_that_say_nothing_new_are_left_out() -> None:
    why = Reasoning({"p": 0.5})
    why.step("of numbers alone", "2 * 3")
    why.step("a name alone", "p")
    assert [(part.formula, part.numbers, part.result) for part in why.parts if isinstance(part, Step)] == [
        ("2 × 3", "", "6"),
        ("p", "", "0.5"),
    ]
    assert why.results == {}


@pytest.mark.parametrize(
    ("formula", "by_hand", "with_numbers"),
    [
        ("a**2 * b**3", "a² × b³", "(-2)² × 1,500³"),
        ("b**2.5 + b**20", "b^2.5 + b^20", "1,500^2.5 + 1,500^20"),
        ("b // 5", "b / 5", "1,500 / 5"),
        ("sum((x - a)**2 for x in c) / b", "sum((x - a)² for x in c) / b", "sum((x - -2)² for x in [1, 0.25]) / 1,500"),
        ("12345 * floor(b)", "12,345 × floor(b)", "12,345 × floor(1,500)"),
    ],
)
def test_a_formula_is_written_as_by_hand(formula: str, by_hand: str, with_numbers: str) -> None:
    assert written(formula) == by_hand
    assert written(formula, {"a": -2, "b": 1500, "c": [1, 0.25]}) == with_numbers


def test_what_has_no_value_is_said_and_has_no_unit() -> None:
    why = Reasoning({"zero": 0, "two": 2.0})
    assert math.isnan(why.step("a", "1 / zero", "a", "%"))
    assert math.isinf(why.step("b", "two ** 10000", "b", "MB"))
    assert [part.result for part in why.parts if isinstance(part, Step)] == ["undefined", "larger than any float"]


def test_a_formula_knows_its_numbers_and_a_few_functions_alone() -> None:
    why = Reasoning({"b": 2})
    assert why.step("", "ln(exp(sqrt(b * 2))) + sigmoid(0) + max(b, ceil(2.1))") == pytest.approx(2 + 0.5 + 3)
    with pytest.raises(NameError):
        why.step("", "open('file')")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((112896000, "112,896,000"), (1 / 7, "0.142857"), (1e-6, "1e-06"), (54.0, "54"), (-0.0, "0")),
        *((500001.5, "500,002"), ([1, [2.5]], "[1, [2.5]]"), (True, "True"), ("conv", "conv")),
    ],
)
def test_values_are_shown_for_people(value: object, text: str) -> None:
    assert shown(value) == text
