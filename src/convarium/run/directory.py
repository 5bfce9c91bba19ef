"""What a run leaves behind: its directory, `result.json`, `metrics.csv`, and who may write there. No torch here."""

import errno
import json
import math
import os
import platform
import re
import shlex
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from functools import cache
from importlib.metadata import version
from itertools import chain, count
from pathlib import Path
from typing import Any, Literal

import yaml

from convarium.config.identity import config_hash, slug
from convarium.errors import ConfigError, RunError
from convarium.files import appearing, is_full_disk, is_held, locked, read_regular, write_atomically
from convarium.wording import one_line
from convarium.yaml_text import parse

Status = Literal[
    "queued", "running", "ok", "failed", "exited", "killed", "oom", "diverged", "timeout", "interrupted", "pruned"
]
FINISHED = frozenset({"ok", "failed", "exited", "oom", "diverged", "timeout", "interrupted", "pruned"})
SUCCEEDED = frozenset({"ok", "pruned"})
VERSIONS = ("convarium", "torch", "torchvision", "lightning", "hydra-core", "torchmetrics")
HEARTBEAT_SECONDS = 10.0
LARGEST = 5e13  # of a number in result.json; more seconds no `timedelta` holds
MOVED = (  # where classes that older runs name have gone
    (r"\bconvarium\.data\.(digits|folder|imagenet|published|synthetic)\.", r"convarium.data.datasets.\1."),
    (r"\bconvarium\.run\.precision\.", "convarium.run.devices."),
)
ALWAYS = {f"acc{top}": {"_target_": "convarium.learn.metrics.Accuracy", "top": top} for top in (1, 5)}
"""The metrics of runs before there was a group of them."""


