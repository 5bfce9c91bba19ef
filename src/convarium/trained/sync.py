"""Runs replayed to Weights & Biases out of their own record: what their trackers could not send, or nobody tracked."""

import hashlib
import json
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from convarium.errors import ConfigError, RunError
from convarium.files import write_atomically
from convarium.observe.tracker import Start
from convarium.observe.wandb import STEP, Wandb, why_offline
from convarium.run.directory import RunDirectory
from convarium.run.resume import read_config

OPTIONS = ("project", "entity", "name", "group", "job_type", "tags", "notes")
SUMMARY = ("params", "macs", "epochs", "steps", "seed", "images_per_second", "wall_seconds")


class Replay(Wandb):
    """A W&B run that is given the rows of metrics.csv: all of them, or those behind the last step that the server has,
    whoever sent that: the run's own tracker, or a sync that was killed."""

    farewell = silence = 600.0  # seconds; nobody trains meanwhile
    name = "wandb"

    def open(self, start: Start) -> None:
        super().open(start)
        if not self._run.resumed:
            return
        last = self._run.summary.get(STEP)
        behind = int(last) if isinstance(last, int | float) else -1
        self._last_step = max(behind, 0)
        for row in start.rows:
            if row["step"] > behind:
                self.write_metrics({name: value for name, value in row.items() if name != "step"}, int(row["step"]))


def require_server() -> None:
    """Raise ConfigError, in one line, where W&B cannot be reached."""
    if reason := why_offline(seconds=4.0, insists=True):
        raise ConfigError(f"{reason}; mode=offline writes files that `wandb sync` uploads from elsewhere")


def sync(run: RunDirectory, *, mode: str) -> str:
    """Replay a run, once: its metrics, figures, table of mistakes and page, under the id that it was tracked by or a
    new one that stays its own. What was done, in words. mode: online or offline. Raises RunError for a run that goes
    on, or that cannot be read or sent."""
    if run.is_locked():
        raise RunError("is running; once it has ended it can be synced")
    result = run.result()
    state, digest = _state(run), _digest(run, result)
    if state.get("digest") == digest and (state.get("online") or mode == "offline"):
        return f"is there already, as {state['id']}"
    config = read_config(run)
    said = (config.get("logger") or {}).get("wandb") or {}
    options = {name: said[name] for name in OPTIONS if said.get(name)}
    number = str(state.get("id") or said.get("id") or _tracked(run) or secrets.token_hex(4))
    write_atomically(_file(run), json.dumps({"id": number}) + "\n")  # also if this is killed
    tracker = Replay(mode=mode, id=number, **options)
    tracker.begin(run_dir=run.path, name=run.path.name, config=config, run_id=number)
    summary = {**(result.get("metrics") or {}), **{name: result.get(name) for name in SUMMARY}}
    figures, status = sorted((run.path / "figures").glob("*.png")), str(result.get("status") or "killed")
    tracker.end(status, {name: value for name, value in summary.items() if value is not None}, figures)
    if tracker.is_lost or tracker.lacks:
        lacks = f" ({', '.join(tracker.lacks)})" if tracker.lacks else ""
        raise RunError(f"was not sent whole{lacks}; the same command goes on with it")
    if mode == "online" and not tracker.is_online:
        raise RunError("W&B went away; what is offline now is sent by the same command")
    online = mode == "online"
    state = {"id": number, "digest": digest, "online": online}
    write_atomically(_file(run), json.dumps(state) + "\n")
    return f"synced as {number}" if online else f"written for a later upload as {number}"


def _file(run: RunDirectory) -> Path:
    return run.path / ".sync.json"


def _state(run: RunDirectory) -> dict[str, Any]:
    """What an earlier sync has left; empty if there was none."""
    with suppress(OSError, ValueError):
        state = json.loads(_file(run).read_text(encoding="utf-8"))
        if isinstance(state, dict) and isinstance(state.get("id"), str):
            return state
    return {}


def _digest(run: RunDirectory, result: Mapping[str, Any]) -> str:
    """What would be sent, in short."""
    told = json.dumps([result.get("status"), result.get("metrics"), result.get("steps")], sort_keys=True)
    digest = hashlib.sha256(told.encode())
    for file in (run.metrics_file, run.predictions, run.page, *sorted((run.path / "figures").glob("*.png"))):
        digest.update(file.read_bytes() if file.is_file() else b"")
    return digest.hexdigest()


def _tracked(run: RunDirectory) -> str | None:
    """The id under which the run itself was tracked: as result.json has it, or W&B's own folder of the run."""
    trackers = run.result().get("trackers")
    if isinstance(trackers, dict) and isinstance(number := trackers.get("wandb"), str) and number:
        return number
    folders = sorted((run.path / "wandb").glob("*run-*-*"))
    return folders[-1].name.partition("run-")[2].partition("-")[2] if folders else None  # an id may hold hyphens
