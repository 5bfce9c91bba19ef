"""The config with which a run goes on: its own, and what is said beside `resume=`. No torch here."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from convarium.config.accepts import shown
from convarium.config.compose import Composed, Conf, check_config
from convarium.config.identity import may_change
from convarium.config.keys import GROWS, LAYOUT, Part, check_values, has_part, leaves
from convarium.config.overrides import keys_of, quoted, readable, values_of
from convarium.config.resolvers import outward, own_cache
from convarium.config.targets import RULES, check_targets
from convarium.errors import ConfigError, RunError
from convarium.files import read_regular
from convarium.run.directory import RunDirectory
from convarium.wording import one_line
from convarium.yaml_text import parse

MISSING = object()


class Change(NamedTuple):
    """A key whose value is not that of the run; MISSING where there is no such key."""

    key: str
    then: Any
    now: Any


def resume_config(
    run_dir: Path, overrides: Sequence[str], config_dir: str | None = None
) -> tuple[dict[str, Any], list[str], list[str]]:
    """The config of a run, changed by the overrides given now; all its overrides; and a line for each key that changed.

    Keys that do not determine the result may change, and training may become longer. Raises ConfigError for any other
    change, RunError for a folder that holds no run.
    """
    run = RunDirectory.open(run_dir)
    frozen = read_config(run, overrides)
    frozen["run_dir"], frozen["resume"] = str(run.path), None
    if not overrides:
        check_outward(run, frozen, ())
        return frozen, read_overrides(run), []
    words = readable(overrides)
    for word in words:
        if word.lstrip("+").startswith("run_dir="):
            raise ConfigError(f"{word}: a run goes on in its own folder; leave it out")
    conf = Conf(config_dir or frozen.get("config_dir"))
    before = overrides_from_here(run, frozen, words)
    old, new = conf.compose(before), conf.compose([*_still_meant(before, words), *words])
    changes = _changes(frozen, old, new, words)
    for change in changes:
        _allow(change)
    for change in changes:
        if change.now is MISSING:
            _drop(frozen, change.key)
    for change in changes:
        if change.now is not MISSING:
            _put(frozen, change.key, change.now)
    check_config(frozen, new.choices)
    check_outward(run, frozen, overrides)
    lines = [
        f"{key}: {_shown(then)} -> {_shown(now)}"
        for key, then, now in changes
        if _shown(then) != _shown(now) and not key.startswith("choices.")
    ]
    return frozen, [*_still_meant(read_overrides(run), words), *overrides], lines


def _still_meant(before: Sequence[str], words: Sequence[str]) -> list[str]:
    """The earlier overrides without those inside a group that `words` choose nothing of: stop=none has no patience."""
    empty = [group for group, value in values_of(words).items() if value in (None, "none", [])]
    within = tuple(f"{group}." for group in empty)
    return [word for word, key in zip(before, keys_of(readable(before)), strict=True) if not key.startswith(within)]


def overrides_from_here(run: RunDirectory, frozen: dict[str, Any], words: Sequence[str]) -> list[str]:
    """The overrides that a run was started with, to be composed together with `words` in any current folder."""
    overrides = read_overrides(run)
    if "root" in frozen["data"] and not any(word.startswith("data=") for word in words):
        overrides.append(f"data.root={quoted(frozen['data']['root'])}")  # it was relative to another current folder
    if frozen.get("weights"):
        overrides.append("weights=null")  # they have been loaded, and what they asked for is in the config
    return overrides


def read_config(run: RunDirectory, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The config of a run, its targets and values checked. Raises RunError when it is not there or not one of ours.

    It may be somebody else's: what was decoded is kept where this person keeps it, unless `overrides` name data.cache.
    """
    config = run.config()
    lacking = [name for name in (*RULES, "seed", "batch_size") if name not in config]
    if lacking or not all(isinstance(config[name], dict) for name in ("arch", "data", "trainer")):
        raise RunError(f"{run.config_file}: not the config of a run{f' (it lacks {lacking[0]})' if lacking else ''}")
    check_targets(config)
    check_values(config)
    if config["data"].get("cache") and "data.cache" not in _typed(overrides):
        config["data"]["cache"] = own_cache()
    return config


def check_outward(run: RunDirectory, config: dict[str, Any], overrides: Sequence[str], part: Part = LAYOUT) -> None:
    """Refuse what the config of a run, maybe somebody else's, says of where something is kept or sent, unless overrides
    name the key. part: of which keys; raises ConfigError.
    """
    for key, value in outward(config).items():
        if key not in _typed(overrides) and has_part(key, part):
            meant = f"if you mean it, add {key}={value}; of a sweep, give its command again"
            raise ConfigError(f"{key}={value}: is what {run.config_file} says; {meant}")


def _typed(overrides: Sequence[str]) -> list[str]:
    return [word.lstrip("+").partition("=")[0] for word in overrides]


def read_overrides(run: RunDirectory) -> list[str]:
    """The overrides that a run was started with. Raises RunError when the file is not a list of them."""
    try:
        overrides = parse(read_regular(run.overrides_file).decode())
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise RunError(f"{run.overrides_file}: cannot be read: {one_line(error)}") from error
    if not isinstance(overrides, list) or not all(isinstance(word, str) for word in overrides):
        raise RunError(f"{run.overrides_file}: not a list of overrides")
    return overrides


def _changes(frozen: dict[str, Any], old: Composed, new: Composed, overrides: Sequence[str]) -> list[Change]:
    """What was named now, and what follows from it by interpolation, where it differs from the run.

    Yaml files may have changed since the run began: a difference that no override asked for is none.
    """
    named = keys_of(overrides)
    then, before, now = leaves(frozen), leaves(old.config), leaves(new.config)
    changes = []
    for key in sorted(dict.fromkeys([*now, *then]), key=lambda key: key.count(".")):  # a source before its copies
        asked = any(key == name or key.startswith(f"{name}.") for name in named)
        moved = now.get(key, MISSING) != before.get(key, MISSING)
        if (asked or moved) and now.get(key, MISSING) != then.get(key, MISSING) and key not in ("run_dir", "resume"):
            changes.append(Change(key, then.get(key, MISSING), now.get(key, MISSING)))
    return changes


def _allow(change: Change) -> None:
    key, then, now = change
    grows = has_part(key, GROWS)
    if may_change(key) and (not grows or now == -1 or (then != -1 and now > then)):
        return
    verb = "become less" if grows else "change"
    raise ConfigError(f"{key}={_shown(now)}: cannot {verb} on resume, the run has {_shown(then)}")


def _shown(value: Any) -> str:
    return "nothing" if value is MISSING or value is None else shown(value)


def _put(config: dict[str, Any], key: str, value: Any) -> None:
    *parents, name = key.split(".")
    for parent in parents:
        if not isinstance(config.get(parent), dict):
            config[parent] = {}
        config = config[parent]
    config[name] = value


def _drop(config: dict[str, Any], key: str) -> None:
    """Remove a key, and the parents that hold nothing more."""
    name, _, rest = key.partition(".")
    if rest and isinstance(config.get(name), dict):
        _drop(config[name], rest)
        if not config[name]:
            del config[name]
    else:
        config.pop(name, None)
