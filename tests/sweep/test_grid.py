"""The words of a command and the points that they make."""

import math
from collections.abc import Sequence

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hypothesis import given, settings
from hypothesis import strategies as st

from convarium.config.compose import Conf
from convarium.errors import ConfigError
from convarium.sweep.grid import effective, grid, off_axes, on_axes, points_of, shown, values

KEYS = st.sampled_from(["seed", "arch", "optimizer.lr", "dropout", "+callbacks"])
AXES = st.dictionaries(KEYS, st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True), max_size=4)


def parse(words: Sequence[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides(list(words))


def lines(parsed: Sequence[Override]) -> list[str | None]:
    return [override.input_line for override in parsed]


def words_of(asked: dict[str, list[int]]) -> list[str]:
    return [f"{key}={','.join(map(str, found))}" for key, found in asked.items()]


# effective


def test_of_two_equal_keys_the_later_counts_in_the_place_of_the_first() -> None:
    assert lines(effective(parse(["seed=1", "arch=lenet5", "seed=2,3"]))) == ["seed=2,3", "arch=lenet5"]


def test_a_later_single_value_takes_an_axis_away() -> None:
    assert points_of(None, ["seed=1,2", "seed=3"]) == ([["seed=3"]], [])


@pytest.mark.parametrize("words", [["stop=early", "~stop"], ["+callbacks=progress", "+callbacks=figures"]])
def test_a_key_and_its_deletion_and_two_additions_both_count(words: list[str]) -> None:
    assert lines(effective(parse(words))) == words


@given(st.lists(st.sampled_from(["seed=1", "seed=2,3", "arch=lenet5", "~stop", "+callbacks=a", "++name=b"])))
@settings(deadline=None)
def test_what_is_effective_stays_so(words: list[str]) -> None:
    once = effective(parse(words))
    assert lines(effective(once)) == lines(once)


@given(st.lists(st.sampled_from(["seed=1", "seed=2", "arch=a", "arch=b", "name=c"])))
@settings(deadline=None)
def test_the_effective_words_say_what_all_of_them_say(words: list[str]) -> None:
    assert values([str(line) for line in lines(effective(parse(words)))]) == values(words)


# grid


def test_the_last_axis_changes_fastest() -> None:
    assert grid(parse(["seed=1,2", "data=digits", "norm=none,batch"])) == [
        ["seed=1", "data=digits", "norm=none"],
        ["seed=1", "data=digits", "norm=batch"],
        ["seed=2", "data=digits", "norm=none"],
        ["seed=2", "data=digits", "norm=batch"],
    ]


def test_nothing_swept_is_one_point() -> None:
    assert grid(parse(["seed=1", "~stop"])) == [["seed=1", "~stop"]]


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("seed=range(1,4)", ["seed=1", "seed=2", "seed=3"]),
        ("seed=choice(4,2)", ["seed=4", "seed=2"]),
        ("arch.hidden=[16],[16,8]", ["arch.hidden=[16]", "arch.hidden=[16,8]"]),
        ("dropout=null,0.5", ["dropout=null", "dropout=0.5"]),
        ("name=a,'b c',\"d,e\"", ["name=a", "name='b c'", 'name="d,e"']),
        ("++seed=1,2", ["++seed=1", "++seed=2"]),
    ],
)
def test_every_way_to_write_an_axis_has_its_values_in_order(word: str, found: list[str]) -> None:
    assert [word for [word] in grid(parse([word]))] == found


def test_a_glob_stands_for_the_answers_of_its_group() -> None:
    points, axes = points_of(Conf().loader, ["arch=glob(vgg1*,exclude=*_*)"])
    assert (points, axes) == ([["arch=vgg11"], ["arch=vgg13"], ["arch=vgg16"], ["arch=vgg19"]], ["arch"])


def test_an_interval_has_no_values_to_enumerate() -> None:
    with pytest.raises(HydraException, match="Can only enumerate"):
        grid(parse(["optimizer.lr=interval(0,1)"]))
    with pytest.raises(ConfigError, match=r"optimizer\.lr=interval\(0,1\): has no end of values; accepted: a,b,\.\.\."):
        points_of(Conf().loader, ["optimizer.lr=interval(0,1)"])


