"""Where Hydra looks for answers, and how it reads them.

Private names: Hydra's module `_internal` for FileConfigSource, and its `_get_header_dict`; OmegaConf's `_utils` for the
rules by which it reads yaml.
"""

import os
import pickle
from functools import cache

import yaml
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf
from omegaconf._utils import get_yaml_loader

from convarium.config.accepts import shown
from convarium.config.trust import trust
from convarium.errors import ConfigError
from convarium.wording import one_line
from convarium.yaml_text import SCHEME, parse


class Fast(yaml.CSafeLoader, get_yaml_loader()):  # type: ignore[misc]
    """OmegaConf's rules behind the parser in C."""


class ParsedOnce(FileConfigSource):
    """Files of yaml, parsed once a process: Hydra reads one up to six times for an experiment."""

    @staticmethod
    def scheme() -> str:
        return SCHEME

    def is_group(self, config_path: str) -> bool:
        """Whether a folder holds answers; conf/wandb holds the sweeps of W&B's own agents."""
        return config_path.strip("/") != "wandb" and super().is_group(config_path)

    def load_config(self, config_path: str) -> ConfigResult:
        """What the file says; a copy, for Hydra changes it."""
        path = os.path.join(self.path, self._normalize_file_name(config_path))
        config, header = pickle.loads(_parsed(path, os.stat(path).st_mtime_ns))
        return ConfigResult(self.provider, self.path, config, header)


@cache
def _parsed(path: str, modified: int) -> bytes:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        node = parse(text, Fast)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read: {one_line(error)}") from error
    if node is not None and not isinstance(node, dict):
        raise ConfigError(f"{path}: says {shown(node)}; accepted are keys and values")
    return pickle.dumps((OmegaConf.create(node or {}), ParsedOnce._get_header_dict(text)))


class OwnAnswers(SearchPathPlugin):
    """Puts the folders of one's own, which CONVARIUM_TRUST names, before conf/."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """What Hydra calls before it reads anything."""
        for folder in reversed(trust().folders):
            search_path.prepend(provider="own", path=f"file://{folder}")
        for element in search_path.get_path():
            if os.path.isabs(path := element.path.removeprefix("file://")):
                element.path = f"{ParsedOnce.scheme()}://{path}"
