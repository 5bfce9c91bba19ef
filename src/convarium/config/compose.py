"""From overrides to one checked, resolved, plain config. Hydra composes; here it is held against what the chosen yaml
files say, so that nothing unknown, mistyped or out of range passes. No torch here.

The private names of Hydra 1.3 that this needs (the defaults list, composing a part of it) are used in this file and in
`explain` only.
"""

import copy
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from string import Template
from typing import Any, NamedTuple, cast

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.default_element import ResultDefault
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from convarium.config.baseline import Baseline, Comparison
from convarium.config.catalog import conf_dir
from convarium.config.identity import leaves
from convarium.config.instantiate import RULES, check_targets
from convarium.config.keys import RANGES, check_ranges
from convarium.config.rules import Choices, check, check_choices, check_test
from convarium.data import facts
from convarium.errors import ConfigError

ROOT = "train"  # conf/train.yaml
ABOVE_THE_BASELINE = (
    "recipe/",
    "study/",
    "hydra/",
)  # these change what the yaml files of the groups say


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
        self._merged: dict[tuple[str, ...], Merged] = {}
        self._baselines: dict[tuple[str, ...], Baseline] = {}

    def compose(self, overrides: Sequence[str], *, to_train: bool = True) -> Composed:
        """Compose and check one experiment; raises ConfigError.

        Without `to_train` the conditions between keys, which are those of training, are left out.
        """
        words = readable(overrides)
        with self.explained(words), self._composed(words) as (cfg, _):
            return self._complete(cfg, words, to_train=to_train)

    def check_hydra(self, overrides: Sequence[str]) -> None:
        """Before Hydra runs: what it would import and call by itself must be its own; raises ConfigError.

        Recipes, studies and `--config-dir` may come from somebody else; their `hydra` node is carried out before any
        task is called.
        """
        with self.explained(overrides):
            mode = RunMode.MULTIRUN  # composes whatever is swept with its default
            _check_hydra(
                self.loader.load_configuration(self.root, list(overrides), mode, validate_sweep_overrides=False)
            )

    def complete(self, cfg: DictConfig, overrides: Sequence[str]) -> Composed:
        """Check and resolve what Hydra composed from `overrides`, without its `hydra` node; raises ConfigError.

        Hydra's own config must be the active one, as it is inside a task, for `${hydra:...}` to resolve.
        """
        with self.explained(overrides):
            return self._complete(cfg, overrides)

    @contextmanager
    def explained(self, overrides: Sequence[str]) -> Iterator[None]:
        """Turn what Hydra and OmegaConf raise about `overrides` into a ConfigError of one line."""
        from convarium.config.hydra_errors import explain

        try:
            yield
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            line = explain(error, self, overrides)
            if line is None:
                raise
            raise ConfigError(line) from error

    def _complete(self, cfg: DictConfig, overrides: Sequence[str], *, to_train: bool = True) -> Composed:
        composed = self._checked(cfg, overrides, to_train=to_train)
        if not composed.config.get("weights"):
            return composed
        from convarium.run.pretrained import Adopted  # reads them, with torch

        adopted = Adopted(composed.config)
        given = {word.key_or_group: word.value() for word in OverridesParser.create().parse_overrides(list(overrides))}
        words = [*adopted.words(given), *overrides]
        with self._composed(words) as (again, _):
            settled = self._checked(again, words, to_train=to_train)
        adopted.check(settled.config)
        return replace(settled, overrides=composed.overrides)

    def _checked(self, cfg: DictConfig, overrides: Sequence[str], *, to_train: bool) -> Composed:
        baseline = self._baseline(overrides)
        resolved = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
        given = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=False))
        for entries in (group for group, rule in RULES.items() if rule.entries):
            resolved.setdefault(entries, {})  # `logger=[]` leaves no key at all
            given.setdefault(entries, {})
        Comparison(self, baseline).compare_all(given, resolved)
        _make_paths_absolute(resolved)
        check_config(resolved, baseline.choices, to_train=to_train)
        _require_weights(resolved)
        return Composed(resolved, baseline.choices, list(overrides))

    def help(self, overrides: Sequence[str], *, resolve: bool = False) -> str:
        """What --help shows of an experiment. Hydra's own takes twice as long: it begins anew for every group."""
        with self.explained(overrides), self._composed(overrides) as (cfg, whole):
            answers = "".join(f"{group}: {', '.join(self.members(group))}\n" for group in self.groups)
            template = Template(whole.hydra.help.template)
            return template.safe_substitute(APP_CONFIG_GROUPS=answers, CONFIG=OmegaConf.to_yaml(cfg, resolve=resolve))

    def members(self, group: str) -> list[str]:
        """The answers of a group, without those of its sub-folders."""
        return sorted(self.loader.repository.get_group_options(group))

    @cached_property
    def groups(self) -> list[str]:
        """The names of all groups that are keys of an experiment, and recipe and study."""
        return sorted(set(self.loader.repository.get_group_options("", ObjectType.GROUP)) - {"hydra"})

    def keys(self, overrides: Sequence[str]) -> tuple[dict[str, Any], Choices]:
        """What the yaml files chosen by `overrides` say, unresolved, and which files these are."""
        baseline = self._baseline(overrides)
        return copy.deepcopy(baseline.plain), baseline.choices

    def merge(self, overrides: Sequence[str]) -> DictConfig:
        """What Hydra's load_configuration returns; experiments that differ in values only are merged once."""
        groups, values = self._split(overrides)
        return self._with_values(self._of(groups).whole, values)

    @contextmanager
    def _composed(self, overrides: Sequence[str]) -> Iterator[tuple[DictConfig, DictConfig]]:
        """An experiment without its hydra node, which is the active one meanwhile, and what it was merged from."""
        groups, values = self._split(overrides)
        merged = self._of(groups)
        before = HydraConfig.instance().cfg
        HydraConfig.instance().cfg = merged.hydra
        try:
            yield self._with_values(merged.rest, values), merged.whole
        finally:
            HydraConfig.instance().cfg = before

    def _of(self, groups: tuple[str, ...]) -> "Merged":
        """The yaml files that these overrides choose, merged."""
        if groups not in self._merged:
            whole = self.loader.load_configuration(self.root, list(groups), RunMode.RUN)
            _check_hydra(whole)
            self._merged[groups] = Merged.of(whole)
        return self._merged[groups]

    def _with_values(self, cfg: DictConfig, values: list[Override]) -> DictConfig:
        cfg = copy.deepcopy(cfg)
        self.loader.validate_sweep_overrides_legal(values, RunMode.RUN, from_shell=True)
        self.loader._apply_overrides_to_config(values, cfg)
        return cfg

    def _baseline(self, overrides: Sequence[str]) -> Baseline:
        groups, _ = self._split([word for word in overrides if not word.startswith("~")])
        if groups not in self._baselines:
            found = self.loader.compute_defaults_list(self.root, list(groups), RunMode.RUN)
            kept = [item for item in found.defaults if not (item.config_path or "").startswith(ABOVE_THE_BASELINE)]
            _, repository = self.loader._parse_overrides_and_create_caching_repo(self.root, list(groups))
            cfg = self.loader._compose_config_from_defaults_list(defaults=kept, repo=repository)
            cfg.pop("hydra", None)
            choices: Choices = {}
            for group, member in found.overrides.known_choices.items():
                if member is not None and not group.startswith("hydra/"):
                    choices[group] = member
            for group, members in _several(found.defaults, self.root).items():
                choices[group] = members
            plain = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=False))
            self._baselines[groups] = Baseline(cfg, plain, choices)
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


