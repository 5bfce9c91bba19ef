"""Where Hydra looks for answers, and how it reads them.

Private name of Hydra's: its module `_internal` for FileConfigSource.
"""

import os
import pickle
from functools import cache

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin

from convarium.config.trust import trust


class ParsedOnce(FileConfigSource):
    """Files of yaml, each parsed once a process: Hydra reads one two to six times for an experiment."""

    @staticmethod
    def scheme() -> str:
        return "parsed-once"

    def load_config(self, config_path: str) -> ConfigResult:
        """What the file says; a copy, for Hydra changes it."""
        file = self._normalize_file_name(config_path)
        result: ConfigResult = pickle.loads(_parsed(self.path, file, os.stat(f"{self.path}/{file}").st_mtime_ns))
        result.provider = self.provider
        return result


@cache
def _parsed(folder: str, file: str, modified: int) -> bytes:
    return pickle.dumps(FileConfigSource("", folder).load_config(file))


class OwnAnswers(SearchPathPlugin):
    """Puts the folders of one's own, which CONVARIUM_TRUST names, before conf/."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """What Hydra calls before it reads anything."""
        for folder in reversed(trust().folders):
            search_path.prepend(provider="own", path=f"file://{folder}")
        for element in search_path.get_path():
            if os.path.isabs(path := element.path.removeprefix("file://")):
                element.path = f"{ParsedOnce.scheme()}://{path}"
