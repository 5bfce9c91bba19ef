"""Yaml that may come from anybody, read within limits. No torch here."""

from typing import Any

import yaml
from yaml import AliasEvent, CollectionEndEvent, CollectionStartEvent, NodeEvent

LARGEST, DEEPEST, MOST = 1_000_000, 50, 100_000
"""Characters, collections inside one another, and values, those behind an alias counted as often as it stands."""


SCHEME = "parsed-once"
"""Of the folders whose yaml Hydra reads by these rules (`hydra_plugins.convarium.own_answers`)."""


class TooMuch(yaml.YAMLError):
    """Yaml beyond a limit."""


def parse(text: str, loader: Any = yaml.CSafeLoader) -> Any:
    """What a text says. Raises yaml.YAMLError, before anything is made of it for what is beyond a limit."""
    _check(text)
    return yaml.load(text, loader)


def _check(text: str) -> None:
    if len(text) > LARGEST:
        raise TooMuch(f"longer than {LARGEST:,} characters")
    values, sizes = 0, dict[str, int]()
    around: list[tuple[str | None, int]] = []  # the collections that are open: anchor, values before
    for event in yaml.parse(text, yaml.CSafeLoader):
        if isinstance(event, AliasEvent):
            if any(anchor for anchor, _ in around):
                raise TooMuch("an alias within what has an anchor itself")
            values += sizes.get(str(event.anchor), 1)
        elif isinstance(event, CollectionStartEvent):
            around.append((event.anchor, values))
        elif isinstance(event, CollectionEndEvent):
            anchor, before = around.pop()
            sizes |= {anchor: values - before} if anchor else {}
        if isinstance(event, NodeEvent):
            values += 1
        if len(around) > DEEPEST:
            raise TooMuch(f"deeper than {DEEPEST} collections")
        if values > MOST:
            raise TooMuch(f"more than {MOST:,} values")
