"""What makes two experiments the same experiment: a hash over the keys that determine the result. No torch here."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

# Where, under which name and how fast an experiment runs. Everything else determines its result. A resumed run may
# change these keys and no others.
LAYOUT = frozenset(
    {
        "name",
        "run_dir",
        "resume",
        "threads",
        "sweep",
        "logger",
        "callbacks",
        "trainer.accelerator",
        "trainer.devices",
        "trainer.num_nodes",
        "trainer.strategy",
        "trainer.log_every_n_steps",
        "trainer.benchmark",
        "trainer.detect_anomaly",
        "data.root",
        "data.num_workers",
        "data.cache",
        "data.cache_dir",
        "data.cache_gb",
        "data.eval_batch_size",
    }
)


def leaves(node: Any, prefix: str = "") -> dict[str, Any]:
    """Flatten nested dicts to dotted keys; lists and empty dicts are values."""
    return dict(_leaves(node, prefix))


def _leaves(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(node, dict) or not node:
        yield prefix, node
        return
    for key, value in node.items():
        yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))


def determines_result(key: str) -> bool:
    """Whether a dotted key, or a parent of it, is outside LAYOUT."""
    parts = key.split(".")
    return not any(".".join(parts[:end]) in LAYOUT for end in range(1, len(parts) + 1))


def config_hash(config: dict[str, Any]) -> str:
    """12 hexadecimal digits over the resolved keys that determine the result; the order of keys does not matter.

    Null and absent are the same, so that a later version's new option, off by default, keeps the hash of older runs.
    """
    kept = {key: value for key, value in leaves(config).items() if value is not None and determines_result(key)}
    text = json.dumps(kept, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


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
