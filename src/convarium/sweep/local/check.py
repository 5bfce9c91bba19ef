"""The checks of a sweep's jobs that need torch, before the first starts: networks, devices, data, lengths."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from convarium.anatomy.fingerprint import fingerprint
from convarium.config.instantiate import build
from convarium.config.keys import UNSEEN, has_part
from convarium.errors import ConfigError
from convarium.run.devices import Preflight
from convarium.run.prepare import prepare


def preflight_jobs(asked: str, answer: str) -> int:
    """`check` what one JSON file holds, and write the answer to another."""
    answered = check(**json.loads(Path(asked).read_text(encoding="utf-8")))
    Path(answer).write_text(json.dumps(answered), encoding="utf-8")
    return 0


def check(configs: Sequence[dict[str, Any]], *, elsewhere: bool = False, fingerprints: bool = False) -> dict[str, Any]:
    """The `preflights` of resolved configs, with `fingerprints` of their networks if asked for, and the number of
    `gpus`; or the `job` that cannot run, and its `error`.

    A network is looked at once for all jobs that train it in the same way; a dataset is read once, and one is held at a
    time. Seeds choose neither the images nor how many there are, only their order.
    """
    known: dict[str, Preflight] = {}
    prints: dict[str, str] = {}  # by the config of an architecture
    preflights: list[Preflight | None] = [None] * len(configs)
    data, data_key = None, ""
    nodes = [{name: value for name, value in config["data"].items() if name != "seed"} for config in configs]
    keys = [json.dumps(node, sort_keys=True) for node in nodes]
    for number in sorted(range(len(configs)), key=keys.__getitem__):
        rest = {name: node for name, node in configs[number].items() if not has_part(name, UNSEEN)}
        optimizer = configs[number]["optimizer"]  # by which of them the memory for its state goes
        kind = [optimizer["_target_"], optimizer.get("momentum")]
        key = json.dumps({**rest, "data": nodes[number], "optimizer": kind}, sort_keys=True)
        if keys[number] != data_key:
            data = None
        try:
            prepared = prepare(configs[number], preflight=known.get(key), data=data, elsewhere=elsewhere)
        except ConfigError as error:
            return {"job": number, "error": str(error)}
        preflights[number] = known[key] = prepared.preflight
        if fingerprints:
            arch = json.dumps(configs[number]["arch"], sort_keys=True)
            if arch not in prints:
                prints[arch] = fingerprint(partial(build, configs[number]["arch"], "arch")) or ""
            preflights[number] = prepared.preflight._replace(network=prints[arch])
        data, data_key = prepared.data, keys[number]
        del prepared  # which holds the data too
    return {"preflights": preflights, "gpus": torch.cuda.device_count()}
