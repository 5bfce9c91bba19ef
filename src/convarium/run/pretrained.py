"""Published weights in an experiment: what they ask of its config, and how they come into its network."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from convarium.archs.weights import LAYOUTS, Fitted, Settings, State, fit, read_file, recognize
from convarium.archs.weights.download import find
from convarium.config.accepts import shown
from convarium.config.compose import Composed, Conf
from convarium.config.overrides import values_of
from convarium.errors import ConfigError
from convarium.run.preflight import without_values

DOWNLOAD = "torchvision:"
OURS = "keys as our own"


class Opened(NamedTuple):
    """Weights by our names, and what their layout says about them."""

    layout: str
    state: State
    names: dict[str, str]
    """Those in the file, by ours."""
    sets: Settings
    view: Settings
    assumed: tuple[str, ...] = ()
    """What the file cannot tell."""

    @property
    def assumption(self) -> str:
        """What of the network is not in the file, and how it is taken to be; empty where that is known."""
        return f"assumed, for its keys do not tell: {', '.join(self.assumed)}" if self.assumed else ""

    def fit(self, net: nn.Module, source: str) -> Fitted:
        """What a network takes over of them; raises ConfigError if it is another's."""
        try:
            return fit(net, self.state, self.names)
        except ValueError as error:
            if self.layout == OURS and not any(key in net.state_dict() for key in self.state):
                known = ", ".join(layout.name for layout in LAYOUTS)
                raise ConfigError(
                    f"weights={source}: keys of no layout that is known ({', '.join(list(self.state)[:2])}, ...);"
                    f" accepted: our own, {known}"
                ) from error
            raise ConfigError(f"weights={source} ({self.layout}): {error}") from error


class Loaded(NamedTuple):
    """Which weights a network has taken over."""

    source: str
    layout: str
    new_heads: tuple[str, ...]
    """Classifiers that keep their own, because the file's are for another number of classes."""
    classes: int
    """How many that is."""
    assumption: str
    """What the file does not tell of the network, in words."""

    def __str__(self) -> str:
        heads = f"; {', '.join(self.new_heads)} new: the file's is for {self.classes} classes" if self.new_heads else ""
        return f"{self.source} ({self.layout}){heads}"


class Demands:
    """What the weights that a config names ask of the rest of it."""

    def __init__(self, config: dict[str, Any], opened: Opened) -> None:
        self.config = config
        self.source = str(config["weights"])
        self.opened = opened

    def words(self, given: Mapping[str, Any]) -> list[str]:
        """The overrides to be added to those given (key -> value). Raises ConfigError for one that contradicts."""
        words = []
        has_eps = "eps" in (self.config["norm"] or {})
        for key, wanted in self.opened.sets.items():
            accepted = wanted if isinstance(wanted, tuple) else (wanted,)
            if key == "norm":
                has_eps = given.get(key, accepted[0]) != "paper"  # whose epsilon is its own
            if key in given:
                if given[key] not in accepted:
                    raise self._contradiction(key, given[key], accepted)
            elif key == "norm.eps" and not has_eps:
                continue
            elif key == "arch.shortcut" and _inside(self.config, key) and _value(self.config, key) == "none":
                raise self._contradiction(key, "none", accepted)  # a plain network is another architecture
            elif not key.startswith("arch.") or _inside(self.config, key):
                words.append(f"{key}={shown(accepted[0])}")
        view = {key: value for key, value in self.opened.view.items() if _inside(self.config, key)}
        return words + [f"{key}={shown(value)}" for key, value in view.items() if key not in given]

    def check(self, config: dict[str, Any]) -> None:
        """Raise ConfigError unless a config has what the weights ask for and a network that they fit."""
        self.opened.fit(without_values(config), self.source)
        for key, wanted in self.opened.sets.items():
            if not _inside(config, key) and key.startswith("arch."):
                raise ConfigError(
                    f"weights={self.source} ({self.opened.layout}): need {key}={shown(wanted)}, which this architecture"
                    " does not take"
                )
            if not isinstance(wanted, tuple) and _inside(config, key) and (value := _value(config, key)) != wanted:
                raise self._contradiction(key, value, (wanted,))

    def _contradiction(self, key: str, value: Any, accepted: tuple[Any, ...]) -> ConfigError:
        return ConfigError(
            f"{key}={shown(value)}: contradicts weights={self.source} ({self.opened.layout}), which need"
            f" {key}={' or '.join(map(shown, accepted))}"
        )


def adapt(conf: Conf, composed: Composed) -> Composed:
    """See `convarium.run.prepare.adapt_to_weights`."""
    opened = open_weights(composed.config)
    demands = Demands(composed.config, opened)
    words = demands.words(values_of(composed.overrides))
    adapted = conf.compose([*words, *composed.overrides], to_train=composed.to_train)
    demands.check(adapted.config)
    return replace(adapted, overrides=composed.overrides, pretrained=opened)


def open_weights(config: dict[str, Any]) -> Opened:
    """Read the weights that a config names. Raises ConfigError where that cannot be."""
    source, assumed = str(config["weights"]), tuple[str, ...]()
    try:
        if source.startswith(DOWNLOAD):
            download = find(without_values(config), source.removeprefix(DOWNLOAD), LAYOUTS)
            theirs, view = download.state(), download.view
            layout = download.layout
        else:
            theirs = read_file(Path(source))
            known = recognize(theirs)
            if known is None:
                return Opened(OURS, theirs, {}, {}, {}, ("all that has no weights as in this config",))
            layout, view, assumed = known, known.view(theirs), known.assumes(theirs)
        names = {ours: key for key, ours in layout.ours(theirs).items()}
        return Opened(layout.name, layout.translate(theirs), names, layout.sets(theirs), view, assumed)
    except ValueError as error:
        raise ConfigError(f"weights={source}: {error}") from error


def load_weights(net: nn.Module, config: dict[str, Any], opened: Opened | None = None) -> Loaded:
    """Put the weights that a config names into its network, in place; `opened`: they are read already.

    Raises ConfigError where they do not fit.
    """
    opened = opened or open_weights(config)
    fitted = opened.fit(net, config["weights"])
    net.load_state_dict(fitted.state, strict=False)  # `fit` has refused what must not be missing
    return Loaded(str(config["weights"]), opened.layout, fitted.new_heads, fitted.classes, opened.assumption)


def _inside(config: dict[str, Any], key: str) -> bool:
    group, _, name = key.partition(".")
    return not name or name in (config[group] or {})


def _value(config: dict[str, Any], key: str) -> Any:
    group, _, name = key.partition(".")
    return config[group][name] if name else config[group]
