"""What Hydra's errors mean, in one line: the key, the value, what is accepted, the nearest valid spelling.

Only an error pays for this: options are listed and configs composed again here, never on the good path.
"""

import difflib
import re
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from convarium.config.catalog import entries
from convarium.config.groups import Choices, Groups
from convarium.config.habits import KEYS, OWN, answer, meant
from convarium.config.keys import leaves, row
from convarium.config.overrides import parse
from convarium.config.targets import RULES
from convarium.errors import ConfigError
from convarium.wording import first_line, nearest, plain


def explain(error: Exception, groups: Groups, overrides: Sequence[str]) -> str | None:
    """One line for an error that composing `overrides` raised; None if it is none of Hydra's or OmegaConf's."""
    own = _own_error(error)
    if own is not None:
        return str(own)
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override, groups)
    if isinstance(error, MissingConfigException):
        return _unknown_member(error, groups)
    if isinstance(error, ConfigCompositionException):
        return _composition(error, groups, _parsed(overrides), overrides)
    if isinstance(error, OmegaConfBaseException):
        for override in _parsed(overrides):
            if override.is_delete() and f"'{override.key_or_group}" in str(error):  # others are made from it
                return _cannot_be_removed(override.key_or_group, groups)
        return f"{error.full_key}: {first_line(error)}" if error.full_key else first_line(error)
    if isinstance(error, ValueError):
        return _wrong_value(error, groups, _parsed(overrides))
    return first_line(error) if isinstance(error, HydraException) else None


def unknown_key(key: str, siblings: dict[str, Any], choices: Choices, groups: Groups) -> str:
    """The line for a key that the chosen yaml files do not have; `siblings` are the keys beside it."""
    group, _, inside = key.partition(".")
    name = key.rpartition(".")[2]
    habit = meant(key)
    if not habit and group in RULES and RULES[group].entries and group == key.rpartition(".")[0]:
        if name in groups.members(group):
            add = f"+{group}={name}" if isinstance(choices.get(group), list) else f"{group}={name}"
            return f"{key}: '{name}' is not chosen; add {add}"
        if bringing := _bringing(group, name, groups):
            return f"{key}: not chosen; {bringing}"
        if deeper := [path for path in leaves(siblings) if path.rpartition(".")[2] == name]:
            return f"{key}: no such key; did you mean '{group}.{deeper[0]}'?"
        return f"{key}: unknown{nearest(name, groups.members(group))} One of: {', '.join(groups.members(group))}"
    if name in ("True", "False"):
        return f"{key}: yaml takes a key on, off, yes or no for a truth value; write it in quotes: 'on'"
    if habit:
        return f"{key}: is called otherwise here; write {habit}"
    chosen = choices.get(group)
    where = f" in {group}={chosen}" if isinstance(chosen, str) else ""
    own = OWN.get(group, "")
    near = f"; write {own}" if f" {key}=" in own else ""
    if inside == name and not near and (bringing := _bringing(group, name, groups)):
        near = f"; {bringing}"
    if inside and not siblings:
        return f"{key}:{where.replace(' in', '', 1) or f' {group}'} takes no such key{near}"
    beside = [str(sibling) for sibling in siblings if not str(sibling).startswith("_")]
    near = f"{near}." if near else nearest(name, beside)
    if near == "." and inside and (habit := meant(name)):
        near = f"; write {habit}."
    return f"{key}: no such key{where}{near} Accepted: {', '.join(beside)}"


def _bringing(group: str, name: str, groups: Groups) -> str:
    """Which answers of a group have a key; empty if none has."""
    members = [member for member in groups.members(group) if name in entries(group, member)]
    return f"brought by {group}={' or '.join(members)}" if members else ""


def _own_error(error: BaseException | None) -> ConfigError | None:
    """A ConfigError that one of our resolvers raised, inside OmegaConf's wrapping."""
    while error is not None and not isinstance(error, ConfigError):
        error = error.__cause__ or error.__context__
    return error


def _parsed(overrides: Sequence[str]) -> list[Override]:
    try:
        return parse(overrides)
    except HydraException:
        return []


