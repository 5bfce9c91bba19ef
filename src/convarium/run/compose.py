"""From overrides to one checked, resolved, plain config. Hydra composes; here it is held against what the chosen yaml
files say, so that nothing unknown, mistyped or out of range passes. No torch here.

The private names of Hydra 1.3 that this needs (the defaults list, composing a part of it) are used in this file and in
`explain` only.
"""

import copy
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import yaml
from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from convarium.data import facts
from convarium.errors import ConfigError, RunError
from convarium.run.build import RULES, check_targets
from convarium.run.catalog import conf_dir
from convarium.run.checks import Choices, check
from convarium.run.identity import determines_result, leaves
from convarium.run.ranges import accepted, check_ranges, has_type, shown
from convarium.run.record import RunDirectory

ROOT = "train"  # conf/train.yaml
ABOVE_THE_BASELINE = (
    "recipe/",
    "study/",
    "hydra/",
)  # these change what the yaml files of the groups say
MAY_GROW = ("trainer.max_epochs", "trainer.max_steps")  # on resume
GROUPS_OF_A_RUN = tuple(name for name in RULES if name != "parts")


@dataclass(frozen=True)
class Composed:
    """One experiment, checked as far as it goes without torch."""

    config: dict[str, Any]  # resolved and plain; paths absolute
    choices: Choices  # group -> its member, or members
    overrides: list[str]  # what was asked for beyond the defaults


def compose(overrides: Sequence[str], config_dir: str | None = None) -> Composed:
    """Compose and check one experiment from command-line overrides; `config_dir` is searched besides conf/.

    Raises ConfigError with one line for anything that is not right.
    """
    return Conf(config_dir).compose(overrides)


