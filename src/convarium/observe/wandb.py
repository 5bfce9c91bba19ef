"""Weights & Biases: online where there is a key and a network, else offline by itself, in one line.

The run's id is chosen here before W&B is reached, so that a checkpoint can keep it and a resumed run continues it.
Every row carries its own step (`trainer/global_step`), so that a resumed run may go back behind the last row.
What the config leaves open, W&B's own variables say (WANDB_PROJECT, ...), and what these leave open, we do.
"""

import base64
import json
import logging
import netrc
import os
import secrets
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import numpy as np

from convarium.observe.tracker import Start, Tracker, swept_of
from convarium.wording import first_line

log = logging.getLogger(__name__)

STEP = "trainer/global_step"
LEGACY_HOST = "api.wandb.ai"  # under which `wandb login` has filed keys for the public server in ~/.netrc
VARIABLES = {
    "project": "WANDB_PROJECT",
    "name": "WANDB_NAME",
    "group": "WANDB_RUN_GROUP",
    "job_type": "WANDB_JOB_TYPE",
    "dir": "WANDB_DIR",
}
"""W&B's own words for what we would say."""
LONGEST_TAG = 64  # characters
EXIT_CODES = {"ok": 0, "pruned": 0, "interrupted": 130}  # any other status is 1: W&B shows the run as failed


class Wandb(Tracker):
    """W&B run `id` of `project`; `mode: auto` is online if there is a key that the server accepts within seconds.

    `online` insists: it waits a minute for a slow server before it writes offline, not for one that is not there.
    `disabled` writes nothing at all.
    """

    connecting: ClassVar[float] = 9.0  # seconds in which `auto` must be online, probe included

    def __init__(
        self,
        *,
        project: str | None = None,
        entity: str | None = None,
        name: str | None = None,
        group: str | None = None,
        job_type: str | None = None,
        tags: Sequence[str] = (),
        notes: str | None = None,
        mode: str = "auto",
        id: str | None = None,  # W&B's own name for it
    ) -> None:
        super().__init__(id)
        if id is not None and (not id or set(id) & set("/\\#?%:")):
            raise ValueError(f"id={id!r}: a W&B run id is not empty and has none of / \\ # ? % :")
        self.mode = mode
        said = {"project": project, "entity": entity, "name": name, "group": group, "job_type": job_type}
        self._said = {key: value for key, value in said.items() if value is not None}
        self._said |= {"notes": notes} if notes else {}
        self._tags = [*map(str, tags)]
        self._run: Any = None  # a wandb.Run
        self.is_online = False
        """Whether it has reached the server."""
        self._last_step = 0
        self._environment: list[str] = []

    def _choose_id(self, previous: str | None, config: Mapping[str, Any]) -> str:
        alone = (config.get("sweep") or {}).get("name") is None  # the jobs of our sweep would all be the one run
        given = os.environ.get("WANDB_RUN_ID") if alone else None
        return super()._choose_id(previous, config) or given or secrets.token_hex(4)

    def _import(self) -> None:
        # Failures are reported by our one line, not by telemetry; what W&B caches belongs to the run that wrote it.
        wanted = {"WANDB_ERROR_REPORTING": "false", "WANDB_CACHE_DIR": f"{self.save_dir}/wandb/cache"}
        self._environment = [name for name in wanted if name not in os.environ]
        os.environ.update({name: wanted[name] for name in self._environment})
        import requests  # noqa: F401  # which wandb.init would import in the tracker's thread
        import wandb  # noqa: F401

    def open(self, start: Start) -> None:
        mode = self.mode
        if mode == "auto":  # the environment's word counts, as everywhere with W&B
            asked = os.environ.get("WANDB_MODE", "")
            known = ("online", "offline", "disabled")
            mode = "offline" if asked == "dryrun" else asked if asked in known else mode
        began = time.monotonic()
        reason = why_offline(seconds=4.0, insists=mode == "online") if mode in ("auto", "online") else None
        if mode in ("auto", "online") and reason is None:
            left = self.connecting - (time.monotonic() - began) if mode == "auto" else 60.0
            try:
                self._run = self._init(start, "online", left)
                self.is_online = True
                log.info("wandb: %s", self._run.url)
            except Exception as error:
                reason = first_line(error)
                end_service()  # it holds the id of the run that it could not start
        if self._run is None:
            self._run = self._init(start, "disabled" if mode == "disabled" else "offline", 60.0)
            if mode != "disabled":
                level, why = (logging.WARNING, f" ({reason})") if reason else (logging.INFO, "")
                folder = Path(self._run.dir).parent
                log.log(level, "wandb: offline%s; upload it later with: wandb sync '%s'", why, folder)
        self._run.define_metric(STEP, hidden=True)
        self._run.define_metric("*", step_metric=STEP, step_sync=True)
        if not self._run.resumed:  # offline, or unknown to the server: the upload of an id replaces what was there
            for row in start.rows:
                self.write_metrics({name: value for name, value in row.items() if name != "step"}, int(row["step"]))

    def write_config(self, config: dict[str, Any]) -> None:
        self._run.config.update(config, allow_val_change=True)

    def write_metrics(self, metrics: dict[str, float], step: int | None) -> None:
        self._last_step = self._last_step if step is None else step
        self._run.log(metrics if step is None else {**metrics, STEP: step})

    def write_summary(self, summary: dict[str, Any]) -> None:
        self._run.summary.update(summary)

    def write_histogram(self, name: str, low: float, high: float, shares: Sequence[float], step: int) -> None:
        import wandb

        edges = np.linspace(low, high, len(shares) + 1)
        self._run.log({name: wandb.Histogram(np_histogram=(np.asarray(shares), edges)), STEP: step})

    def write_table(self, name: str, columns: list[str], rows: list[list[Any]]) -> None:
        import wandb

        self._run.log({name: wandb.Table(columns=[*columns], data=rows), STEP: self._last_step})

    def write_page(self, file: Path) -> None:
        import wandb

        artifact = wandb.Artifact(f"report-{self._run.id}", type="report")
        artifact.add_file(str(file))
        self._run.log_artifact(artifact)

    def write_figures(self, files: Sequence[Path]) -> None:
        import wandb

        images = {f"figures/{file.stem}": wandb.Image(str(file)) for file in files}
        self._run.log({**images, STEP: self._last_step})

    def close(self, status: str) -> None:
        import wandb

        self._run.finish(exit_code=EXIT_CODES.get(status, 1))
        if wandb.setup().most_recent_active_run is None:
            wandb.teardown()
        self._restore_environment()

    def _init(self, start: Start, mode: Any, seconds: float) -> Any:
        import wandb

        if mode != "disabled":
            wandb.setup(wandb.Settings(silent=True))  # its service, and no line but ours
        quiet: Any = {"silent": True, "console": "off", "disable_git": True}  # a remote's address may hold a password
        settings = wandb.Settings(**quiet, init_timeout=seconds, finish_timeout=self.farewell - 5.0)
        ours = {"project": "convarium", "name": start.name, "job_type": "train", "dir": start.run_dir}
        ours["group"] = (start.config.get("sweep") or {}).get("name")
        left = {key: value for key, value in ours.items() if VARIABLES[key] not in os.environ}
        swept = swept_of(start.config)
        tags = [*self._tags, *(f"{key}={value}"[:LONGEST_TAG] for key, value in swept.items())]
        if not self._tags and "WANDB_TAGS" in os.environ:
            tags = []
        config = {**start.config, **({"swept": swept} if swept else {})}  # a column each, in W&B's table
        run: Any = {"id": self.run_id, "config": config, "tags": tags or None, **left, **self._said}
        how: Any = {"mode": mode, "resume": "allow", "reinit": "create_new", "save_code": False, "settings": settings}
        return wandb.init(**run, **how)

    def _abandon(self) -> None:
        end_service()
        self._restore_environment()

    @property
    def _rescue(self) -> str:
        if self._run is None:
            return super()._rescue
        return f"metrics.csv has every row, and: wandb sync '{Path(self._run.dir).parent}'"

    def _restore_environment(self) -> None:
        for name in self._environment:
            os.environ.pop(name, None)