class RunDirectory:
    """One experiment on disk, and every path of it.

    named_here: nobody has typed the name, and where another run takes it first, a new one is as good.
    """

    def __init__(self, path: Path, *, named_here: bool = False) -> None:
        self.path = path
        self.named_here = named_here
        self.config_file = path / "config.yaml"
        self.overrides_file = path / "overrides.yaml"
        self.result_file = path / "result.json"
        self.metrics_file = path / "metrics.csv"
        self.log_file = path / "train.log"
        self.last = path / "checkpoints" / "last.ckpt"
        self.best = path / "checkpoints" / "best.ckpt"
        self.weights = path / "weights.safetensors"
        self.predictions = path / "predictions.npz"
        self.page = path / "report.html"
        self.lock_file = path / ".lock"

    @classmethod
    def planned(cls, config: dict[str, Any]) -> "RunDirectory":
        """Where a new run of this config goes; nothing is made yet. Raises ConfigError if `run_dir` exists already."""
        if not config.get("run_dir"):
            return cls(_new_name(config), named_here=True)
        path = Path(config["run_dir"]).absolute()
        if os.path.lexists(path):
            raise _occupied(path)
        return cls(path)

    def make(self, config: dict[str, Any], overrides: list[str]) -> bool:
        """Make the directory, with the config frozen in it, whole or not at all; whether it is ours. It is not where
        another run has taken its name since it was planned, unless that name was typed. Raises ConfigError where that
        cannot be done."""
        absent = [folder for folder in self.path.parents if not folder.exists()]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with appearing(self.path) as folder:  # of several processes one succeeds
                folder.mkdir()
                whole = RunDirectory(folder)
                whole.save_config(config, overrides)
                Result(whole, config).write(status="queued")
                if os.path.lexists(self.path):  # an empty folder would be replaced
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        except OSError as error:
            if os.path.lexists(self.path):
                if self.named_here:
                    return False
                raise _occupied(self.path) from error
            for folder in absent:
                with suppress(OSError):
                    folder.rmdir()
            raise ConfigError(f"run_dir={self.path}: cannot be written ({error.strerror})") from error
        return True

    @classmethod
    def open(cls, path: Path | str) -> "RunDirectory":
        """An existing run directory. Raises RunError if it is none."""
        run = cls(Path(path).absolute())
        if not run.path.is_dir():
            raise RunError(f"{path}: no such run directory")
        if not run.config_file.is_file():
            raise RunError(f"{path}: not a run directory (it has no config.yaml)")
        return run

    def config(self) -> dict[str, Any]:
        """The resolved config that the run was started with. Raises RunError if it cannot be read."""
        try:
            text = read_regular(self.config_file).decode()
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"{self.config_file}: cannot be read: {one_line(error)}") from error
        return parse_config(text, self.config_file)

    def save_config(self, config: dict[str, Any], overrides: list[str]) -> None:
        """Freeze a resolved config here, and the overrides it came from."""
        write_atomically(self.config_file, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
        write_atomically(self.overrides_file, yaml.safe_dump(overrides, allow_unicode=True))

    def result(self) -> dict[str, Any]:
        """result.json, in which `running` without a living writer is `killed`. Empty if there is none."""
        result = self.written_result()
        if result.get("status") == "running" and self._has_died(result):
            result["status"] = "killed"
        return result

    def written_result(self) -> dict[str, Any]:
        """What is of its kind in result.json as it stands, which may come from anybody. Empty if there is none."""
        try:
            result = json.loads(read_regular(self.result_file).decode())
        except (OSError, ValueError, RecursionError):
            return {}
        return _sound(result) if isinstance(result, dict) else {}

    def close(self, status: Status, error: str) -> None:
        """Say in result.json how a run has ended that could not say it itself."""
        Result(self, self.config()).write(status=status, error=error)

    def is_locked(self) -> bool:
        """Whether a process holds `locked`."""
        return is_held(self.lock_file)

    def _has_died(self, result: dict[str, Any]) -> bool:
        """Whether the writer of a result that says `running` is no more."""
        if result.get("host") == socket.gethostname():
            return not (_alive(int(result.get("pid") or 0)) and self.is_locked())  # another process may have its number
        try:
            limit = (self.config().get("sweep") or {}).get("timeout")
            silent = datetime.now().astimezone() - datetime.fromisoformat(result.get("heartbeat") or "")
        except (RunError, ValueError):
            return False
        return limit is not None and silent.total_seconds() > limit

    def locked(self) -> AbstractContextManager[None]:
        """Be the only writer. Raises RunError if another process is; the lock dies with the process that holds it."""
        return locked(self.lock_file, str(os.getpid()), "is running (process {})")


def parse_config(text: str, source: Path) -> dict[str, Any]:
    """The resolved config that was written as `text`, by an older version too. Raises RunError, which names the source,
    if it is none."""
    for before, now in MOVED:
        text = re.sub(before, now, text)
    try:
        config = parse(text)
    except yaml.YAMLError as error:
        raise RunError(f"{source}: cannot be read: {one_line(error)}") from error
    if not isinstance(config, dict) or "arch" not in config or "data" not in config:
        raise RunError(f"{source}: not the config of a run")
    return {"metrics": ALWAYS, **config}


def _sound(result: dict[str, Any]) -> dict[str, Any]:
    """The fields that are of their kind, and of tables the entries that are."""
    kept = {name: value for name, value in result.items() if KINDS.get(name, _is_any)(value)}
    for name, is_right in TABLES.items():
        if kept.get(name) is not None:
            kept[name] = {key: value for key, value in kept[name].items() if is_right(value)}
    return kept


def _is_any(value: Any) -> bool:
    return True


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and type(value) is not bool and abs(value) < LARGEST)


def _is_moment(value: Any) -> bool:
    try:
        return value is None or datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False


def _is_table(value: Any) -> bool:
    return value is None or isinstance(value, dict)


TABLES: dict[str, Callable[[Any], bool]] = {
    "metrics": lambda value: value is None or (isinstance(value, int | float) and not isinstance(value, bool)),
    "images": lambda value: type(value) is int and 0 <= value < LARGEST,
    "versions": lambda value: isinstance(value, str),
    "trackers": _is_text,
}
KINDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("status", "error", "config_hash", "git", "device", "host", "test_views"), _is_text),
    **dict.fromkeys(("params", "macs", "images_per_second", "wall_seconds", "cpu_seconds", "seed"), _is_number),
    **dict.fromkeys(("epochs", "steps", "saved_steps", "total_steps"), _is_number),
    **dict.fromkeys(TABLES, _is_table),
    "pid": lambda value: type(value) is int and value < 2**31,
    "heartbeat": _is_moment,
    "notes": lambda value: isinstance(value, list) and all(isinstance(note, str) for note in value),
}
"""What the fields of result.json are."""


