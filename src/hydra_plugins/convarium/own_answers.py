"""Where Hydra looks for answers beside conf/: the folders of one's own that CONVARIUM_TRUST names."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from convarium.config.trust import trust


class OwnAnswers(SearchPathPlugin):
    """Puts the folders of one's own before ours."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """What Hydra calls before it reads anything."""
        for folder in reversed(trust().folders):
            search_path.prepend(provider="own", path=f"file://{folder}")