class Conf:
    """The folder of groups as Hydra sees it; composing many experiments from one Conf reads and merges once."""

    def __init__(
        self,
        config_dir: str | None = None,
        loader: ConfigLoaderImpl | None = None,
        root: str = ROOT,
    ) -> None:
        self.root = root
        self.loader = loader or _loader(config_dir)
        facts.register()
        self._merged: dict[tuple[str, ...], DictConfig] = {}
        self._baselines: dict[tuple[str, ...], tuple[DictConfig, Choices]] = {}

    def compose(self, overrides: Sequence[str]) -> Composed:
        """Compose and check one experiment; raises ConfigError."""
        words = readable(overrides)
        with self.explained(words), self._active(self.merge(words)) as cfg:
            return self._complete(cfg, words)

    def complete(self, cfg: DictConfig, overrides: Sequence[str]) -> Composed:
        """Check and resolve what Hydra composed from `overrides`, without its `hydra` node; raises ConfigError.

        Hydra's own config must be the active one, as it is inside a task, for `${hydra:...}` to resolve.
        """
        with self.explained(overrides):
            return self._complete(cfg, overrides)

    @contextmanager
    def explained(self, overrides: Sequence[str]) -> Iterator[None]:
        """Turn what Hydra and OmegaConf raise about `overrides` into a ConfigError of one line."""
        from convarium.run.explain import explain

        try:
            yield
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            line = explain(error, self, overrides)
            if line is None:
                raise
            raise ConfigError(line) from error

    def _complete(self, cfg: DictConfig, overrides: Sequence[str]) -> Composed:
        baseline, choices = self._baseline(overrides)
        resolved = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
        given = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=False))
        for entries in (group for group, rule in RULES.items() if rule.entries):
            resolved.setdefault(entries, {})  # `logger=[]` leaves no key at all
            given.setdefault(entries, {})
        Comparison(self, baseline, choices).compare_all(given, resolved)
        _make_paths_absolute(resolved)
        check_config(resolved, choices)
        return Composed(resolved, choices, list(overrides))

    def members(self, group: str) -> list[str]:
        """The answers of a group, without those of its sub-folders."""
        return sorted(self.loader.get_group_options(group))

    @cached_property
    def groups(self) -> list[str]:
        """The names of all top-level groups."""
        return sorted(self.loader.get_group_options("", ObjectType.GROUP))

    def keys(self, overrides: Sequence[str]) -> tuple[dict[str, Any], Choices]:
        """What the yaml files chosen by `overrides` say, unresolved, and which files these are."""
        baseline, choices = self._baseline(overrides)
        return cast(dict[str, Any], OmegaConf.to_container(baseline, resolve=False)), choices

    def merge(self, overrides: Sequence[str]) -> DictConfig:
        """What Hydra's load_configuration returns; experiments that differ in values only are merged once."""
        groups, values = self._split(overrides)
        if groups not in self._merged:
            self._merged[groups] = self.loader.load_configuration(self.root, list(groups), RunMode.RUN)
        cfg = copy.deepcopy(self._merged[groups])
        self.loader.validate_sweep_overrides_legal(values, RunMode.RUN, from_shell=True)
        self.loader._apply_overrides_to_config(values, cfg)
        return cfg

    def _baseline(self, overrides: Sequence[str]) -> tuple[DictConfig, Choices]:
        groups, _ = self._split([word for word in overrides if not word.startswith("~")])
        if groups not in self._baselines:
            found = self.loader.compute_defaults_list(self.root, list(groups), RunMode.RUN)
            kept = [item for item in found.defaults if not (item.config_path or "").startswith(ABOVE_THE_BASELINE)]
            repository = CachingConfigRepository(self.loader.repository)
            cfg = self.loader._compose_config_from_defaults_list(defaults=kept, repo=repository)
            cfg.pop("hydra", None)
            choices: Choices = {
                group: member
                for group, member in found.overrides.known_choices.items()
                if member is not None and not group.startswith("hydra/")
            }
            for group in {
                str(item.config_path).partition("/")[0] for item in found.defaults if item.parent == self.root
            }:
                members = [
                    str(item.config_path).partition("/")[2]
                    for item in found.defaults
                    if item.parent == self.root and str(item.config_path).startswith(f"{group}/")
                ]
                if len(members) > 1 or (members and group not in choices):
                    choices[group] = members
            self._baselines[groups] = cfg, choices
        return self._baselines[groups]

    def _split(self, overrides: Sequence[str]) -> tuple[tuple[str, ...], list[Override]]:
        """Overrides that choose files (as text, for they are a key of the cache) and those that set values."""
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        chooses = [
            override.is_hydra_override()
            or (self.loader.repository.group_exists(override.key_or_group) and not isinstance(override.value(), dict))
            for override in parsed
        ]
        groups = tuple(str(override.input_line) for override, choice in zip(parsed, chooses, strict=True) if choice)
        return groups, [override for override, choice in zip(parsed, chooses, strict=True) if not choice]

    @contextmanager
    def _active(self, cfg: DictConfig) -> Iterator[DictConfig]:
        """Make `cfg`'s hydra node the one that `${hydra:...}` reads; yields the rest."""
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(cfg)
        try:
            rest = copy.deepcopy(cfg)
            with read_write(rest), open_dict(rest):
                del rest["hydra"]
            yield rest
        finally:
            HydraConfig.instance().cfg = before


