"""The words of a command line as Hydra reads them: quoted where its grammar needs that, parsed. No torch here."""

from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from convarium.config.keys import TEXT, has_part
from convarium.errors import ConfigError

LONGEST_KEY = 200  # characters; Hydra looks for a file of that name


def parse(words: Sequence[str]) -> list[Override]:
    """The overrides that words are. Raises Hydra's OverrideParseException for a word that is none."""
    parser = OverridesParser.create()
    return [_parse(word, parser) for word in words]


def keys_of(words: Sequence[str]) -> list[str]:
    """The keys and groups that words set, as they are written."""
    return [override.key_or_group for override in parse(words)]


def values_of(words: Sequence[str]) -> dict[str, Any]:
    """What words set, by key or group; the last of two counts."""
    return {override.key_or_group: override.value() for override in parse(words)}


def readable(words: Sequence[str]) -> list[str]:
    """Quote values that Hydra's grammar cannot read as they stand (paths with '=', unicode, '#', '~') or would take
    for a number where text is meant.
    """
    parser = OverridesParser.create()
    return [_readable(word, parser) for word in words]


def _readable(word: str, parser: OverridesParser) -> str:
    key, equals, value = word.partition("=")
    is_text = has_part(key.lstrip("+"), TEXT)
    if not equals or not value or key.startswith("~"):
        return word
    try:
        parsed = _parse(word, parser)
    except HydraException:
        if not is_text and value[0] in "[{('\"":
            return word
        return f"{key}={quoted(value)}"
    number = isinstance(parsed.value(), (bool, int, float))
    escapes = "\\" in value and value[0] not in "'\""
    if is_text and not parsed.is_sweep_override() and (number or escapes):
        return f"{key}={quoted(value)}"
    return word


def _parse(word: str, parser: OverridesParser) -> Override:
    key = word.partition("=")[0]
    if len(key.encode(errors="replace")) > LONGEST_KEY:
        raise ConfigError(f"{key[:40]}...: no such key; the longest have {LONGEST_KEY} characters")
    try:
        return parser.parse_overrides([word])[0]
    except (ValueError, RecursionError) as error:
        wrong = "a number of too many digits" if isinstance(error, ValueError) else "brackets nested too deep"
        raise ConfigError(f"{word[:60]}...: {wrong}") from error


def quoted(value: str) -> str:
    """Text as a value that Hydra's grammar reads back as it is."""
    return QuotedString(value, Quote.single).with_quotes()