def why_offline(seconds: float, *, insists: bool = False) -> str | None:
    """Why W&B cannot be used online, in a few words, or None; asks the server with the key, for at most `seconds`.

    Without a key it is never tried: W&B would ask for one on the terminal. insists: a server that is only slow can be.
    """
    import wandb

    settings = wandb.setup(wandb.Settings(silent=True)).settings
    token_file = settings.identity_token_file
    key = settings.api_key or (None if token_file else netrc_key(settings.base_url))
    if not key and not token_file:
        return "no API key: set WANDB_API_KEY or run `wandb login`"
    answer: list[str | None] = []

    def asking() -> None:
        with suppress(TimeoutError):
            answer.append(ask(settings.base_url, key, seconds))

    thread = threading.Thread(target=asking, daemon=True)
    thread.start()
    thread.join(seconds)  # a name server that does not answer heeds no time limit
    if not answer:
        return None if insists else f"{settings.base_url} does not answer"
    return answer[0]


def netrc_key(base_url: str) -> str | None:
    """The key that ~/.netrc (or $NETRC) holds for a W&B server, or None."""
    try:
        entries = netrc.netrc(os.environ.get("NETRC") or Path("~/.netrc").expanduser())
    except (OSError, netrc.NetrcParseError):
        return None
    hosts = [urlsplit(base_url).netloc, *([] if "WANDB_BASE_URL" in os.environ else [LEGACY_HOST])]
    logins = (entries.authenticators(host) for host in hosts)
    return next((login[2] for login in logins if login), None)


def ask(base_url: str, key: str | None, seconds: float) -> str | None:
    """Ask a W&B server who holds the key; None if it knows, or if only W&B's own client can tell.

    Raises TimeoutError if it does not answer in time.
    """
    request = urllib.request.Request(f"{base_url}/graphql", data=b'{"query": "query { viewer { id } }"}')
    request.add_header("Content-Type", "application/json")
    if key:
        request.add_header("Authorization", "Basic " + base64.b64encode(f"api:{key}".encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=seconds) as response:
            viewer = (json.load(response).get("data") or {}).get("viewer")
    except urllib.error.HTTPError as error:
        return f"{base_url} refuses the API key" if error.code in (401, 403) else None
    except (OSError, ValueError) as error:
        cause = getattr(error, "reason", error)
        if isinstance(cause, TimeoutError):
            raise cause from error
        return None if isinstance(cause, ssl.SSLError) else f"{base_url} does not answer"
    return f"{base_url} refuses the API key" if key and viewer is None else None


def end_service() -> None:
    """Kill W&B's background process if this one started it: a hung one would hold up our exit.

    W&B offers only `teardown`, which waits for it. The names are private: a test notices when they change.
    """
    from wandb.sdk import wandb_setup

    library, wandb_setup._singleton = wandb_setup._singleton, None
    os.environ.pop("WANDB_SERVICE", None)
    connection = library._connection if library else None
    if connection is not None and connection._proc is not None:
        if connection._cleanup is not None:
            connection._cleanup()  # takes back its exit hook
        connection._proc._process.kill()
        connection._proc._process.wait()