def _unreadable(word: str, groups: Groups) -> str:
    if "=" not in word.lstrip("=") and not word.startswith("~"):
        means = [f"; did you mean {group}={word}?" for group in groups.groups if word in groups.members(group)]
        if word in groups.groups or row(word) or meant(word):
            means = [f"; write {meant(word) or f'{word}=...'}, without spaces around '='"]
        return f"{word}: not of the form key=value{means[0] if means else ''}"
    return f"{word}: cannot be read as key=value; put the value in quotes inside the shell's: \"key='...'\""


def _unknown_member(error: MissingConfigException, groups: Groups) -> str:
    path = error.missing_cfg_file or ""
    group, _, member = path.rpartition("/")
    if not group:
        word = f"--config-name {path}" if path == groups.root else path
        roots = [name for name in groups.members("") if not name.startswith("_")]  # Hydra has one of its own
        return f"{word}: no such config{nearest(path, roots)} One of: {', '.join(roots)}"
    written = f"{group}={member}" if group.startswith("hydra/") else path.replace("/", "=", 1)  # optimizer=paper/sgd
    if not groups.members(group) or not set(group.split("/")).isdisjoint({"", ".", ".."}):  # the path of a file
        (group, _, typed), member = path.partition("/"), member.removesuffix(".yaml")
        if group in OWN and member not in groups.members(group):
            return f"{written}: an answer is a name, not a path; write {OWN[group].replace('FOLDER', typed)}"
    ours = member if member in groups.members(group) else answer(group, member)
    elsewhere = meant(member)
    near = f"; write {elsewhere}." if elsewhere and not ours else nearest(member, groups.members(group), ours)
    return f"{written}: unknown{near} {_listed(group, groups)}"


def _listed(group: str, groups: Groups) -> str:
    """The answers of a group, as far as they go on a few lines."""
    members = groups.members(group)
    return f"One of: {', '.join(members)}" if len(members) < 25 else f"All {len(members)}: convarium list {group}"


def _wrong_value(error: ValueError, groups: Groups, parsed: list[Override]) -> str | None:
    """A ValueError of Hydra (a group set to null) or of OmegaConf (a key inside a list) does not say which override."""
    if str(error).startswith(("Only one of --", "The --resolve flag")):
        return first_line(error)
    for override in parsed:
        group = override.key_or_group
        if not group:
            return _unreadable(str(override.input_line), groups)
        if group in groups.groups and not isinstance(override.value(), (str, list, dict)):
            near = nearest("", (), answer(group, str(override.value())))
            return f"{override.input_line}: not an answer{near} {_listed(group, groups)}"
        try:
            groups.merge([str(override.input_line)])
        except ValueError:
            return f"{override.input_line}: {first_line(error)}"
        except HydraException:
            continue
    return None


def _composition(
    error: ConfigCompositionException, groups: Groups, parsed: list[Override], overrides: Sequence[str]
) -> str:
    text, cause = str(error), error.__cause__

    def added(group: str, note: str = "") -> str:
        """The line for a `+group=…` where the plus is not wanted."""
        word = next((str(item.input_line) for item in parsed if item.key_or_group == group and item.is_add()), None)
        return f"{word}:{note} write {word.lstrip('+')}" if word else first_line(error)

    if isinstance(cause, OmegaConfBaseException) and not text:
        return first_line(cause)
    if match := re.match(r"Could not override '(.+?)'", text):
        return _no_such_key(match[1], getattr(cause, "full_key", None) or match[1], groups, parsed, overrides)
    if match := re.match(r"(?:Multiple values for )?(\S+?)\.?(?: To override| appears more than once)", text):
        return added(match[1])
    if match := re.match(r"Could not append to config. An item is already at '(.+?)'", text):
        return added(match[1], " exists already;")
    if match := re.match(r"force-add of config groups is not supported: '\++(.+?)'", text):
        return f"++{match[1]}: write {match[1]}"
    if match := re.match(r"Ambiguous value for argument '(.+?)=(.*)'", text):
        return f"{match[1]}={match[2]}: several values are a sweep: add -m; one list is {match[1]}=[{match[2]}]"
    if match := re.match(r"Sweep parameters '(.+?)' requires --multirun", text):
        return f"{match[1]}: several values are a sweep: add -m"
    if match := re.match(r"Could not delete (?:from config\. )?'(.+?)'", text):
        return _cannot_be_removed(match[1], groups)
    if isinstance(cause, OmegaConfBaseException):
        return f"{text.removeprefix('Error merging override ')}: {first_line(cause)}"
    return first_line(error)


