"""A topic is a function: what it declares is what a person may type, and what its answer has."""

import inspect
import json
import re
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Annotated, Any, Literal

import pytest

from convarium.anatomy.explain import topic
from convarium.anatomy.explain.reasoning import Reasoning
from convarium.anatomy.explain.topic import Given, Key, Topic, topics
from convarium.errors import ConfigError


@pytest.mark.parametrize("name", topics())
def test_every_topic_answers_by_its_defaults_with_reasons_and_a_source(name: str) -> None:
    declared = topics()[name]
    summary, *others = declared.paragraphs
    assert len(f"{name}: {summary}") <= 80
    assert [text.partition(":")[0] for text in (others[0], others[-1])] == ["Why", "Source"]
    assert {text.partition(":")[0] for text in others[1:-1]} <= {"Often quoted"}
    why = declared.explain({})
    assert why.results
    assert why.given == {key: given.default for key, given in declared.keys.items()}


@pytest.mark.parametrize("name", topics())
def test_every_key_has_a_meaning_and_accepts_its_default(name: str) -> None:
    for key, given in topics()[name].keys.items():
        assert given.key.meaning, key
        text = given.default if isinstance(given.default, str) else json.dumps(given.default)
        assert given.read(key, text) == given.default


@pytest.mark.parametrize("name", topics())
def test_every_key_has_an_effect(name: str) -> None:
    """One of some other values gives another answer."""
    declared = topics()[name]
    before = declared.explain({})

    def others(given: Given) -> list[Any]:
        default = given.default
        if given.words:
            return [word for word in given.words if word != str(default).lower()]
        if isinstance(default, list):
            return [str(one) for one in ([default[0]] * len(default), [*default, default[-1]])]
        return [str(default / 2)] if isinstance(default, float) else [str(default + more) for more in (-1, 1, 2)]

    for key, given in declared.keys.items():
        differs = False
        for text in others(given):
            try:
                after = declared.explain({key: text})
            except ConfigError:
                continue
            differs = differs or (after.results, after.parts) != (before.results, before.parts)
        assert differs, key


