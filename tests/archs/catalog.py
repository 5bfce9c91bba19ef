"""Which architecture is asked what by default, found in conf/arch; all are asked everything by `make test-slow`."""

from collections.abc import Collection
from typing import Any

import pytest
import yaml

from convarium.config.catalog import Architecture, architectures, conf_dir, members

NAMES = list(members("arch"))
STATED = architectures()
LIGHT = 100_000_000  # multiply-adds
TINY = 1_000_000


def stated(name: str) -> Architecture:
    """What the first line of an architecture's yaml states."""
    assert name in STATED, f"{name}.yaml begins with {members('arch')[name]!r}"
    return STATED[name]


def cost(name: str) -> int:
    """The multiply-adds of one image of the published size; of a network that states none, its parameters."""
    return stated(name).multiply_adds or stated(name).parameters


def family(name: str) -> tuple[str, frozenset[str]]:
    """The class that a yaml builds and what it switches off there: a plain network is not a residual one."""
    node = yaml.safe_load((conf_dir() / "arch" / f"{name}.yaml").read_text(encoding="utf-8"))
    off = frozenset(key for key, value in node.items() if value in (None, False, "none", []))
    return node["_target_"], off


def representatives() -> list[str]:
    """The network of each family that has the fewest parameters."""
    chosen: dict[tuple[str, frozenset[str]], str] = {}
    for name in sorted(NAMES, key=lambda name: stated(name).parameters):
        chosen.setdefault(family(name), name)
    return sorted(chosen.values())


REPRESENTATIVES = representatives()


def asked(names: Collection[Any], by_default: Collection[Any]) -> list[Any]:
    """Parameters of a test: all of `names`, those that are not asked by default marked slow."""
    return [pytest.param(name, marks=[] if name in by_default else pytest.mark.slow) for name in names]


LIGHT_ONES = [name for name in NAMES if cost(name) <= LIGHT]
EACH = asked(NAMES, REPRESENTATIVES)
"""Every architecture, by default the representatives."""

DEEP = {"resnet1202"}  # takes seconds to count, and is otherwise resnet110
DEAR = {*DEEP, "resnet152", "plain44", "plain110", *(f"efficientnet_{size}" for size in ("b4", "b5", "b6", "l2"))}
"""What takes long to run without values, and is made of the same pieces as others."""
LARGE = {"inception_v1", "inception_v3", "bn_inception", "alexnet", "vgg11"}
EACH_SMALL = asked(NAMES, set(REPRESENTATIVES) - LARGE)
"""Every architecture, by default the representatives with which many steps take no time."""
# to a tracer: inception_v1, resnet20, lenet5_1998
ALIKE = {"bn_inception", "inception_v3", "alexnet", "vgg11", "plain18", "plain20", "resnet18", "lenet5"}
EACH_TRACED = asked(NAMES, set(REPRESENTATIVES) - ALIKE)
"""Every architecture, by default the representatives that a tracer would tell apart."""

EACH_WITHOUT_VALUES = asked(NAMES, {*REPRESENTATIVES, *LIGHT_ONES})
"""Every architecture, by default the representatives and those that are light."""

EACH_EXPERIMENT = asked(NAMES, {name for name in REPRESENTATIVES if cost(name) <= TINY})
"""Every architecture, by default the representatives that are tiny: for whole experiments on one core."""
