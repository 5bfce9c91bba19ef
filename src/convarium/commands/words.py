"""How the words of every verb are read: positions, options, overrides of the experiment. No torch here."""

import math
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os.path import exists  # of a word longer than any file's name False; Path's raises
from pathlib import Path
from textwrap import TextWrapper
from typing import NamedTuple

from convarium.config.habits import undashed
from convarium.config.keys import KEYS
from convarium.errors import ConfigError
from convarium.wording import nearest, unknown

HELP = ("--help", "-h")
PAIR = re.compile(r"[+~]*[A-Za-z_][\w./@]*=")


class Option(NamedTuple):
    """A key=value word that a verb itself takes."""

    meaning: str
    accepted: tuple[str, ...] = ()  # empty: any value
    default: str | None = None


TRUE_OR_FALSE = ("true", "false")
"""An option that takes these may be written alone, with dashes: --effective."""
FORMAT = Option("how the answer is printed; --json is format=json", ("text", "json"), "text")
LEFT_OUT = ("choices", "config_dir", "parts", "resume", "sweep")  # nobody types these, or only to train
EXPERIMENT = tuple(
    dict.fromkeys(name for name in (*(key.partition(".")[0] for key in KEYS), "recipe") if name not in (*LEFT_OUT, "*"))
)
"""The groups and keys that describe an experiment, for `Verb.groups`."""


@dataclass(frozen=True)
class Words:
    """The words of a verb, sorted."""

    positions: list[str] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)  # those that were given
    overrides: list[str] = field(default_factory=list)
    defaults: dict[str, str] = field(default_factory=dict)  # of the other options

    def value(self, name: str) -> str:
        """The value of an option that was given or has a default."""
        return self.options[name] if name in self.options else self.defaults[name]

    @property
    def as_json(self) -> bool:
        return self.value("format") == "json"

    def whole(self, name: str, *, accepted: range | None = None, expected: str = "expected a whole number") -> int:
        """The value of an option as a whole number. Raises ConfigError, which says what is expected, for any other."""
        text = self.value(name)
        if not text.isdecimal() or (accepted is not None and int(text) not in accepted):
            raise ConfigError(f"{name}={text}: {expected}")
        return int(text)

    def number(self, name: str, *, zero: bool = False) -> float:
        """The value of an option as a number above 0, or 0 where that is one. Raises ConfigError for any other."""
        try:
            number = float(self.value(name))
        except ValueError:
            number = math.nan
        if not (0 < number < math.inf or (zero and number == 0)):
            raise ConfigError(f"{name}={self.value(name)}: expected a number {'from' if zero else 'above'} 0")
        return number


