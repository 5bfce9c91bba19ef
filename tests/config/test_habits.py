"""What people type from habit is answered by what it is called here."""

import re

import pytest

from convarium.config.catalog import groups, members
from convarium.config.compose import Conf, compose
from convarium.config.habits import ANSWERS, KEYS, WORDS, undashed
from convarium.config.keys import row
from convarium.errors import ConfigError


@pytest.mark.parametrize("key", sorted({*KEYS.values()}))
def test_a_key_that_is_named_is_one_of_ours(key: str) -> None:
    assert key in groups() or row(key) is not None


@pytest.mark.parametrize("text", sorted({*WORDS.values()}))
def test_what_is_to_be_written_instead_begins_with_a_key_of_ours(text: str) -> None:
    for key in re.findall(r"([a-z][\w.]*)=", text.replace("+experiment=", "")):
        assert key in (*groups(), "recipe", "weights") or row(key) is not None, key


@pytest.mark.parametrize(("group", "habit"), [(group, habit) for group, names in ANSWERS.items() for habit in names])
def test_a_group_s_answer_elsewhere_leads_to_ours(group: str, habit: str) -> None:
    assert habit not in members(group)
    assert ANSWERS[group][habit] in members(group)
    with pytest.raises(ConfigError, match=f"{group}={habit}: unknown; did you mean '{ANSWERS[group][habit]}'"):
        compose([f"{group}={habit}"])


@pytest.fixture(scope="module")
def conf() -> Conf:
    return Conf()


@pytest.mark.parametrize("key", sorted({*KEYS, *WORDS} - {"data.batch_size", "arch.pretrained"}))
def test_a_key_from_elsewhere_is_answered_in_one_line(conf: Conf, key: str) -> None:
    answer = WORDS.get(key) or f"{KEYS[key]}=..."
    with pytest.raises(ConfigError) as refused:
        conf.compose([f"{key}=1"])
    assert str(refused.value) == f"{key}: is called otherwise here; write {answer}"


@pytest.mark.parametrize(
    ("word", "means"),
    [
        ("--lr=0.1", "optimizer.lr=0.1"),
        ("--optimizer.lr=0.1", "optimizer.lr=0.1"),
        ("--batch-size=64", "batch_size=64"),
        ("--learning-rate=1e-3", "optimizer.lr=1e-3"),
        ("--config-dir=mine", "--config-dir=mine"),
        ("--multirun", "--multirun"),
        ("-m", "-m"),
        ("seed=1", "seed=1"),
    ],
)
def test_a_dashed_word_of_an_agent_is_a_key_and_a_value(word: str, means: str) -> None:
    assert undashed(word) == means