class Comparison:
    """Hold a composed config against its baseline: the same keys, and every value of the type its yaml has."""

    def __init__(self, conf: Conf, baseline: DictConfig, choices: Choices) -> None:
        self.conf = conf
        self.baseline = baseline
        self.choices = choices

    def compare_all(self, given: dict[str, Any], resolved: dict[str, Any]) -> None:
        """Raise ConfigError at the first difference; integers given for floats become floats in `resolved`."""
        base = cast(dict[str, Any], OmegaConf.to_container(self.baseline, resolve=False))
        for entries in (group for group, rule in RULES.items() if rule.entries):
            base.setdefault(entries, {})
        self._compare_keys(base, given, resolved, "")

    def _compare_keys(
        self,
        base: dict[str, Any],
        given: dict[str, Any],
        resolved: dict[str, Any],
        key: str,
    ) -> None:
        from convarium.run.explain import unknown_key

        for name in base.keys() - given.keys():
            if key not in RULES or not RULES[key].entries:
                raise ConfigError(f"{_join(key, name)}: cannot be removed")
        for name, value in given.items():
            if name not in base:
                raise ConfigError(unknown_key(_join(key, name), base, self.choices, self.conf))
            resolved[name] = self._compare(base[name], value, resolved[name], _join(key, name))

    def _compare(self, base: Any, given: Any, value: Any, key: str) -> Any:
        from convarium.run.explain import unknown_key

        if isinstance(base, dict) and isinstance(given, dict):
            self._compare_keys(base, given, value, key)
            return value
        if base == given and type(base) is type(given) and not isinstance(base, float):
            return value  # the yaml's own value, or an interpolation whose source is checked where it stands
        if isinstance(base, dict):
            raise ConfigError(f"{key}={shown(value)}: expected the keys {', '.join(map(str, base))}")
        if isinstance(base, str) and base.startswith("${"):
            base = self._resolve(key)
        if isinstance(value, dict):
            first = next(iter(value), "")
            raise ConfigError(unknown_key(_join(key, str(first)), {}, self.choices, self.conf))
        return self._compare_type(base, value, key)

    def _resolve(self, key: str) -> Any:
        try:
            return OmegaConf.select(self.baseline, key)
        except OmegaConfBaseException:  # made from what is not there by default (a folder of images)
            return None

    def _compare_type(self, base: Any, value: Any, key: str) -> Any:
        entry = accepted(key)
        types = entry.types if entry and entry.types else () if base is None else (type(base),)
        if not types or (value is None and entry is not None and entry.null):
            return value
        if isinstance(base, list) and isinstance(value, list):
            kinds = {type(item) for item in base}
            if entry and entry.types:
                kinds = set(entry.types)
            for item in value:
                if kinds and not has_type(item, tuple(kinds)):
                    raise ConfigError(f"{key}={shown(value)}: expected {_names(kinds)} in the list, got {shown(item)}")
            return [float(item) if isinstance(item, int) and kinds == {float} else item for item in value]
        if not has_type(value, types) or (isinstance(base, list) != isinstance(value, list)):
            wanted = "list" if isinstance(base, list) else _names(types)
            got = "null" if value is None else type(value).__name__
            raise ConfigError(f"{key}={shown(value)}: expected {wanted}, got {got}")
        return float(value) if isinstance(value, int) and types == (float,) else value


def check_config(config: dict[str, Any], choices: Choices) -> None:
    """All checks of a resolved config that need no torch; raises ConfigError."""
    check_targets(config)
    check_ranges(config)
    check(config, choices)


def readable(words: Sequence[str]) -> list[str]:
    """Quote values that Hydra's grammar cannot read as they stand (paths with '=', unicode, '#', '~') or would take
    for a number where text is meant.
    """
    parser = OverridesParser.create()
    return [_readable(word, parser) for word in words]


def _readable(word: str, parser: OverridesParser) -> str:
    key, equals, value = word.partition("=")
    is_text = key.lstrip("+") in (
        "run_dir",
        "resume",
        "data.root",
        "name",
        "sweep.name",
        "weights",
    )
    if not equals or not value or key.startswith("~"):
        return word
    try:
        parsed = parser.parse_override(word)
    except HydraException:
        if not is_text and value[0] in "[{('\"":
            return word
        return f"{key}={_quoted(value)}"
    if is_text and not parsed.is_sweep_override() and isinstance(parsed.value(), (bool, int, float)):
        return f"{key}={_quoted(value)}"
    return word


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'") if "'" in value or value.endswith("\\") else value
    return f"'{escaped}'"