class Merged(NamedTuple):
    """What is the same for all experiments of the same groups."""

    whole: DictConfig
    hydra: Any
    """Its hydra node in the form in which `${hydra:...}` reads it."""
    rest: DictConfig

    @classmethod
    def of(cls, whole: DictConfig) -> "Merged":
        """Take apart what Hydra has merged."""
        before = HydraConfig.instance().cfg
        try:
            HydraConfig.instance().set_config(whole)
            hydra = HydraConfig.instance().cfg
        finally:
            HydraConfig.instance().cfg = before
        rest = copy.deepcopy(whole)
        with read_write(rest), open_dict(rest):
            del rest["hydra"]
        return cls(whole, hydra, rest)


def _check_hydra(cfg: DictConfig) -> None:
    hydra = cast(dict[str, Any], OmegaConf.to_container(cfg.hydra, resolve=False))
    for name in hydra["callbacks"]:
        raise ConfigError(f"hydra.callbacks.{name}: not accepted; what watches a run is in the group callbacks")
    for node in ("job_logging", "hydra_logging"):
        for key, value in leaves(hydra[node], f"hydra.{node}").items():
            name = key.rpartition(".")[2]
            if name == "()" or (name == "class" and not str(value).startswith("logging.")):
                raise ConfigError(f"{key}={value}: not accepted; accepted are classes of Python's logging")


