"""What needs torch to be known of the jobs of a sweep, before the first starts: networks, devices, data, lengths."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from convarium.errors import ConfigError
from convarium.run.devices import Placement, Preflight
from convarium.run.launch import rehearse
from convarium.run.preflight import preflight

# In these alone two jobs may differ without a difference to the network and the devices: to `preflight`.
UNSEEN = frozenset(
    (
        *("seed", "name", "run_dir", "resume", "threads", "sweep", "logger", "callbacks", "init"),
        *("optimizer", "schedule", "clip", "average", "stop", "decay"),
    )
)


def check(asked: str, answer: str) -> int:
    """Read resolved configs from one JSON file, write to another what was found out about each, or the first error."""
    question = json.loads(Path(asked).read_text(encoding="utf-8"))
    configs = question["configs"]
    found: list[Any] = [None] * len(configs)
    number = 0
    try:
        for number, seen in findings(configs, elsewhere=question["elsewhere"]):
            found[number] = [*seen.placement, seen.params, seen.macs]
        said: dict[str, Any] = {"found": found, "gpus": torch.cuda.device_count()}
    except FailedCheck as failure:
        said = {"job": failure.number, "error": str(failure)}
    Path(answer).write_text(json.dumps(said), encoding="utf-8")
    return 0


class FailedCheck(Exception):
    """The check of one job, by its place among them, found that it cannot run."""

    def __init__(self, number: int, error: str) -> None:
        super().__init__(error)
        self.number = number


def findings(configs: Sequence[dict[str, Any]], *, elsewhere: bool = False) -> Iterator[tuple[int, Preflight]]:
    """The place of each job and what `preflight` says of it, those on the same data together. Raises FailedCheck.

    A network is looked at once for all jobs that train it in the same way, a dataset is read once. Seeds choose neither
    the images nor how many there are, only their order.
    """
    seen: dict[str, Preflight] = {}
    data, data_key = None, ""
    nodes = [{name: value for name, value in config["data"].items() if name != "seed"} for config in configs]
    keys = [json.dumps(node, sort_keys=True) for node in nodes]
    for number in sorted(range(len(configs)), key=keys.__getitem__):
        config = configs[number]
        try:
            rest = {name: node for name, node in config.items() if name not in UNSEEN}
            key = json.dumps({**rest, "data": nodes[number]}, sort_keys=True)
            found = seen.get(key)
            if found is None:
                found = seen[key] = preflight(config, elsewhere=elsewhere)
            if keys[number] != data_key:
                data = None  # the memory of one dataset at a time
            data = rehearse(config, found, data).data
            data_key = keys[number]
        except ConfigError as error:
            raise FailedCheck(number, str(error)) from error
        yield number, found


def as_preflight(fields: Sequence[Any]) -> Preflight:
    """What `check` wrote about one job."""
    return Preflight(Placement(*fields[:3]), *fields[3:])
