"""`convarium completion SHELL`: what makes a shell complete verbs, keys and answers at the Tab key. No torch here."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from itertools import pairwise
from pkgutil import iter_modules
from typing import Any

from convarium import commands
from convarium.commands.words import Verb, Words
from convarium.config.catalog import groups, members
from convarium.config.keys import DERIVED, KEYS, accepted, has_part, leaves
from convarium.wording import unknown

SHELLS = {
    # bash takes what stands before the last = or : for a word of its own
    "bash": """\
_convarium() {
    local line=${COMP_LINE:0:COMP_POINT} before= word
    local last=${line##*[[:space:]]}
    [[ $COMP_WORDBREAKS == *=* ]] && before=${last%"${last##*[=:]}"}
    COMPREPLY=()
    while IFS= read -r word; do
        COMPREPLY+=("${word#"$before"}")
    done < <("${COMP_WORDS[0]/#\\~/$HOME}" completion bash "$line" 2>/dev/null)
}
complete -o nospace -o default -F _convarium convarium
""",
    "zsh": """\
whence compdef >/dev/null || { autoload -Uz compinit && compinit; }
_convarium() {
    local -a found
    found=("${(@f)$(${~words[1]} completion zsh "${(j: :)words[1,CURRENT-1]} $PREFIX" 2>/dev/null)}")
    if [[ -n $found ]]; then
        compadd -Q -S '' -a found
    else
        compset -P '*='
        _files
    fi
}
compdef _convarium convarium
""",
    "fish": "complete -c convarium -a '(convarium completion fish (commandline -cp | string collect))'\n",
}
FLAGS: dict[str, tuple[str, ...] | None] = {
    **dict.fromkeys(("--multirun", "-m", "--resolve", "--hydra-help")),
    "--cfg": ("job", "hydra", "all"),
    **dict.fromkeys(("--config-dir", "--package"), ()),
}
"""Options of `convarium train`; the words that may follow, none where a folder or a name does, None where nothing."""


def run(words: Words) -> None:
    """Print the lines that a shell evaluates; of a command line, what may stand at its end."""
    if not words.positions:
        raise VERB.misused(f"for which shell? One of: {', '.join(SHELLS)}")
    shell, *lines = words.positions
    if shell not in SHELLS:
        raise VERB.misused(unknown(shell, shell, SHELLS))
    if not lines:
        print(SHELLS[shell], end="")
        return
    for word in candidates(lines[0]):
        goes_on = word[-1] in "=." or "[" in word or shell == "fish"  # which adds the space itself
        print(word if goes_on else f"{word} ")


def _verbs(folder: str = commands.__path__[0], first: str = "") -> Iterator[str]:
    """Every verb: a file of the folder, those of two words in a folder of the first."""
    for module in iter_modules([folder]):
        if module.ispkg:
            yield from _verbs(f"{folder}/{module.name}", f"{module.name} ")
        elif module.name != "words":
            yield first + module.name.replace("_", "-")


def candidates(line: str) -> list[str]:
    """What the last word of a command line may become; one that ends in = or . goes on."""
    words = line.split()[1:]
    last = words.pop() if words and not line[-1].isspace() else ""
    return [word for word in dict.fromkeys(_offered(words, last)) if word.startswith(last)]


def _offered(words: list[str], last: str) -> Iterable[str]:
    verbs = list(_verbs())
    name = next((name for name in verbs if words[: name.count(" ") + 1] == name.split()), None)
    if name is None:
        after = f"{words[0]} " if words else ""
        nexts = [verb.removeprefix(after).partition(" ")[0] for verb in verbs if verb.startswith(after)]
        return [*nexts, "--help", *([] if words else ["--version"])] if len(words) < 2 else []
    words = words[name.count(" ") + 1 :]
    if name == "train":
        if words and words[-1] in FLAGS and FLAGS[words[-1]] is not None:
            return FLAGS[words[-1]] or ()
        return ["--help", *FLAGS] if last[:1] == "-" else _overrides(words, last, None)
    verb: Verb = import_module(f"convarium.commands.{name.replace(' ', '.').replace('-', '_')}").VERB
    verb = verb.narrowed(words) or verb
    if last[:1] == "-":
        return ["--help", *(["--json"] if "format" in verb.options else [])]
    key, equals, _ = last.partition("=")
    if equals and key in verb.options:
        return [f"{key}={value}" for value in verb.options[key].accepted]
    options = [f"{option}=" for option in verb.options]
    return [*verb.offers(), *options, *(_overrides(words, last, verb) if verb.groups else ())]


def _overrides(words: list[str], last: str, verb: Verb | None) -> Iterable[str]:
    """Keys, answers of groups and values of keys; `verb`: of its groups alone, and the keys that it takes."""
    sign, key, equals, value = re.findall(r"^([+~]*)([^=]*)(=?)(.*)", last)[0]

    def is_taken(key: str) -> bool:
        return verb is None or (key.partition(".")[0] in verb.groups and verb.takes(key))

    if equals and not is_taken(key):
        return []
    if equals:
        kept = last.removesuffix(re.split(r"[\[,]", value)[-1])  # of several answers the last one goes on
        return [f"{kept}{answer}" for answer in _answers(key) or _values(key, words)]
    if "." in key:
        return [f"{sign}{name}=" for name in _keys(words) if is_taken(name)]
    choices = [group for group in groups() if "/" not in group or group.startswith("hydra/")]
    inside = dict.fromkeys(name.partition(".")[0] for name in KEYS if "." in name and name[0] != "*")
    plain = [name for name in KEYS if "." not in name and name not in inside and not has_part(name, DERIVED)]
    names = [*(f"{name}=" for name in dict.fromkeys([*choices, *plain])), *(f"{name}." for name in inside)]
    return [f"{sign}{name}" for name in names if verb is None or name[:-1] in verb.groups]


def _answers(group: str) -> list[str]:
    """Those of a group, and of the folders in it (`optimizer=recipe/...`)."""
    inside = [each for each in groups() if f"{each}/".startswith(f"{group}/")]
    return [f"{each}/{name}".removeprefix(f"{group}/") for each in inside for name in members(each)]


def _values(key: str, words: list[str]) -> Iterable[str]:
    accepts = accepted(key)
    if accepts is not None and accepts.words:
        return accepts.words
    return ("true", "false") if isinstance(_keys(words).get(key), bool) else ()


def _keys(words: Sequence[str]) -> dict[str, Any]:
    """The keys that the words before have chosen; where they cannot be composed, those of the defaults."""
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    from convarium.config.compose import Conf
    from convarium.config.overrides import readable

    plain = readable([word for word in words if "=" in word and not word.startswith("-")])
    for overrides in (plain, []):
        with suppress(Exception):  # a shell shows no errors
            conf = Conf(_after("--config-dir", words))
            whole = conf.loader.load_configuration(conf.root, overrides, RunMode.MULTIRUN, False, False)
            values = leaves(OmegaConf.to_container(whole))
            return {key: value for key, value in values.items() if _may_be_set(key)}
    return {}


def _after(flag: str, words: Sequence[str]) -> str | None:
    """The value of an option, written in one word or in two."""
    pairs = [*pairwise(words), *(word.partition("=")[::2] for word in words)]
    return next((value for name, value in pairs if name == flag and value), None)


def _may_be_set(key: str) -> bool:
    return not (has_part(key, DERIVED) or key.startswith("hydra.") or key.rpartition(".")[2].startswith("_"))


VERB = Verb(
    name="completion",
    meaning='let a shell complete words at the Tab key: eval "$(convarium completion bash)"',
    run=run,
    positions="bash|zsh|fish [LINE]",
    offers=lambda: SHELLS,
    example="convarium completion zsh",
)
