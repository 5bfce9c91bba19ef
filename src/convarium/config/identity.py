"""What makes two experiments the same experiment: a hash over the keys that determine the result. No torch here."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from convarium.config.keys import GROWS, LAYOUT, RESUME, has_part, leaves

USUAL = {"data.folds": ("data.fold", None), "data.sampler": ("data.sampler", "shuffle")}
"""Keys that say nothing where another, or they themselves, have this value: as in runs of before there were any."""


def determines_result(key: str) -> bool:
    """Whether a dotted key determines the result of its experiment: it and its group say more than where it runs."""
    return not has_part(key, LAYOUT)


def may_change(key: str) -> bool:
    """Whether a dotted key may have another value where a run is resumed, if only a larger one."""
    return not determines_result(key) or has_part(key, RESUME) or has_part(key, GROWS)


def difference(one: dict[str, Any], other: dict[str, Any]) -> str | None:
    """A key whose values in two configs cannot be those of one run, resumed or not; None: there is none.

    A key that only one of them has is none: older versions had fewer.
    """
    left, right = leaves(one), leaves(other)
    found = [key for key in left if key in right and left[key] != right[key] and not may_change(key)]
    return min(found, key=lambda key: key.count("."), default=None)  # a source before its copies


def config_hash(config: dict[str, Any]) -> str:
    """12 hexadecimal digits over the resolved keys that determine the result; the order of keys does not matter.

    Null and absent are the same, so that a later version's new option, off by default, keeps the hash of older runs.
    """
    flat = leaves(config)
    usual = {name for name, (key, value) in USUAL.items() if flat.get(key) == value}
    kept = {key: flat[key] for key in flat if flat[key] is not None and determines_result(key) and key not in usual}
    text = json.dumps(kept, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def name_of(choices: Mapping[str, str | list[str]]) -> str:
    """What an experiment is called unless it is said: arch, data, and what is not as in the paper or is added."""
    told = [choices["arch"], choices["data"]]
    for group in ("norm", "activation", "pool", "init", "augment"):
        chosen = choices.get(group, "paper")
        if chosen == "none" and group != "augment":
            told.append(f"no_{group}")
        elif chosen not in ("paper", "none"):
            told += [chosen] if isinstance(chosen, str) else chosen
    return "-".join(str(answer).rpartition("/")[2] for answer in told)


def slug(text: str, length: int = 48) -> str:
    """A name that is safe in a path: a-z, 0-9, '.', '_' and '-', at most `length` characters, never empty."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9._]+", "-", plain).strip("-._")[:length].rstrip("-._") or "run"


def sweep_name(fixed: dict[str, Any], axes: list[str], base_hash: str) -> str:
    """The name under which the same sweep is found again: its fixed answers and axes, and a hash of base and both.

    The values of the axes play no part, so that more of them extend a sweep; nor does the order of anything.
    """
    kept = {key: value for key, value in fixed.items() if determines_result(key)}
    text = json.dumps([base_hash, kept, sorted(axes)], sort_keys=True)
    answers = [str(value) for key, value in sorted(kept.items()) if "." not in key and isinstance(value, str)]
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"{slug('-'.join([*answers, *(axis.rpartition('.')[2] for axis in sorted(axes))]))}-{digest}"
