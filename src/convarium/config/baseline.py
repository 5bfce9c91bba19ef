"""Types and unknown keys without schemas: a composed config is held against what the chosen yaml files say."""

from collections.abc import Iterable
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from convarium.config.accepts import has_type, shown
from convarium.config.groups import Baseline, Groups
from convarium.config.hydra_errors import unknown_key
from convarium.config.keys import DERIVED, accepted, has_part
from convarium.config.targets import RULES
from convarium.errors import ConfigError


class Comparison:
    """Hold a composed config against its baseline: the same keys, and every value of the type its yaml has."""

    def __init__(self, groups: Groups, baseline: Baseline) -> None:
        self.groups = groups
        self.baseline = baseline
        self.choices = baseline.choices

    def compare_all(self, given: dict[str, Any], resolved: dict[str, Any]) -> None:
        """Raise ConfigError at the first difference; integers given for floats become floats in `resolved`."""
        base = dict(self.baseline.plain)
        for entries in (group for group, rule in RULES.items() if rule.entries):
            base.setdefault(entries, {})
        self._compare_keys(base, given, resolved, "")

    def _compare_keys(self, base: dict[str, Any], given: dict[str, Any], resolved: dict[str, Any], key: str) -> None:
        for name in base.keys() - given.keys():
            if key not in RULES or not RULES[key].entries:
                raise ConfigError(f"{_join(key, name)}: cannot be removed")
        for name, value in given.items():
            if name not in base:
                raise ConfigError(unknown_key(_join(key, name), base, self.choices, self.groups))
            resolved[name] = self._compare(base[name], value, resolved[name], _join(key, name))

    def _compare(self, base: Any, given: Any, value: Any, key: str) -> Any:
        if isinstance(base, dict) and isinstance(given, dict):
            self._compare_keys(base, given, value, key)
            return value
        if base == given and type(base) is type(given) and not isinstance(base, float):
            return value  # the yaml's own value, or an interpolation whose source is checked where it stands
        if isinstance(base, dict):
            raise ConfigError(f"{key}={shown(value)}: expected the keys {', '.join(map(str, base))}")
        if isinstance(base, str) and base.startswith("${"):
            if has_part(key, DERIVED):
                raise ConfigError(f"{key}={shown(value)}: follows {base[2:-1]}; set {base[2:-1]} in its place")
            base = self._resolve(key)
        if isinstance(value, dict):
            if not value:
                raise ConfigError(f"{key}={{}}: expected a value")
            raise ConfigError(unknown_key(_join(key, next(iter(value))), {}, self.choices, self.groups))
        return self._compare_type(base, value, key)

    def _resolve(self, key: str) -> Any:
        try:
            value = OmegaConf.select(self.baseline.cfg, key)
            return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        except OmegaConfBaseException:  # made from what is not there by default (a folder of images)
            return None

    def _compare_type(self, base: Any, value: Any, key: str) -> Any:
        entry = accepted(key)
        types = entry.types if entry and entry.types else () if base is None else (type(base),)
        if not types or (value is None and entry is not None and entry.null):
            return value
        if isinstance(base, list) and isinstance(value, list):
            if base and not value:
                raise ConfigError(f"{key}=[]: expected at least one value")
            kinds = set(entry.types) if entry and entry.types else {type(item) for item in base}
            for item in value:
                if kinds and not has_type(item, tuple(kinds)):
                    raise ConfigError(f"{key}={shown(value)}: expected {_names(kinds)} in the list, got {shown(item)}")
            return [float(item) if isinstance(item, int) and kinds == {float} else item for item in value]
        if not has_type(value, types) or (isinstance(base, list) != isinstance(value, list)):
            wanted = "list" if isinstance(base, list) else _names(types)
            got = "null" if value is None else type(value).__name__
            range_ = f"; accepted: {entry.text}" if entry else ""
            raise ConfigError(f"{key}={shown(value)}: expected {wanted}, got {got}{range_}")
        return float(value) if isinstance(value, int) and types == (float,) else value


def _join(key: str, name: Any) -> str:
    return f"{key}.{name}" if key else str(name)


def _names(types: Iterable[type]) -> str:
    return " or ".join(sorted(kind.__name__ for kind in types))