def _cannot_be_removed(key: str, groups: Groups) -> str:
    """The line for a `~key`, with the answers that stand for nothing."""
    group = key.partition("=")[0]
    if group not in groups.groups:
        return f"~{key}: {'cannot be removed' if row(group) else 'no such key'}"
    nothing = " or ".join(f"{group}={name}" for name in ("paper", "none") if name in groups.members(group))
    if group in RULES and RULES[group].entries:
        nothing = f"{group}=[]"
    return f"~{key}: cannot be removed{f'; write {nothing}' if nothing else ''}"


def _no_such_key(named: str, key: str, groups: Groups, parsed: list[Override], overrides: Sequence[str]) -> str:
    """Compose without the override `named`, and look which keys there are where `key` is not."""
    rest = [
        f"{override.key_or_group}={next(override.sweep_string_iterator())}" if override.is_sweep_override() else word
        for word, override in zip(overrides, parsed, strict=True)
        if override.key_or_group != named.partition("@")[0]
    ]
    if key.startswith("hydra"):
        return f"{key}: Hydra has no such key"
    if named not in groups.groups and (habit := _meant(named, groups, parsed)):
        return f"{named}: is called otherwise here; write {habit}"
    if "/" in key:  # a folder inside a group: its members are named through the group
        group, _, inside = key.partition("/")
        value = next((override.value() for override in parsed if override.key_or_group == key), "...")
        return f"{key}: no such group; write {group}={inside}/{value}"
    _, node, choices = groups.baseline(rest)
    level: Any = node
    parts = key.split(".")
    for depth, part in enumerate(parts):
        if not isinstance(level, dict):
            return unknown_key(key, {}, choices, groups)
        if part not in level:
            if depth == 0:
                return _no_such_top_key(key, node, groups)
            return unknown_key(".".join(parts[: depth + 1]), level, choices, groups)
        level = level[part]
    return f"{key}: no such key"


def _meant(key: str, groups: Groups, parsed: list[Override]) -> str | None:
    """What to write in the place of a key from elsewhere, with its value where that is an answer; of `model.lr` and
    `model.depth` too."""
    head, _, inside = key.partition(".")
    group = KEYS.get(key if not inside else head, "")
    if inside and group in groups.groups:
        return meant(key) or meant(inside) or f"{group}.{inside}=..."
    typed = next((str(override.value()) for override in parsed if override.key_or_group == key), "")
    members = groups.members(group) if group in groups.groups else []
    value = next((name for name in members if plain(name) == plain(typed)), answer(group, typed))
    return meant(key, value or "...")


def _no_such_top_key(key: str, node: dict[str, Any], groups: Groups) -> str:
    """Often a key of a group without the group (`lr`), or nearly a group's name."""
    if key == "study":  # study=none leaves no key
        return f"study: none is chosen; write study=NAME too. {_listed(key, groups)}"
    if key in groups.groups:
        return f"{key}: a group of your own, which conf/train.yaml does not have; write +{key}=NAME"
    if habit := meant(key):
        return f"{key}: is called otherwise here; write {habit}"
    deeper = [path for path in leaves(node) if path.rpartition(".")[2] == key]
    if deeper:
        return f"{key}: no such key; did you mean '{deeper[0]}'?"
    top = [*dict.fromkeys([*node, *groups.groups])]
    ends = {path.rpartition(".")[2]: path for path in leaves(node) if not path.startswith("parts.")}
    near = difflib.get_close_matches(key, [*top, *ends], n=1)
    if near:
        return f"{key}: no such key; did you mean '{near[0] if near[0] in top else ends[near[0]]}'?"
    return f"{key}: no such key. Accepted: {', '.join(top)}"
