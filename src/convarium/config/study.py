"""What a study's yaml says under `study`: a question, its sweep in each size, and what is claimed of the numbers.

    study:
      name: degradation             that of the file
      question: ...                 with a question mark
      source: ...                   paper and section
      expected: ...                 the paper's answer, with its figures
      why: ...                      if what was measured is not that: why, as far as it is known
      claims:                       what is tested; each is a difference that is paired by seed
        - {says: ..., metric: test/acc1, more: {arch: resnet56}, less: {arch: plain56}, by: 0.01}
      size: laptop                  which of the sizes is run
      sizes:
        laptop: {shows: ..., sweep: {arch: "plain56,resnet56", seed: "1,2,3"}}
        full: {hardware: ..., sweep: {...}}

No torch here.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from convarium.config.accepts import shown
from convarium.errors import ConfigError
from convarium.wording import nearest, printable


class Claim(NamedTuple):
    """That a metric is higher in one place than in another, by more than `by`."""

    says: str
    """In words that can follow "that"."""
    metric: str
    """As result.json has it, e.g. test/acc1."""
    more: dict[str, Any]
    """Swept key -> its value, where the metric is claimed to be higher; keys that are not named are averaged over."""
    less: dict[str, Any]
    by: float = 0.0


class Study(NamedTuple):
    """A question, and how the chosen size answers it."""

    name: str
    question: str
    source: str
    expected: str
    claims: list[Claim]
    size: str
    sweep: dict[str, Any]
    """Words of the chosen size: key -> value, or values with commas between them."""


def read_study(node: Any) -> Study:
    """The study that a resolved node says. Raises ConfigError for what is missing, unknown or of another kind."""
    if not isinstance(node, Mapping):
        raise ConfigError(f"study={shown(node)}: expected the keys {', '.join(KINDS)}")
    _check("study", node, KINDS, optional=("measured", "why"))
    sizes, size = node["sizes"], node["size"]
    for name, said in sizes.items():
        _check(f"study.sizes.{name}", said, SIZE, optional=("shows", "hardware"))
    if size not in sizes:
        raise ConfigError(f"study.size={size}: unknown{nearest(str(size), list(sizes))} One of: {', '.join(sizes)}")
    for number, claim in enumerate(node["claims"]):
        _check(f"study.claims[{number}]", claim, CLAIM, optional=("by",))
    claims = [Claim(**claim) for claim in node["claims"]]
    texts = {name: str(node[name]) for name in ("name", "question", "source", "expected")}
    return Study(**texts, claims=claims, size=size, sweep=dict(sizes[size]["sweep"]))


KINDS = {
    **dict.fromkeys(("name", "question", "source", "expected", "why"), str),
    "claims": list,
    "size": str,
    "sizes": Mapping,
    "measured": Mapping,
}
SIZE = {"sweep": Mapping, "shows": str, "hardware": str}
CLAIM = {"says": str, "metric": str, "more": Mapping, "less": Mapping, "by": (int, float)}


def _check(key: str, node: Any, kinds: Mapping[str, Any], optional: tuple[str, ...]) -> None:
    """Raise ConfigError unless a node has these keys, each of its kind."""
    if not isinstance(node, Mapping):
        raise ConfigError(f"{key}={shown(node)}: expected the keys {', '.join(kinds)}")
    for name, value in node.items():
        if name not in kinds:
            raise ConfigError(f"{key}.{name}: no such key{nearest(str(name), kinds)} Accepted: {', '.join(kinds)}")
        if not isinstance(value, kinds[name]):
            wanted = {str: "text", list: "a list", Mapping: "keys and values"}.get(kinds[name], "a number")
            raise ConfigError(f"{key}.{name}={shown(value)}: expected {wanted}")
        if isinstance(value, str) and printable(value) != value:
            raise ConfigError(f"{key}.{name}={printable(value)}: expected no control characters")
    for name in kinds:
        if name not in node and name not in optional:
            raise ConfigError(f"{key}.{name}: is missing")