@pytest.mark.parametrize(
    "words", [["seed=range(1,1000000000)"], ["seed=range(1,1000)", "batch_size=range(1,1000)", "optimizer.lr=0.1,0.2"]]
)
def test_more_points_than_there_is_memory_are_refused(words: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"^\w+=range\(1,.*: more than 100,000 jobs; hydra/sweeper=optuna"):
        points_of(Conf().loader, words)


@given(AXES)
@settings(deadline=None)
def test_there_is_one_point_for_each_combination(asked: dict[str, list[int]]) -> None:
    points = grid(parse(words_of(asked)))
    assert len(points) == len(set(map(tuple, points))) == math.prod(map(len, asked.values()))


@given(AXES)
@settings(deadline=None)
def test_every_point_has_one_of_the_values_of_each_key(asked: dict[str, list[int]]) -> None:
    for point in grid(parse(words_of(asked))):
        pairs = [word.split("=") for word in point]
        assert [key for key, _ in pairs] == list(asked)
        assert all(int(value) in asked[key] for key, value in pairs)


# axes


def test_the_axes_are_the_keys_of_several_values_as_they_are_written() -> None:
    words = ["seed=1,2", "data=digits", "+callbacks=progress,figures", "dropout=choice(0.1)"]
    assert points_of(None, words)[1] == ["seed", "+callbacks", "dropout"]


@pytest.mark.parametrize(
    ("point", "axes", "found"),
    [
        (["seed=1", "data=digits", "norm=none"], ["norm", "seed"], ["norm=none", "seed=1"]),
        (["optimizer=sgd", "optimizer.lr=0.1"], ["optimizer"], ["optimizer=sgd"]),
        (["name='a=b'", "seed=1"], ["name"], ["name='a=b'"]),
    ],
)
def test_the_words_on_axes_are_in_the_order_of_the_axes(point: list[str], axes: list[str], found: list[str]) -> None:
    assert on_axes(point, axes) == found


def test_the_words_off_axes_are_in_the_order_of_the_point() -> None:
    assert off_axes(["name=a", "seed=1", "~stop", "data=digits"], ["seed"]) == ["name=a", "~stop", "data=digits"]


@given(AXES, st.permutations(["seed", "arch", "optimizer.lr", "dropout", "+callbacks"]), st.integers(0, 5))
@settings(deadline=None)
def test_a_point_is_what_is_on_its_axes_and_what_is_off_them(
    asked: dict[str, list[int]], keys: list[str], number: int
) -> None:
    for point in grid(parse(words_of(asked))):
        axes = keys[:number]
        assert sorted(on_axes(point, axes) + off_axes(point, axes)) == sorted(point)


# values


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("a=1", 1),
        ("a=0.1", 0.1),
        ("a=1e-1", 0.1),
        ("a=true", True),
        ("a=null", None),
        ("a=word", "word"),
        ("a='two words'", "two words"),
        ("a='1'", "1"),
        ("a=[1,'x y',[z]]", [1, "x y", ["z"]]),
        ("a={b:1,c:'d'}", {"b": 1, "c": "d"}),
        ("a=", ""),
        ("+a=1", 1),
        ("++a=1", 1),
    ],
)
def test_values_are_plain(word: str, value: object) -> None:
    found = values([word])
    assert found == {"a": value}
    assert type(found["a"]) is type(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(deadline=None)
def test_a_number_is_the_same_however_it_is_written(number: float) -> None:
    assert values([f"a={number!r}"]) == values([f"a={number:.17e}"]) == {"a": number}


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="'\"\\"), min_size=1))
@settings(deadline=None)
def test_quoted_text_is_read_as_it_is(text: str) -> None:
    assert values([f"a='{text}'"]) == {"a": text}


# for a person


def test_a_point_is_shown_by_its_words() -> None:
    assert (shown(["seed=1", "norm=none"]), shown([])) == ("seed=1 norm=none", "the only one")