def _new_name(config: dict[str, Any]) -> Path:
    now = datetime.now()
    stem = Path("runs").absolute() / now.strftime("%Y-%m-%d")
    name = f"{now:%H-%M-%S}-{slug(config['name'])}-{config_hash(config)[:8]}"
    again = (stem / f"{name}-{attempt}" for attempt in count(2))  # the same experiment twice in a second
    return next(path for path in chain([stem / name], again) if not os.path.lexists(path))


def _occupied(path: Path) -> ConfigError:
    goes_on = f" (resume={path} goes on with it)" if (path / "config.yaml").is_file() else ""
    return ConfigError(f"run_dir={path}: exists already; a run is never overwritten{goes_on}")


def _alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # a zombie is dead, it only waits for its parent to look
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


def as_seen_from_here(path: Path) -> str:
    """A path relative to the current folder if it is below, quoted for a shell if it needs to be."""
    with suppress(ValueError):
        path = path.relative_to(Path.cwd())
    return shlex.quote(str(path))


class Result:
    """result.json of a running experiment: written at the start, as a sign of life from the loops, and at the end.

    Signs of life come every 10 s, or three times in `sweep.timeout`, after which a job of a sweep is taken to hang.

    anew: nothing of an earlier attempt counts, its seconds neither.
    """

    def __init__(self, run: RunDirectory, config: dict[str, Any], *, anew: bool = False) -> None:
        self.file = run.result_file
        limit = (config.get("sweep") or {}).get("timeout")
        self.seconds = HEARTBEAT_SECONDS if limit is None else min(HEARTBEAT_SECONDS, limit / 3)
        before = {} if anew else run.result()
        self._wall_before = float(before.get("wall_seconds") or 0.0)
        self._cpu_before = float(before.get("cpu_seconds") or 0.0)
        self._started, self._cpu_started = time.monotonic(), time.process_time()
        self._next = 0.0
        self.fields: dict[str, Any] = {
            "status": "running",
            "error": None,
            "notes": before.get("notes", []),
            "metrics": before.get("metrics", {}),
            "params": before.get("params"),
            "macs": before.get("macs"),
            "images": before.get("images"),
            "images_per_second": before.get("images_per_second"),
            "wall_seconds": self._wall_before,
            "cpu_seconds": self._cpu_before,
            "epochs": before.get("epochs", 0),
            "steps": before.get("steps", 0),
            "saved_steps": before.get("saved_steps", 0),
            "total_steps": before.get("total_steps"),
            "seed": config["seed"],
            "config_hash": config_hash(config),
            "git": git_commit(),
            "versions": versions(),
            "device": before.get("device"),
            "trackers": before.get("trackers", {}),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "heartbeat": None,
        }

    def write(self, **fields: Any) -> None:
        """Update fields and write the file."""
        self.fields |= fields
        self.fields["wall_seconds"] = round(self._wall_before + time.monotonic() - self._started, 3)
        self.fields["cpu_seconds"] = round(self._cpu_before + time.process_time() - self._cpu_started, 3)
        self.fields["heartbeat"] = datetime.now().astimezone().isoformat(timespec="seconds")
        text = json.dumps(_finite(self.fields), indent=2, ensure_ascii=False) + "\n"
        try:
            write_atomically(self.file, text)
        except OSError as error:
            if not is_full_disk(error) or self.fields["status"] == "running" or not self.file.is_file():
                raise
            with self.file.open("r+", encoding="utf-8") as file:  # in the place that the file before has
                file.write(text)
                file.truncate()
        self._next = time.monotonic() + self.seconds

    def due(self) -> bool:
        """Whether it is time for another sign of life."""
        return time.monotonic() >= self._next


def _finite(node: Any) -> Any:
    """JSON has no nan: such a number becomes null."""
    if isinstance(node, dict):
        return {key: _finite(value) for key, value in node.items()}
    if isinstance(node, float) and not math.isfinite(node):
        return None
    return node


@cache
def versions() -> dict[str, str]:
    """Of Python and the packages that decide a result."""
    return {name: version(name) for name in VERSIONS} | {"python": platform.python_version()}


@cache  # what was imported: a later commit is not
def git_commit() -> str | None:
    """The commit of the checkout this package runs from, with "+" if files differ from it; None without a checkout."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments], capture_output=True, text=True, timeout=5, check=True
        )
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None
