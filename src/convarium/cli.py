"""Which verb: `python train.py ...`, `convarium VERB ...`; what a person got wrong becomes one line. No torch here."""

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from convarium.errors import BAD_INPUT, INTERRUPTED, ConfigError, RunError
from convarium.files import from_home, full_disk_line, is_full_disk
from convarium.wording import nearest, one_line, unknown

if TYPE_CHECKING:
    from convarium.commands.words import Verb

VERBS = (
    *("train", "evaluate", "predict", "look", "export", "figures", "list", "anatomy", "explain"),
    *("gallery", "report", "board", "diff", "lr-find", "batch-find", "completion"),
    *("data fetch", "data check", "data show", "data pack", "sweep resume", "sweep status", "sync"),
)
"""Each is a file of convarium.commands."""

TOGETHER = {"data": "what there is to do with datasets", "sweep": "what there is to do with a sweep"}
"""What the help says of verbs of two words; that of each: `convarium data --help`."""

HELP = """convarium: an experiment platform for convolutional networks

  convarium train arch=resnet20 data=cifar10   train a network (convarium train --help: all there is to choose)
  convarium train -m arch=vgg16,resnet50 seed=1,2,3   train one for every combination
  convarium train resume=RUN                   go on where a run ended
{verbs}

RUN is the folder of a run. Everything else is key=value, as in Hydra. --json: the answer for programs.
convarium VERB --help: what a verb takes, and an example. convarium --version: which version this is.
"""

HELPS = ("--help", "-h", "help")


def main() -> NoReturn:
    """`convarium VERB ...`"""
    _begin()
    words = sys.argv[1:] or ["--help"]
    if words[0] in HELPS:
        sys.exit(_answer(lambda: print(_help(), end="")))
    if words[0] == "--version":
        from importlib.metadata import version  # which imports the email package

        print(version("convarium"))
        sys.exit(0)
    if words[0] == "train":
        sys.argv = [f"{Path(sys.argv[0]).name} train", *words[1:]]
        train()
    sys.exit(_answer(lambda: run_verb(words)))


def train() -> NoReturn:
    """`python train.py ...`: one experiment, a sweep of them, or the rest of one."""
    _begin()
    sys.exit(_answer(lambda: _train(sys.argv[1:])))


def _train(words: Sequence[str]) -> int:
    """Train by the words; the exit code. Raises ConfigError for a verb before them: `python train.py evaluate`."""
    from convarium.commands import train
    from convarium.config.habits import VERBS as VERBS_ELSEWHERE

    verb, *rest = words or [""]
    if (ours := VERBS_ELSEWHERE.get(verb, verb)) in {name.split()[0] for name in VERBS}:
        write = "leave it out" if ours == "train" else f"write {' '.join(['convarium', ours, *rest])}"
        raise ConfigError(f"{verb}: a verb, and these words train; {write}")
    return train.run(words)


def _begin() -> None:
    sys.argv[1:] = map(from_home, sys.argv[1:])
    _open_closed_streams()


def _open_closed_streams() -> None:
    """Let what a shell has closed (`>&-`) lead nowhere: else the next file that is opened takes its place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            os.set_inheritable(number, True)  # what is started from here is not to be without it either
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))


def _answer(command: Callable[[], int | None]) -> int:
    """The exit code of a command; what a person got wrong becomes one line on stderr."""
    try:
        _check_current_folder()
        code = command() or 0
        sys.stdout.flush()  # a full disk behind `> FILE` says so now
        return code
    except (ConfigError, RunError) as error:
        print("error:", one_line(error), file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED[0]
    except BrokenPipeError:  # `convarium list arch | head`
        _let_stdout_lead_nowhere()
        return 1
    except Exception as error:
        if not is_full_disk(error):
            raise
        print("error:", one_line(full_disk_line(error, "the output")), file=sys.stderr)
        _let_stdout_lead_nowhere()
        return 1


def _let_stdout_lead_nowhere() -> None:
    """What it still holds would fail once more when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _check_current_folder() -> None:
    """Raise RunError if the current folder has been removed."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise RunError("the current folder is gone; cd to one that is there") from None


def run_verb(words: Sequence[str]) -> int:
    """Do what the words say; the exit code."""
    actions = _actions(words[0])
    if actions and words[1:2] and words[1] in HELPS:
        verbs = [_load(f"{words[0]} {action}") for action in actions]
        print("\n".join(f"{verb.usage}\n    {verb.meaning}\n    example: {verb.example}" for verb in verbs))
        return 0
    verb, rest = find_verb(words)
    return verb(rest)


def find_verb(words: Sequence[str]) -> "tuple[Verb, Sequence[str]]":
    """The verb that words begin with, and the words behind it. Raises ConfigError if they name none."""
    from convarium.config.habits import VERBS as VERBS_ELSEWHERE

    first, *rest = words
    if first in VERBS:
        verb = _load(first)
        return verb.narrowed(rest) or verb, rest
    actions, verbs = _actions(first), list(dict.fromkeys(name.split()[0] for name in VERBS))
    if not actions:
        near = nearest(first, verbs, VERBS_ELSEWHERE.get(first))
        raise ConfigError(f"{first}: unknown verb{near} One of: {', '.join(verbs)}")
    if first == "sweep" and rest and "=" in rest[0]:
        raise ConfigError(f"{rest[0]}: a sweep begins with: convarium train -m {rest[0]}")
    if not rest or rest[0] not in actions:
        problem = unknown(rest[0], rest[0], actions) if rest else f"what to do? One of: {', '.join(actions)}"
        raise ConfigError(f"{problem}; usage: convarium {first} {'|'.join(actions)} ...")
    return _load(f"{first} {rest[0]}"), rest[1:]


def _actions(first: str) -> list[str]:
    """The second words of the verbs of two words, `data fetch`."""
    return [name.partition(" ")[2] for name in VERBS if name.startswith(f"{first} ")]


def _load(name: str) -> "Verb":
    verb: Verb = import_module(f"convarium.commands.{name.replace(' ', '.').replace('-', '_')}").VERB
    return verb


def _help() -> str:
    lines = {}
    for name in VERBS[1:]:  # train stands above
        if (first := name.split()[0]) in TOGETHER:
            lines[f"convarium {first} {'|'.join(_actions(first))} ..."] = f"{TOGETHER[first]}: convarium {first} --help"
        else:
            verb = _load(name)
            lines[verb.synopsis] = verb.meaning
    return HELP.format(verbs="\n".join(f"  {synopsis:43}  {meaning}" for synopsis, meaning in lines.items()))