def _several(defaults: Sequence[ResultDefault], root: str) -> Choices:
    """The groups of which the root lists several members; Hydra's own record of choices leaves these out."""
    members: dict[str, list[str]] = {}
    for item in defaults:
        group, slash, member = str(item.config_path).partition("/")
        if slash and item.parent == root:
            members.setdefault(group, []).append(member)
    return {group: names for group, names in members.items() if len(names) > 1}


def check_config(config: dict[str, Any], choices: Choices, *, to_train: bool = True) -> None:
    """All checks of a resolved config that need no torch; raises ConfigError."""
    check_targets(config)
    check_ranges(config)
    check_choices(choices)
    check_test(config)
    if to_train:
        check(config)


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
        "data.cache_dir",
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
        return f"{key}={quoted(value)}"
    number = isinstance(parsed.value(), (bool, int, float))
    escapes = "\\" in value and value[0] not in "'\""
    if is_text and not parsed.is_sweep_override() and (number or escapes):
        return f"{key}={quoted(value)}"
    return word


def quoted(value: str) -> str:
    """Text as a value that Hydra's grammar reads back as it is."""
    return QuotedString(value, Quote.single).with_quotes()


def _make_paths_absolute(config: dict[str, Any]) -> None:
    """Against the current folder, once: nothing later depends on where a process stands."""
    parts = (config.get("parts"), (config["arch"] or {}).get("parts"))
    for node, name in (
        (config, "run_dir"),
        (config, "resume"),
        (config, "weights"),
        (config["data"], "root"),
        (config["data"], "cache_dir"),
        (config["init"], "weights"),
        *((part.get("init"), "weights") for part in parts if isinstance(part, dict)),
    ):
        value = node.get(name) if isinstance(node, dict) else None
        if isinstance(value, str) and value not in ("", "???") and not _is_elsewhere(value):
            node[name] = os.path.abspath(os.path.expanduser(value))


def _is_elsewhere(value: str) -> bool:
    """Whether a value names no path on this machine: weights to download, or a URL of data."""
    return _is_download(value) or "://" in value


def _is_download(weights: str) -> bool:
    return weights.startswith("torchvision:")


def _require_weights(config: dict[str, Any]) -> None:
    weights = config.get("weights")
    if isinstance(weights, str) and not _is_download(weights) and not os.path.isfile(weights):
        raise ConfigError(f"weights={weights}: no such file; accepted: {RANGES['weights'].text}")
    weights = (config["init"] or {}).get("weights")
    if isinstance(weights, str) and not os.path.isfile(weights):
        wrong = "init.weights: must be given" if weights == "???" else f"init.weights={weights}: no such file"
        raise ConfigError(f"{wrong}; accepted: the weights.safetensors of a run")


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
