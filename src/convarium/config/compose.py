"""From overrides to one checked, resolved, plain config. Hydra composes; here it is held against what the chosen yaml
files say, so that nothing unknown, mistyped or out of range passes. No torch here.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from string import Template
from typing import Any, cast

from hydra.core.override_parser.types import OverrideType
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from convarium.config.accepts import WEIGHTS, shown
from convarium.config.baseline import Comparison
from convarium.config.groups import Choices, Groups, check_hydra_node
from convarium.config.identity import name_of
from convarium.config.keys import PATH, check_values, has_part, leaves, row
from convarium.config.overrides import keys_of, parse, readable
from convarium.config.resolvers import outward
from convarium.config.rules import check_batch, check_choices, check_limits, check_monitors, check_parts, check_test
from convarium.config.study import read_study
from convarium.config.targets import RULES, check_targets
from convarium.errors import ConfigError

LONGEST_PATH = 3_800  # bytes; with the names of what lies in the folder less than the 4,096 of Linux


@dataclass(frozen=True)
class Composed:
    """One experiment, checked as far as it goes without torch."""

    config: dict[str, Any]  # resolved and plain; paths absolute
    choices: Choices
    overrides: list[str]  # what was asked for beyond the defaults
    to_train: bool = True  # whether it was checked as a training
    pretrained: Any = None  # the weights that `convarium.run.prepare.adapt_to_weights` has read for it
    study: dict[str, Any] | None = None  # what its study says; no part of the experiment


def compose(overrides: Sequence[str], config_dir: str | None = None) -> Composed:
    """Compose and check one experiment from command-line overrides; `config_dir` is searched besides conf/.

    Raises ConfigError with one line for anything that is not right.
    """
    return Conf(config_dir).compose(overrides)


class Conf(Groups):
    """The groups of conf/, and what composes and checks experiments out of them."""

    def compose(self, overrides: Sequence[str], *, to_train: bool = True) -> Composed:
        """Compose and check one experiment; raises ConfigError.

        Without `to_train` the conditions between keys, which are those of training, are left out.
        """
        words = readable(overrides)
        with self.explained(words), self.composed(words) as (cfg, _):
            return self._checked(cfg, words, to_train=to_train)

    def below_what_is_swept(self, words: Sequence[str]) -> list[str]:
        """The words of a sweep, of which those become an axis of one value that set a key which only some answers have:
        `loss.on=...` beside `loss=mse,brier`, or below an answer that a study gives. Hydra would set them in what all
        points begin with, the defaults, where there is no such key. Raises ConfigError.
        """
        with self.explained(words):
            parsed = parse(words)
            swept = {override.key_or_group for override in parsed if override.is_sweep_override()}
            fixed = [word for word, one in zip(words, parsed, strict=True) if not one.is_sweep_override()]
            if study := [word for word in fixed if word.startswith(("study=", "study.size="))]:
                with suppress(InterpolationKeyError):  # a size that there is not, which `check_hydra` says
                    swept |= {str(key) for key in self.merge(study).hydra.sweeper.get("params") or ()}
            below = [
                place
                for place, override in enumerate(parsed)
                if override.type == OverrideType.CHANGE and not override.is_sweep_override()
                if "." in override.key_or_group and override.key_or_group.partition(".")[0] in swept
            ]
            found = list(words)
            if below:
                known = leaves(self.baseline(fixed).plain)
                for place in below:
                    key, _, value = words[place].partition("=")
                    if not any(path == key or path.startswith(f"{key}.") for path in known):
                        found[place] = f"{key}=choice({value})"
            return found

    def check_hydra(self, overrides: Sequence[str]) -> None:
        """Before Hydra runs: what it would import and call by itself must be its own; raises ConfigError.

        Recipes, studies and `--config-dir` may come from somebody else; their `hydra` node is carried out before any
        task is called.
        """
        with self.explained(overrides):
            mode = RunMode.MULTIRUN  # composes whatever is swept with its default
            whole = self.loader.load_configuration(self.root, list(overrides), mode, validate_sweep_overrides=False)
            check_hydra_node(whole)
            if (study := whole.get("study")) is not None:
                read_study(OmegaConf.to_container(study, resolve=True) if OmegaConf.is_config(study) else study)

    def complete(self, cfg: DictConfig, overrides: Sequence[str]) -> Composed:
        """Check and resolve what Hydra composed from `overrides`, without its `hydra` node; raises ConfigError.

        Hydra's own config must be the active one, as it is inside a task, for `${hydra:...}` to resolve.
        """
        with self.explained(overrides):
            return self._checked(cfg, overrides, to_train=True)

    @contextmanager
    def explained(self, overrides: Sequence[str]) -> Iterator[None]:
        """Turn what Hydra and OmegaConf raise about `overrides` into a ConfigError of one line."""
        from convarium.config.hydra_errors import explain

        try:
            yield
        except RecursionError as error:
            raise ConfigError("a yaml file chooses or names itself, in a circle") from error
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            line = explain(error, self, overrides)
            if line is None:
                raise
            raise ConfigError(line) from error

    def _checked(self, cfg: DictConfig, overrides: Sequence[str], *, to_train: bool) -> Composed:
        baseline = self.baseline(overrides)
        resolved = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
        given = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=False))
        study, _ = resolved.pop("study", None), given.pop("study", None)
        if study is not None:
            read_study(study)
        for entries in (group for group, rule in RULES.items() if rule.entries):
            resolved.setdefault(entries, {})  # `logger=[]` leaves no key at all
            given.setdefault(entries, {})
        Comparison(self, baseline).compare_all(given, resolved)
        for group in (group for group in RULES if group not in resolved):
            raise ConfigError(f"{group}=[]: {group} has one answer. One of: {', '.join(self.members(group))}")
        if resolved["run_dir"] is not None and "run_dir" not in keys_of(overrides):
            raise ConfigError(f"run_dir={resolved['run_dir']}: only the command line says where a run is written")
        self._check_outward(resolved, overrides)
        typed = resolved["weights"]
        _make_paths_absolute(resolved)
        _require_weights(resolved, typed)
        if resolved["name"] is None:
            resolved["name"] = name_of(baseline.choices)
        if self.config_dir is not None:
            resolved["config_dir"] = self.config_dir
        resolved["choices"] = dict(sorted(baseline.choices.items()))
        check_config(resolved, baseline.choices, to_train=to_train)
        return Composed(resolved, baseline.choices, list(overrides), to_train, study=study)

    def _check_outward(self, resolved: dict[str, Any], overrides: Sequence[str]) -> None:
        """Refuse what somebody else's yaml file says of where something is kept or sent, unless it was typed too."""
        others = self.said_by_others([word for word in overrides if not word.startswith("~")])
        typed = keys_of(overrides) if others else ()
        for key, value in outward(resolved).items():
            if key in others and key not in typed:
                accepted = "where something is kept or sent say the command line and the folders of CONVARIUM_TRUST"
                raise ConfigError(f"{key}={value}: said by {others[key]}; {accepted}")

    def help(self, overrides: Sequence[str], *, resolve: bool = False) -> str:
        """What --help shows of an experiment: the answers of each group, and each key with its value and meaning.

        Hydra's own takes twice as long: it begins anew for every group.
        """
        with self.explained(overrides), self.composed(overrides) as (cfg, whole):
            answers = "".join(f"{group}: {', '.join(self.members(group))}\n" for group in self.groups)
            values = leaves(OmegaConf.to_container(cfg, resolve=resolve))
            template = Template(whole.hydra.help.template)
            return template.safe_substitute(APP_CONFIG_GROUPS=answers, CONFIG=_described(values))