@dataclass(frozen=True)
class Verb:
    """A verb of the command line: the words it takes, what it does, and the function that does it."""

    name: str
    meaning: str
    run: Callable[[Words], int | None]  # from the sorted words to the exit code (None: 0)
    positions: str = ""
    """What stands by position, as the usage shows it. Empty: other words than key=value are left to Hydra to refuse."""
    required: str = ""  # the key=value words that the usage shows
    options: Mapping[str, Option] = field(default_factory=dict)
    overrides: str = ""  # which other key=value words are accepted; empty: none
    example: str = ""
    groups: tuple[str, ...] = ()  # whose answers and keys these words are, for a shell to complete
    takes: Callable[[str], bool] = lambda key: True  # which keys of them
    offers: Callable[[], Iterable[str]] = tuple  # what may stand by position, beside files
    narrowed: Callable[[Sequence[str]], "Verb | None"] = lambda words: None
    """The verb that the words make of this one, with options and a help of its own: `explain TOPIC`."""

    @property
    def synopsis(self) -> str:
        return " ".join(filter(None, ("convarium", self.name, self.positions, self.required)))

    @property
    def flags(self) -> list[str]:
        """What may be written alone, with dashes."""
        alone = [f"--{name}" for name, option in self.options.items() if option.accepted == TRUE_OR_FALSE]
        answers = ["--json"] if "json" in self.options.get("format", Option("")).accepted else []
        return [*alone, *answers, "--help"]

    @property
    def usage(self) -> str:
        return self.synopsis + (" [key=value ...]" if self.options or self.overrides else "")

    def __call__(self, words: Sequence[str]) -> int:
        """Do what the words say, or print the help; the exit code."""
        if any(word in HELP for word in words):
            print(self.help())
            return 0
        return self.run(self.read(words)) or 0

    def read(self, words: Iterable[str]) -> Words:
        """Sort the words. Raises ConfigError for a word, or a value of an option, that the verb does not take."""
        result = Words(defaults={name: option.default for name, option in self.options.items() if option.default})
        rest = iter(words)
        for word in rest:
            key, equals, value = word.removeprefix("--").partition("=")
            if word == "--json":
                word = "format=json"
            elif word.startswith("--") and (key := key.replace("-", "_")) in self.options:  # --top 3, --top=3
                if not equals and self.options[key].accepted == TRUE_OR_FALSE:
                    value = "true"
                elif not equals and (value := next(rest, "")) == "":
                    raise ConfigError(f"{word}: expected a value; write {key}=VALUE")
                word = f"{key}={value}"
            elif word.startswith("--") and equals and self.overrides:
                word = undashed(word)
            elif word.startswith("-"):
                raise ConfigError(
                    f"{word}: unknown option{nearest(word, self.flags)} Accepted: {', '.join(self.flags)}"
                )
            elif not PAIR.match(word) or exists(word):
                (result.positions if self.positions else result.overrides).append(word)
                continue
            key, _, value = word.partition("=")
            if key in self.options:
                require(word, value, self.options[key].accepted)
                result.options[key] = value
            elif self.overrides:
                result.overrides.append(word)
            else:
                raise not_accepted(word, self.options)
        most = len(self.positions.split())
        if "..." not in self.positions and len(result.positions) > most:
            raise self.misused(f"{result.positions[most]}: one too many")
        return result

    def misused(self, message: str) -> ConfigError:
        """The error of a word that is missing or one too many."""
        return ConfigError(f"{message}; usage: {self.usage}")

    def run_folder(self, words: Words) -> Path:
        """The first position, which is the folder of a run. Raises ConfigError if there is none."""
        folder = self.folder(words, "run")
        if not folder.is_dir():
            for run in folder.absolute().parents[:2]:
                if folder.is_file() and (run / "config.yaml").is_file():
                    of = f" weights={folder.stem}" if folder.suffix == ".ckpt" else ""
                    raise self.misused(f"{folder}: a file of a run, whose folder is asked for: {run}{of}")
            raise self.misused(f"{folder}: no such run")
        return folder

    def folder(self, words: Words, of: str) -> Path:
        """The first position as a path. Raises ConfigError if none is given."""
        if not words.positions:
            raise self.misused(f"no {of} given")
        return Path(words.positions[0])

    def help(self) -> str:
        """The usage, the options and the values they take, and an example."""
        rows = {}
        for name, option in self.options.items():
            default = f"; default {option.default}" if option.default else ""
            rows[f"{name}={'|'.join(option.accepted) or '...'}"] = option.meaning + default
        if self.overrides:
            rows["key=value"] = self.overrides
        width = min(max(map(len, rows), default=0), 38)
        columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
        whole = TextWrapper(columns, break_long_words=False, break_on_hyphens=False)
        lines = [f"usage: {self.usage}", "", *whole.wrap(f"  {self.meaning}"), ""]
        whole.subsequent_indent = " " * (width + 4)
        lines += [line for word, meaning in rows.items() for line in whole.wrap(f"  {word:{width}}  {meaning}")]
        return "\n".join([*lines, *([""] if rows else []), f"example: {self.example}"])


def require(word: str, value: str, accepted: Sequence[str]) -> None:
    """Raises ConfigError for a value of an option that is not among the accepted ones, if these are listed."""
    if accepted and value not in accepted:
        raise ConfigError(unknown(word, value, accepted))


def not_accepted(word: str, accepted: Iterable[str]) -> ConfigError:
    """The error of a key=value word whose key a verb does not take."""
    key, known = word.partition("=")[0], list(accepted)
    return ConfigError(f"{key}: not accepted{nearest(key, known)} One of: {', '.join(known)}")
