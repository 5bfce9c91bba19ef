"""What a search may choose from, in Hydra's own syntax."""

from typing import Any

import pytest

from convarium.config.catalog import members
from convarium.config.compose import Conf
from convarium.config.rules import check_not_searched
from convarium.errors import ConfigError
from convarium.sweep.search.space import every_point, number_of_points, read_space, rounded, words_of

CONF = Conf()


def axis(word: str) -> dict[str, Any]:
    return read_space(CONF, ["arch=mlp", word])[1][word.partition("=")[0]]


@pytest.mark.parametrize(
    ("word", "low", "high", "log", "step", "whole"),
    [
        ("optimizer.lr=interval(1e-4,1)", 1e-4, 1.0, True, None, False),
        ("optimizer.lr=interval(0.1,1)", 0.1, 1.0, False, None, False),
        ("optimizer.lr=tag(log,interval(0.1,1))", 0.1, 1.0, True, None, False),
        ("optimizer.lr=tag(linear,interval(1e-4,1))", 1e-4, 1.0, False, None, False),
        ("dropout=interval(0,0.5)", 0.0, 0.5, False, None, False),
        ("arch.hidden=interval(8,64)", 8.0, 64.0, False, None, False),  # a list has no whole numbers of its own
        ("arch.hidden=int(interval(8,64))", 8, 64, False, None, True),
        ("batch_size=interval(16,4096)", 16, 4096, True, None, True),  # as its yaml has it
        ("batch_size=range(16,64,16)", 16, 48, False, 16, True),  # the end is left out, as Hydra has it
        ("dropout=range(0.1,0.5,0.1)", 0.1, 0.4, False, 0.1, False),
        ("trainer.max_epochs=tag(log,range(1,65))", 1, 64, True, 1, True),
    ],
)
def test_an_axis_is_read(word: str, low: float, high: float, log: bool, step: float | None, whole: bool) -> None:
    found = axis(word)
    assert found == {"low": low, "high": high, "log": log, "step": pytest.approx(step), "whole": whole}
    assert type(found["low"]) is (int if whole else float)


def test_a_choice_keeps_its_words() -> None:
    assert axis("clip=choice(none,norm,none)") == {"choices": ["none", "norm"]}
    assert axis("optimizer.betas=[0.9,0.99],[0.9,0.999]") == {"choices": ["[0.9,0.99]", "[0.9,0.999]"]}
    assert axis("clip=glob(*orm)") == {"choices": ["norm"]}


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("optimizer.lr=shuffle(range(1,5))", "no order"),
        ("clip=choice(none,nrom)", "did you mean 'norm'"),
        ("optimizer.lr=interval(-1,1)", "optimizer.lr=-1.0: out of range"),
        ("dropout=tag(log,interval(0,0.5))", "begins above 0"),
        ("optimizer.lr=interval(1,0.1)", "the first number is the lower one"),
        ("optimizer.lr=tag(quick,interval(0.1,1))", "accepted in tag"),
        ("optimizer.lr=range(5,1)", "no values"),
        ("sweep.jobs=range(1,3)", "it is about the sweep"),
        ("search.seed=range(1,3)", "it is about the sweep"),
        ("seed=interval(1,3)", "has no end of values"),
        ("optimizer.lr=0.1", "nothing is searched"),
    ],
)
def test_what_cannot_be_searched_is_refused_with_the_reason(word: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        axis(word)


def test_seeds_and_folds_are_no_axes_but_the_jobs_of_a_trial() -> None:
    fixed, space, again = read_space(CONF, ["arch=mlp", "optimizer.lr=interval(0.1,1)", "seed=1,2"])
    assert (fixed, list(space), again) == (["arch=mlp"], ["optimizer.lr"], [["seed=1"], ["seed=2"]])


def test_the_command_line_wins_over_the_space_of_a_file() -> None:
    words = ["optimizer.lr=interval(0.1,1)", "dropout=interval(0,0.5)", "optimizer.lr=0.3"]
    fixed, space, _ = read_space(CONF, words)
    assert (fixed, list(space)) == (["optimizer.lr=0.3"], ["dropout"])


def test_a_point_has_few_digits_and_stays_inside() -> None:
    space = {"lr": axis("optimizer.lr=interval(1.23444e-4,1)"), "clip": {"choices": ["none"]}}
    assert words_of(rounded({"clip": "none", "lr": 0.01234567}, space)) == ["lr=0.01235", "clip=none"]
    assert rounded({"lr": 1.23445e-4, "clip": "none"}, space)["lr"] == 1.23444e-4


def test_the_points_of_choices_and_ranges_can_be_counted() -> None:
    space = {
        "a": axis("batch_size=range(16,64,16)"),
        "b": axis("clip=none,norm"),
        "c": axis("dropout=range(0,0.5,0.2)"),
    }
    assert number_of_points(space) == 3 * 2 * 3
    assert list(every_point(space))[:4] == [{"a": 16, "b": "none", "c": c} for c in (0.0, 0.2, 0.4)] + [
        {"a": 16, "b": "norm", "c": 0.0}
    ]


FAMILIES = {
    "resnet": "resnet20",
    "vgg": "vgg11",
    "inception": "inception_v1",
    "efficientnet": "efficientnet_b0",
    "lenet": "lenet5",
}


def test_every_family_has_a_space() -> None:
    assert set(members("search")) == {*FAMILIES, "none"}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_corners_of_a_family_s_space_can_be_composed(family: str) -> None:
    words = [f"search={family}", f"arch={FAMILIES[family]}"]
    written = CONF.compose(words).config["search"]["space"]
    fixed, space, _ = read_space(CONF, [*(f"{key}={value}" for key, value in written.items()), *words])
    assert fixed == words
    for end in (0, -1):
        ends = {axis: spec.get("choices") or (spec["low"], spec["high"]) for axis, spec in space.items()}
        corner = {axis: values[end] for axis, values in ends.items()}
        CONF.compose([*fixed, *words_of(corner)])


def test_a_space_without_a_search_has_no_part_and_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"search=lenet: has a part in a search only"):
        check_not_searched(CONF.compose(["search=lenet"]).choices)
