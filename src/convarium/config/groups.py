"""The folder of groups as Hydra sees it: which answers there are, what they say, what they merge to. No torch here.

The private names of Hydra 1.3 that this needs (the defaults list, composing a part of it) are used in this file only.
"""

import copy
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple, cast

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import IConfigRepository
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.default_element import ResultDefault
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from convarium.config.catalog import conf_dir
from convarium.config.keys import OUTWARD, leaves, names_with
from convarium.config.overrides import parse
from convarium.config.resolvers import register
from convarium.config.targets import RULES
from convarium.errors import ConfigError
from convarium.yaml_text import SCHEME

ROOT = "train"  # conf/train.yaml
OURS = ("main", "hydra", "schema", "own")
"""By Hydra's names for where yaml lies: ours, its own, and what CONVARIUM_TRUST names."""
LONGEST_NAME = 200  # bytes of an answer's name, which is a file's
ABOVE_THE_BASELINE = ("recipe/", "study/")  # these change what the yaml files of the groups say
WRITTEN_BY_HYDRA = {
    "hydra.run.dir": ".",
    "hydra.sweep.dir": ".",
    "hydra.sweep.subdir": ".",
    "hydra.output_subdir": None,
    "hydra.job.chdir": None,
}
"""What conf/train.yaml says, so that Hydra writes nothing."""
LOGGING = {"logging.StreamHandler", "logging.NullHandler", "logging.Formatter"}
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
HYDRA_TARGETS = {
    r"hydra\.(launcher|sweeper)\._target_": r"(hydra_plugins|hydra\._internal\.core_plugins)(\.\w+)+",
    r"hydra\.sweeper\.\w+\._target_": r"optuna\.(samplers|pruners)\.\w+",
}
"""Where in Hydra's node a target may stand, and which."""
OUTWARD_NAMES = {name.rpartition(".")[2] for name in names_with(OUTWARD)}
Choices = dict[str, str | list[str]]
"""Group -> its answer, or answers."""


class Baseline(NamedTuple):
    """What the chosen yaml files say before recipe, study and command line; not to be changed."""

    cfg: DictConfig
    plain: dict[str, Any]
    """Unresolved."""
    choices: Choices
    """Which files these are."""


class Groups:
    """The groups and their answers; many experiments that choose the same answers are read and merged once."""

    def __init__(self, config_dir: str | None = None, loader: ConfigLoaderImpl | None = None, root: str = ROOT) -> None:
        self.root = root
        self.loader = Loader(loader.get_search_path() if loader else _search_path(config_dir))
        paths = {each.provider: each.path.partition("://")[2] for each in self.loader.get_search_path().get_path()}
        self.config_dir = paths.get("command-line")
        register()
        self._merged: dict[tuple[str, ...], Merged] = {}
        self._baselines: dict[tuple[str, ...], Baseline] = {}

    def members(self, group: str) -> list[str]:
        """The answers of a group, without those of its sub-folders."""
        return sorted(self.loader.repository.get_group_options(group))

    @cached_property
    def groups(self) -> list[str]:
        """The names of all groups that are keys of an experiment, and recipe, search and study."""
        return sorted(set(self.loader.repository.get_group_options("", ObjectType.GROUP)) - {"hydra"})

    def merge(self, overrides: Sequence[str]) -> DictConfig:
        """What Hydra's load_configuration returns; experiments that differ in values only are merged once."""
        groups, values = self._split(overrides)
        return self._with_values(self._of(groups).whole, values)

    @contextmanager
    def composed(self, overrides: Sequence[str]) -> Iterator[tuple[DictConfig, DictConfig]]:
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
            check_hydra_node(whole)
            self._merged[groups] = Merged.of(whole, *self.loader.composed)
        return self._merged[groups]

    def said_by_others(self, overrides: Sequence[str]) -> dict[str, str]:
        """The keys that somebody else's yaml files among those that were chosen say, each with its file."""
        return self._of(self._split(overrides)[0]).said_by_others

    def _with_values(self, cfg: DictConfig, values: list[Override]) -> DictConfig:
        cfg = copy.deepcopy(cfg)
        self.loader.validate_sweep_overrides_legal(values, RunMode.RUN, from_shell=True)
        self.loader._apply_overrides_to_config(values, cfg)
        return cfg

    def baseline(self, overrides: Sequence[str]) -> Baseline:
        groups, _ = self._split([word for word in overrides if not word.startswith("~")])
        if groups not in self._baselines:
            whole, _, cfg, defaults, repository, _ = self._of(groups)
            above = [item for item in defaults if (item.config_path or "").startswith(ABOVE_THE_BASELINE)]
            files = (repository.load_config(str(item.config_path)) for item in above)
            if any(file and file.config for file in files):
                kept = [item for item in defaults if item not in above]
                cfg = self.loader._compose_config_from_defaults_list(defaults=kept, repo=repository)
                cfg.pop("hydra", None)
            choices: Choices = {}
            for group, member in whole.hydra.runtime.choices.items():
                if member is not None and not group.startswith("hydra/"):
                    choices[group] = member
            for group, members in _listed(defaults, self.root).items():
                if len(members) > 1 or group in RULES:
                    choices[group] = members if len(members) > 1 else choices.get(group, members[0])
            plain = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=False))
            self._baselines[groups] = Baseline(cfg, plain, choices)
        return self._baselines[groups]

    def _split(self, overrides: Sequence[str]) -> tuple[tuple[str, ...], list[Override]]:
        """Overrides that choose files (as text, for they are a key of the cache) and those that set values."""
        parsed = parse(overrides)
        chooses = [
            override.is_hydra_override()
            or (self.loader.repository.group_exists(override.key_or_group) and not isinstance(override.value(), dict))
            for override in parsed
        ]
        for override, choice in zip(parsed, chooses, strict=True):
            if choice and not override.is_sweep_override() and not override.key_or_group.startswith("hydra."):
                self._check_names(override)
        groups = tuple(str(override.input_line) for override, choice in zip(parsed, chooses, strict=True) if choice)
        return groups, [override for override, choice in zip(parsed, chooses, strict=True) if not choice]

    def _check_names(self, override: Override) -> None:
        """Raise ConfigError for a value that Hydra would fail to take for the name of an answer, or of several."""
        value, group = override.value(), str(override.key_or_group)
        names = value if isinstance(value, list) else [value] if isinstance(value, str) else []
        if not all(isinstance(name, str) and len(os.fsencode(name)) <= LONGEST_NAME for name in names):
            said = f"{str(override.input_line)[:60]}: not an answer"
            raise ConfigError(f"{said}. One of: {', '.join(self.members(group))}")