def resume_config(run_dir: Path, overrides: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The config with which a run goes on: its own config.yaml, changed by `overrides` given now.

    Returns the config and one line for each changed key. Keys that do not determine the result may change, and
    training may become longer; raises ConfigError for any other change, and RunError for a folder that holds no run.
    """
    run = RunDirectory.open(run_dir)
    frozen = read_config(run)
    frozen["run_dir"], frozen["resume"] = str(run.path), None
    if not overrides:
        return frozen, []
    conf = Conf()
    before = read_overrides(run)
    old = conf.compose(before)
    new = conf.compose([*before, *overrides])
    changed = []
    for key, now, then in _differences(frozen, old.config, new, readable(overrides)):
        may_grow = key in MAY_GROW and isinstance(now, int) and isinstance(then, int) and now > then
        if determines_result(key) and not may_grow and key != "trainer.max_time":
            longer = " (it may only grow)" if key in MAY_GROW else ""
            raise ConfigError(f"{key}={shown(now)}: cannot change on resume, the run has {shown(then)}{longer}")
        changed.append(f"{key}: {shown(then)} -> {shown(now)}")
        _set(frozen, key, now)
    check_config(frozen, new.choices)
    return frozen, changed


def _differences(
    frozen: dict[str, Any], old: dict[str, Any], new: Composed, overrides: Sequence[str]
) -> list[tuple[str, Any, Any]]:
    """(key, new value, the run's value) of what was named now, and of what follows from it by interpolation."""
    named = tuple(override.key_or_group for override in OverridesParser.create().parse_overrides(list(overrides)))
    then, before, now = leaves(frozen), leaves(old), leaves(new.config)
    missing = object()
    found = []
    for key in dict.fromkeys([*now, *then]):
        if key in ("run_dir", "resume"):
            continue
        asked = any(key == name or key.startswith(f"{name}.") for name in named)
        if not asked and now.get(key, missing) == before.get(key, missing):
            continue
        if now.get(key, missing) != then.get(key, missing):
            found.append((key, now.get(key), then.get(key)))
    return found


def _set(config: dict[str, Any], key: str, value: Any) -> None:
    *parents, name = key.split(".")
    for parent in parents:
        node = config.get(parent)
        config[parent] = node if isinstance(node, dict) else {}
        config = config[parent]
    if value is None:
        config.pop(name, None)
    else:
        config[name] = value


def read_config(run: RunDirectory) -> dict[str, Any]:
    """The config of a run, its targets checked. Raises RunError when it is not there or not one of ours."""
    config = run.config()
    lacking = [name for name in (*GROUPS_OF_A_RUN, "parts", "seed", "batch_size") if name not in config]
    if lacking or not all(isinstance(config[name], dict) for name in ("arch", "data", "trainer")):
        raise RunError(f"{run.config_file}: not the config of a run{f' (it lacks {lacking[0]})' if lacking else ''}")
    check_targets(config)
    return config


def read_overrides(run: RunDirectory) -> list[str]:
    """The overrides that a run was started with. Raises RunError when the file is not a list of them."""
    try:
        overrides = yaml.safe_load(run.overrides_file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise RunError(f"{run.overrides_file}: cannot be read ({type(error).__name__})") from error
    if not isinstance(overrides, list) or not all(isinstance(word, str) for word in overrides):
        raise RunError(f"{run.overrides_file}: not a list of overrides")
    return overrides


def _make_paths_absolute(config: dict[str, Any]) -> None:
    """Against the current folder, once: nothing later depends on where a process stands."""
    for node, name in (
        (config, "run_dir"),
        (config, "resume"),
        (config["data"], "root"),
    ):
        if isinstance(node, dict) and isinstance(node.get(name), str) and node[name]:
            node[name] = os.path.abspath(os.path.expanduser(node[name]))


def _loader(config_dir: str | None) -> ConfigLoaderImpl:
    version.setbase("1.3")
    setup_globals()  # the `hydra` resolver
    path = create_config_search_path(f"file://{conf_dir()}")
    if config_dir is not None:
        if not os.path.isdir(config_dir):
            raise ConfigError(f"--config-dir {config_dir}: no such folder")
        path.prepend(
            "command-line",
            f"file://{os.path.abspath(config_dir)}",
            SearchPathQuery(provider="schema"),
        )
    return ConfigLoaderImpl(path)


def _join(key: str, name: Any) -> str:
    return f"{key}.{name}" if key else str(name)


def _names(types: Sequence[type] | set[type]) -> str:
    return " or ".join(sorted(kind.__name__ for kind in types))