def test_a_topic_is_found_by_being_there(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("more")

    def weight_decay(why: Reasoning, *, rate: Annotated[float, Key("rate", 0, 1)] = 0.5) -> None:
        """Summary

        Source: nobody
        """
        why.step("left", "1 - rate", "left")

    def _private(why: Reasoning) -> None: ...

    def helper(size: int) -> None: ...

    module.__dict__.update(weight_decay=weight_decay, _private=_private, helper=helper)
    here = [type("Found", (), {"name": "more"})]
    monkeypatch.setattr(topic, "iter_modules", lambda path: here)
    monkeypatch.setattr(topic, "import_module", lambda name: module)
    found = inspect.unwrap(topics)()
    assert list(found) == ["weight_decay"]
    assert found["weight_decay"].explain({"rate": "0.25"}).results == {"left": 0.75}


def read(kind: Any, text: str, key: Key | None = None) -> Any:
    return Given(key or Key("", 0, 10), kind, None).read("key", text)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (int, "10", 10),
        (float, "1e-6", 1e-6),
        (float, "3", 3),
        (bool, "false", False),
        (list[int], "[0,10]", [0, 10]),
        (list[list[float]], "[[1,2.5],[3,4]]", [[1, 2.5], [3, 4]]),
        (Literal["drop", "keep"], "keep", "keep"),
    ],
)
def test_values_are_read_as_hydra_spells_them(kind: Any, text: str, value: Any) -> None:
    assert read(kind, text) == value


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        *((int, text, "a whole number from 0 to 10") for text in ("11", "-1", "1.0", "true", "x", "", "[1]", "null")),
        *((float, text, "a number from 0 to 10") for text in ("NaN", "Infinity", "10.1", "false", "1" * 5000)),
        *((list[int], text, "a list of whole numbers from 0 to 10") for text in ("1", "[]", "[1.5]", "[[1]]", "[11]")),
        (list[int], f"{[1] * 201}", "a list of whole numbers from 0 to 10"),
        (list[list[float]], "[1,2]", "rows of numbers, [[1,2],[3,4]], from 0 to 10"),
        (list[int], "[" * 100000, "a list of whole numbers from 0 to 10"),
        (bool, "1", "true or false"),
        (Literal["drop", "keep"], "kep", "drop or keep"),
    ],
)
def test_any_other_value_is_refused_with_what_is_accepted(kind: Any, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(kind, text)
    assert str(refused.value) == f"key={text}: expected {expected}"


@pytest.mark.parametrize(
    ("name", "texts", "says"),
    [
        ("output_size", {"size": "3"}, "size: 3 pixels and 0 zeros on each side have no room for a window of 11"),
        ("pooling", {"image": "[[1,2],[3]]"}, "image: expected rows of one length"),
        ("pooling", {"image": "[[1,2]]"}, "image: 1 pixels and 0 zeros on each side have no room for a window of 2"),
        ("convolution", {"groups": "2"}, "groups=2: does not divide in_channels=3"),
        ("perceptron", {"inputs": "[1]"}, "weights: 3 numbers, but inputs has 1; expected as many, also of defaults"),
        ("network", {"size": "20"}, "size: 2 pixels and 0 zeros on each side have no room for a window of 3"),
    ],
)
def test_keys_that_do_not_fit_one_another_are_refused(name: str, texts: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        topics()[name].explain(texts)
    assert str(refused.value) == says


def test_what_is_often_quoted_has_the_numbers_that_are_computed(answer: Callable[..., dict[str, Any]]) -> None:
    """What stands in docstrings as a fact beside the formulas."""

    def texts(name: str) -> str:
        return " ".join(Topic(topics()[name].function).paragraphs)

    memory, dense = answer("memory"), answer("convolution", in_channels=6, out_channels=16)
    for value in (
        f"{memory['megabytes']:.2f} MB",
        f"{memory['values'] / 1e6:.1f}M",
        f"{memory['megabytes_with_relu']:.0f} MB",
    ):
        assert value in texts("memory")
    assert f"{dense['parameters']:,}" in texts("convolution")
    separable = answer("depthwise", size=112, in_channels=3, kernel_size=7, out_channels=64, multiplier=8)
    assert f"has {separable['dense_weights']:,}, and {separable['weights']:,} the separable" in texts("depthwise")
    network = answer("network")
    for name in ("parameters", "parameters_and_statistics"):
        assert f"{network[name]:,}" in texts("network")
    assert re.search(rf"{answer('receptive_field')['receptive_field']} pixels", texts("receptive_field"))
    digits = answer("convolution", size=28, in_channels=1, out_channels=10, kernel_size=28)
    assert f"{digits['parameters']:,} parameters" in texts("perceptron")
    cifar = answer("mini_batch", samples=50000, batch_size=128)
    assert cifar["updates"] == 391
    assert f"{64000 * 128 / 50000:.1f} epochs" in texts("mini_batch")


def edges(given: Given) -> list[str]:
    """The smallest and the largest value that a key accepts."""
    if given.words:
        return list(given.words)
    numbers = [json.dumps(int(edge) if edge == int(edge) else edge) for edge in (given.key.least, given.key.most)]
    if not isinstance(given.default, list):
        return numbers
    if isinstance(given.default[0], list):
        return [f"[{','.join([f'[{number}]'] * 3)}]" for number in numbers]
    return [f"[{','.join([number] * most)}]" for number in numbers for most in (len(given.default), topic.MOST)]


@pytest.mark.parametrize("name", topics())
def test_values_at_the_edges_are_answered_or_refused(name: str) -> None:
    keys = topics()[name].keys
    alone = [{key: text} for key, given in keys.items() for text in edges(given)]
    together = [{key: edges(given)[place] for key, given in keys.items()} for place in (0, -1)]
    for texts in [*alone, *together]:
        with suppress(ConfigError):
            assert topics()[name].explain(texts).results