def _described(values: dict[str, Any]) -> str:
    """A line for each key, and an empty one between groups."""
    lines: list[str] = []
    group = ""
    for key, value in values.items():
        if key.rpartition(".")[2].startswith("_"):
            continue
        before, group = group, key.rpartition(".")[0] and key.partition(".")[0]
        if before != group and lines:
            lines.append("")
        known = row(key)
        lines.append(f"{f'{key}={shown(value)}':<44}  {known.meaning if known else ''}".rstrip())
    return "\n".join(lines)


def check_config(config: dict[str, Any], choices: Choices, *, to_train: bool = True) -> None:
    """All checks of a resolved config that need no torch; raises ConfigError."""
    check_targets(config)
    check_values(config)
    check_choices(choices)
    check_parts(config, choices)
    check_test(config)
    if to_train:
        check_batch(config)
        check_limits(config)
        check_monitors(config)


def _make_paths_absolute(node: dict[str, Any], key: str = "") -> None:
    """Against the current folder, once: nothing later depends on where a process stands."""
    for name, value in node.items():
        inside = f"{key}.{name}" if key else str(name)
        if isinstance(value, dict):
            _make_paths_absolute(value, inside)
        elif isinstance(value, str) and has_part(inside, PATH) and not _is_elsewhere(value):
            node[name] = path = os.path.abspath(os.path.expanduser(value))
            if name == "weights" and os.path.isdir(path):  # a run
                node[name] = os.path.join(path, "weights.safetensors")
            if max(map(len, os.fsencode(path).split(b"/"))) > 255 or len(os.fsencode(path)) > LONGEST_PATH:
                wrong = f"too long; a name has up to 255 bytes, a path {LONGEST_PATH}"
                raise ConfigError(f"{inside}={value[:60]}...: {wrong}")


def _is_elsewhere(value: str) -> bool:
    """Whether a value names no path on this machine: none yet, weights to download, or a URL of data."""
    return value in ("", "???") or value.startswith("torchvision:") or "://" in value


def _require_weights(config: dict[str, Any], typed: str | None) -> None:
    """Raise ConfigError where there is no file of weights; `typed`: `weights` as it was written."""
    weights = config["weights"]
    if isinstance(weights, str) and not weights.startswith("torchvision:") and not os.path.isfile(weights):
        wrong = "no weights.safetensors in this folder" if os.path.isdir(str(typed)) else "no such file"
        raise ConfigError(f"weights={typed}: {wrong}; accepted: {WEIGHTS.text}, or null")
    weights = (config["init"] or {}).get("weights")
    if isinstance(weights, str) and not os.path.isfile(weights):
        wrong = "init.weights: must be given" if weights == "???" else f"init.weights={weights}: no such file"
        raise ConfigError(f"{wrong}; accepted: the weights.safetensors of a run")