class Merged(NamedTuple):
    """What is the same for all experiments of the same groups."""

    whole: DictConfig
    hydra: Any
    """Its hydra node in the form in which `${hydra:...}` reads it."""
    rest: DictConfig
    defaults: list[ResultDefault]
    """The files it is merged from."""
    repository: IConfigRepository
    said_by_others: dict[str, str]
    """The keys of yaml files that are neither ours nor in a folder of CONVARIUM_TRUST, each with its file."""

    @classmethod
    def of(cls, whole: DictConfig, defaults: list[ResultDefault], repository: IConfigRepository) -> "Merged":
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
        others: dict[str, str] = {}
        for item in defaults:
            file = repository.load_config(item.config_path) if item.config_path else None
            if file is not None and file.provider not in OURS:
                keys = leaves(OmegaConf.to_container(file.config, resolve=False), item.package or "")
                others |= dict.fromkeys(keys, f"{file.path.removeprefix(f'{SCHEME}://')}/{item.config_path}.yaml")
        return cls(whole, hydra, rest, defaults, repository, others)


def check_hydra_node(cfg: DictConfig) -> None:
    """Refuse what Hydra would import, call or write by itself, unless it is its own. Raises ConfigError."""
    hydra = _as_instantiated(cfg.hydra)
    for name in hydra["callbacks"]:
        raise ConfigError(f"hydra.callbacks.{name}: not accepted; what watches a run is in the group callbacks")
    for name in ("env_set", "env_copy"):
        if hydra["job"].get(name):
            raise ConfigError(f"hydra.job.{name}: not accepted; what the environment says, no config changes")
    for key, value in (hydra["sweeper"].get("params") or {}).items():
        if OUTWARD_NAMES & set(re.findall(r"\w+", f"{key} {value}")):
            wrong = "not accepted; where something is kept or sent says the command line, not a study"
            raise ConfigError(f"hydra.sweeper.params.{key}={value}: {wrong}")
    values = leaves(hydra, "hydra")
    for key, ours in WRITTEN_BY_HYDRA.items():
        if values.get(key, ours) != ours:
            raise ConfigError(f"{key}={values[key]}: not accepted; where a run lies is said by run_dir, or sweep.name")
    for key, value in values.items():
        name, said = key.rpartition(".")[2], str(value)
        if key.startswith(("hydra.job_logging.", "hydra.hydra_logging.")):
            if name in ("()", "class") and said not in LOGGING:
                raise ConfigError(f"{key}={said}: not accepted; accepted are {', '.join(sorted(LOGGING))}")
            if said.startswith(("ext://", "cfg://")) and said not in STREAMS:
                raise ConfigError(f"{key}={said}: not accepted; accepted are {', '.join(STREAMS)}")
        elif name.startswith("_") and name.endswith("_"):
            accepted = next((pattern for place, pattern in HYDRA_TARGETS.items() if re.fullmatch(place, key)), None)
            if accepted is None or not re.fullmatch(accepted, said):
                raise ConfigError(f"{key}={said}: not allowed there{f'; accepted: {accepted}' if accepted else ''}")


def _as_instantiated(node: Any) -> Any:
    """A node as Hydra instantiates it: what an interpolation names stands in its place; None for what names nothing."""
    if not OmegaConf.is_config(node):
        return node
    plain: dict[Any, Any] = {}
    for key in node if isinstance(node, DictConfig) else range(len(node)):
        try:
            plain[key] = None if OmegaConf.is_missing(node, key) else _as_instantiated(node[key])
        except OmegaConfBaseException:
            plain[key] = None
    return plain


def _listed(defaults: Sequence[ResultDefault], root: str) -> dict[str, list[str]]:
    """The members of each group that the root lists; Hydra's own record of choices has none of `group=[A]`, or more."""
    members: dict[str, list[str]] = {}
    for item in defaults:
        group, slash, member = str(item.config_path).partition("/")
        if slash and item.parent == root:
            members.setdefault(group, []).append(member)
    return members


class Loader(ConfigLoaderImpl):
    """Hydra's, which keeps the list of files that it composed last."""

    composed: tuple[list[ResultDefault], IConfigRepository]

    def _compose_config_from_defaults_list(self, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
        self.composed = defaults, repo
        return super()._compose_config_from_defaults_list(defaults, repo)


def _search_path(config_dir: str | None) -> ConfigSearchPath:
    version.setbase("1.3")
    setup_globals()  # the `hydra` resolver
    path = create_config_search_path(f"file://{conf_dir()}")
    if config_dir is not None:
        if not os.path.isdir(config_dir):
            raise ConfigError(f"--config-dir {config_dir}: no such folder")
        path.prepend("command-line", f"{SCHEME}://{os.path.abspath(config_dir)}", SearchPathQuery(provider="schema"))
    return path
