"""The checks of a sweep's jobs that need torch, before the first starts: networks, devices, data, lengths."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from convarium.config.keys import UNSEEN, has_part
from convarium.errors import ConfigError
from convarium.run.devices import Placement, Preflight
from convarium.run.prepare import prepare


def preflight_jobs(asked: str, answer: str) -> int:
    """Read resolved configs from one JSON file, write the `Preflight` of each, or the first error, to another."""
    question = json.loads(Path(asked).read_text(encoding="utf-8"))
    configs = question["configs"]
    preflights: list[Any] = [None] * len(configs)
    try:
        for number, done in preflight_each(configs, elsewhere=question["elsewhere"]):
            preflights[number] = [*done.placement, done.params, done.macs]
        answered: dict[str, Any] = {"preflights": preflights, "gpus": torch.cuda.device_count()}
    except FailedPreflight as failure:
        answered = {"job": failure.number, "error": str(failure)}
    Path(answer).write_text(json.dumps(answered), encoding="utf-8")
    return 0


class FailedPreflight(Exception):
    """One job cannot run; `number` is its place among all."""

    def __init__(self, number: int, error: str) -> None:
        super().__init__(error)
        self.number = number


def preflight_each(configs: Sequence[dict[str, Any]], *, elsewhere: bool = False) -> Iterator[tuple[int, Preflight]]:
    """The place and the `Preflight` of each job, those on the same data one after the other. Raises FailedPreflight.

    A network is looked at once for all jobs that train it in the same way, a dataset is read once. Seeds choose neither
    the images nor how many there are, only their order.
    """
    known: dict[str, Preflight] = {}
    data, data_key = None, ""
    nodes = [{name: value for name, value in config["data"].items() if name != "seed"} for config in configs]
    keys = [json.dumps(node, sort_keys=True) for node in nodes]
    for number in sorted(range(len(configs)), key=keys.__getitem__):
        config = configs[number]
        try:
            rest = {name: node for name, node in config.items() if not has_part(name, UNSEEN)}
            key = json.dumps({**rest, "data": nodes[number]}, sort_keys=True)
            if keys[number] != data_key:
                data = None  # the memory of one dataset at a time
            prepared = prepare(config, preflight=known.get(key), data=data, elsewhere=elsewhere)
            known[key], data, data_key = prepared.preflight, prepared.data, keys[number]
            del prepared  # which holds the data too
        except ConfigError as error:
            raise FailedPreflight(number, str(error)) from error
        yield number, known[key]


def as_preflight(fields: Sequence[Any]) -> Preflight:
    """What `preflight_jobs` wrote about one job."""
    return Preflight(Placement(*fields[:3]), *fields[3:])
