"""Whatever is typed ends in one line or in an experiment that could be trained: no traceback, no hang, nothing made."""

import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from convarium import machine
from convarium.commands.train import FOREIGN
from convarium.config.compose import Conf
from convarium.config.keys import KEYS, leaves
from convarium.config.overrides import readable
from convarium.errors import ConfigError, RunError
from convarium.run.directory import RunDirectory
from convarium.run.launch import built_here
from convarium.run.prepare import adapt_to_weights, prepare

SECONDS = 30  # for one line, on a machine that does other work
HEAVY = ("arch", "data", "recipe", "study", "hydra")  # of these only what is built in a moment
LIGHT = ("arch=mlp", "arch=convnet", "arch=logistic_regression", "arch=perceptron", "arch=resnet20", "data=synthetic")
NUMBERS = ["0", "1", "2", "3", "7", "-1", "0.5", "1.0", "1.5", "-0.0", "1e-46", "1e39", "1e309", "nan", "-inf", "1_0"]
LARGE = ["1000", "65536", "2147483647", "9223372036854775807", "9223372036854775808", "1" + "0" * 25, "9" * 5000]
LISTS = ["[]", "[0]", "[1,2]", "[0.5,0.1]", "[1.5,a]", "[[1]]", "[null]", "[{a:1}]", "{}", "{a:1}", "{a:{b:1}}"]
FORMS = ["null", "true", "auto", "none", "''", "500 steps", "5%", "00:00:00:00", "99:99:99:99", "val/loss", "a=b"]
PATHS = ["../x", "~", "~nobody", "/dev/null", "/proc/1/mem", "http://x", ".", "x" * 300, "y" * 200 + "/x" * 2100]
TEXTS = ["é☃", "'a\x1b[31mb'", *PATHS]
UNCLOSED = ["${", "'open", "[1,", "[" * 400]
BROKEN = ["${seed}", "${nowhere}", "${oc.env:HOME}", "1,2", "range(1,3)", "glob(*)", "%s", "\\", *UNCLOSED]
VALUES = [*NUMBERS, *LARGE, *LISTS, *FORMS, *TEXTS, *BROKEN]
KINDS = {
    int: [*NUMBERS, *LARGE, *5 * ["1", "2", "8"]],
    float: [*NUMBERS, *LARGE, *5 * ["0.1", "1.0", "0.9"]],
    bool: ["true", "false"],
    list: LISTS,
    str: [*FORMS, *TEXTS],
}
CONF = Conf()
CHOICES = [f"{group}={name}" for group in CONF.groups if group not in HEAVY for name in CONF.members(group)] + [*LIGHT]
PLAIN = sorted(key for key in KEYS if "*" not in key)


@cache
def values_by_key(choices: tuple[str, ...]) -> dict[str, list[str]]:
    """The keys that an experiment of these answers has, each with edge values of its own kind."""
    try:
        config = CONF.compose(choices).config
    except ConfigError:
        return dict.fromkeys(PLAIN, VALUES)
    return {key: KINDS.get(type(value), VALUES) for key, value in leaves(config).items() if not key.endswith("_")}


@st.composite
def lines(draw: st.DrawFn, choices: Sequence[str], most: int) -> list[str]:
    """Answers, edge values of keys, three in four of the key's own kind, and one line in six mistyped."""
    words = draw(st.lists(st.sampled_from(choices), max_size=most))
    known = values_by_key(tuple(words))
    for key in draw(st.lists(st.sampled_from([*3 * [*known], *PLAIN]), min_size=1, max_size=2)):
        values = draw(st.sampled_from([*3 * [known.get(key, VALUES)], VALUES]))
        words.append(f"{key}={draw(st.sampled_from(values))}")
    if draw(st.integers(0, 5)) == 0:
        at = draw(st.integers(0, len(words) - 1))
        place = draw(st.integers(0, min(len(words[at]), 30) - 1))
        put = draw(st.sampled_from(("", 2 * words[at][place], *"=. é[:+~")))
        words[at] = words[at][:place] + put + words[at][place + 1 :]
    return words


def type_in(words: list[str]) -> None:
    """What `train` does with words until it makes its folder; a ConfigError is an answer of one line."""
    with suppress(ConfigError, RunError):
        words = readable(words)
        if any(FOREIGN.match(word) for word in words):
            CONF.check_hydra(words)
        composed = adapt_to_weights(CONF, CONF.compose(words))
        if composed.config["resume"] is None:
            prepared = prepare(composed.config, pretrained=composed.pretrained)
            built_here(RunDirectory.planned(prepared.config), prepared)


def check_lines(count: int, choices: Sequence[str], most: int) -> None:
    seen = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(lines(choices, most))
    def check(words: list[str]) -> None:
        started = time.monotonic()
        type_in(words)
        assert time.monotonic() - started < SECONDS
        seen.append(words)

    check()
    assert len(seen) >= count
    assert [path for path in Path.cwd().rglob("*") if ".hypothesis" not in path.parts] == []


@pytest.fixture(autouse=True)
def a_small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1 GB, so that what is built here leaves room for others."""
    monkeypatch.setattr(machine.os, "sysconf", lambda name: 4096 if name == "SC_PAGE_SIZE" else 250_000)


def test_300_fuzzed_lines_end_in_one_line_or_in_an_experiment() -> None:
    check_lines(300, CHOICES[::8], most=1)


@pytest.mark.slow
def test_2000_fuzzed_lines_end_in_one_line_or_in_an_experiment() -> None:
    check_lines(2_000, CHOICES, most=3)
