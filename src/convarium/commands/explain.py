"""`convarium explain TOPIC`: what the literature shows by an example, with one's own numbers. No torch here."""

import json
import shutil
from collections.abc import Sequence
from functools import partial
from math import isfinite
from shlex import quote
from textwrap import TextWrapper
from typing import Any

from convarium.anatomy.explain.reasoning import Reasoning, Table
from convarium.anatomy.explain.topic import Topic, topics
from convarium.commands.words import FORMAT, Option, Verb, Words
from convarium.wording import unknown

WIDEST = 100  # characters of a line that is read with ease


def run(words: Words) -> None:
    """Print the topics."""
    if words.positions:
        raise VERB.misused(unknown(words.positions[0], words.positions[0], topics()))
    if words.overrides:
        raise VERB.misused(f"{words.overrides[0]}: of which topic? One of: {', '.join(topics())}")
    summaries = {name: topic.paragraphs[0] for name, topic in topics().items()}
    if words.as_json:
        print(json.dumps(summaries, indent=2, ensure_ascii=False))
        return
    width = max(map(len, summaries))
    for name, summary in summaries.items():
        print(*_wrapped(f"{name:{width}}  {summary}", " " * (width + 2)), sep="\n")
    print("", *_wrapped("convarium explain TOPIC --help: its keys, for numbers of your own"), sep="\n")


def verb_of(words: Sequence[str]) -> Verb | None:
    """The verb whose options are the keys of the topic that is among the words."""
    topic = next((topics()[word] for word in words if word in topics()), None)
    if topic is None:
        return None
    options = {
        name: Option(f"{given.key.meaning}; {given.accepted}", given.words, _typed(given.default))
        for name, given in topic.keys.items()
    }
    example = next(f"{name}={option.default}" for name, option in options.items())
    return Verb(
        name="explain",
        meaning=topic.paragraphs[0],
        run=partial(answer, topic),
        positions=topic.name,
        options={**options, "format": FORMAT},
        example=f"convarium explain {topic.name} {quote(example)}",  # zsh takes brackets for a pattern
    )


def answer(topic: Topic, words: Words) -> None:
    """Print the reasoning of a topic, or its numbers by name."""
    why = topic.explain({name: text for name, text in words.options.items() if name in topic.keys})
    summary, *paragraphs = topic.paragraphs
    if words.as_json:
        results = {name: _for_programs(value) for name, value in why.results.items()}
        source = paragraphs[-1].removeprefix("Source: ")
        record = {"topic": topic.name, "given": why.given, "results": results, "source": source}
        print(json.dumps(record, indent=2, ensure_ascii=False))
        return
    given = " ".join(f"{name}={_typed(value)}" for name, value in why.given.items())
    lines = [*_wrapped(f"{topic.name}: {summary}"), *_wrapped(f"  {given}", "  "), "", *_steps(why)]
    for text in paragraphs:
        lines += ["", *_wrapped(text)]
    print(*lines, sep="\n")


def _steps(why: Reasoning) -> list[str]:
    lines: list[str] = []
    for part in why.parts:
        if isinstance(part, Table):
            lines += _columns(part)
            continue
        first, *others = filter(None, (part.formula, part.numbers, part.result))
        if not others:
            lines += _wrapped(f"  {part.what}: {first}", " " * 6)
            continue
        lines += _wrapped(f"  {part.what}:", " " * 6)
        whole = " = ".join(("    " + first, *others))
        apart = ("    " + first, *(f"    = {text}" for text in others))
        lines += [whole] if len(whole) <= _width() else [line for text in apart for line in _wrapped(text, " " * 6)]
    return lines


def _columns(table: Table) -> list[str]:
    rows = [table.headings, *table.rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["    " + "  ".join(f"{cell:>{size}}" for cell, size in zip(row, widths, strict=True)) for row in rows]


def _width() -> int:
    return min(shutil.get_terminal_size().columns, WIDEST)


def _wrapped(text: str, behind: str = "") -> list[str]:
    """A text in lines, which keep its indent; a word that is longer than a line is not broken."""
    before = text[: len(text) - len(text.lstrip())]
    folded = TextWrapper(_width(), before, behind, break_long_words=False, break_on_hyphens=False)
    return folded.wrap(text.lstrip())


def _typed(value: Any) -> str:
    """A value as one types it."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _for_programs(value: Any) -> Any:
    """A result as JSON has it: null for what is not defined."""
    if isinstance(value, list):
        return [_for_programs(one) for one in value]
    return None if isinstance(value, float) and not isfinite(value) else value


VERB = Verb(
    name="explain",
    meaning="show a worked example of the literature step by step, with your own numbers",
    run=run,
    positions="[TOPIC]",
    options={"format": FORMAT},
    overrides="keys of the topic; convarium explain TOPIC --help lists them",
    example="convarium explain stack layers=2",
    offers=lambda: topics(),
    narrowed=verb_of,
)
