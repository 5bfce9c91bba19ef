"""Whether a run has something left to do where it is resumed, and what would go on with it if not."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from lightning.pytorch.callbacks import Timer

from convarium.config.instantiate import build
from convarium.config.rules import directed
from convarium.errors import RunError
from convarium.learn.stopping import Early
from convarium.run.checkpoint import Saved, saved_of
from convarium.run.directory import RunDirectory
from convarium.run.prepare import Prepared


def check_resumable(run: RunDirectory, prepared: Prepared) -> Saved | None:
    """What the run goes on from; None where it has saved nothing and begins anew. Raises RunError for a run that is
    finished and would train nothing, and for a checkpoint that is none of ours."""
    checkpoint, result = saved_of(run, prepared.config), run.result()
    if result.get("status") == "ok":
        _check_unfinished(run, prepared, result, (checkpoint or {}).get("callbacks", {}))
    return Saved(checkpoint["global_step"], checkpoint.get("trackers", {})) if checkpoint else None


def _check_unfinished(
    run: RunDirectory, prepared: Prepared, result: Mapping[str, Any], states: Mapping[str, Any]
) -> None:
    if prepared.config["trainer"]["fast_dev_run"]:
        raise RunError(f"resume={run.path}: it is finished; a trainer.fast_dev_run keeps nothing to go on with")
    ends = [*_stops(prepared, states), *_limits(prepared, result.get("steps") or 0)]
    if ends:
        how, more = ([*dict.fromkeys(column)] for column in zip(*ends, strict=True))
        raise RunError(
            f"resume={run.path}: it is finished ({', '.join(how)}); {' and '.join(more)} would go on with it"
        )


def _stops(prepared: Prepared, states: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What stops a run at once that goes on from these states of callbacks, in words, and the override that helps."""
    timer = Timer(prepared.config["trainer"]["max_time"])
    timer.load_state_dict(states.get(timer.state_key, {}))
    remaining, elapsed = timer.time_remaining(), timer.time_elapsed()
    if remaining is not None and remaining <= 0:
        minutes, seconds = divmod(math.ceil(2 * elapsed), 60)
        hours, minutes = divmod(minutes, 60)
        days, hours = divmod(hours, 24)
        yield "by its time limit", f"trainer.max_time={days:02}:{hours:02}:{minutes:02}:{seconds:02}"
    early = build(directed(prepared.config["stop"], prepared.config, "stop"), "stop")
    if isinstance(early, Early):
        early.wait_count = states.get(early.state_key, {}).get("wait_count", 0)
        if early.has_stopped:
            yield "by early stopping", f"stop=none or stop.patience={2 * early.wait_count}"


def _limits(prepared: Prepared, steps: int) -> Iterator[tuple[str, str]]:
    """The limits of its length that a run of so many steps has reached, in words, and the override that helps."""
    trainer = prepared.config["trainer"]
    if trainer["max_steps"] != -1 and steps >= trainer["max_steps"]:
        yield "at its end", f"trainer.max_steps={2 * trainer['max_steps']}"
    if steps >= trainer["max_epochs"] * prepared.length.steps_per_epoch:
        yield "at its end", f"trainer.max_epochs={2 * trainer['max_epochs']}"
