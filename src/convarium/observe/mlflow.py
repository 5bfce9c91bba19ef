"""MLflow, through Lightning's own logger; without a server, an SQLite file in the directory of the run or the sweep.

The jobs of a sweep are children of a run that stands for it, which is at work as long as one of them is.
"""

import fcntl
import logging
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from convarium.machine import environment
from convarium.observe.tracker import Start, Tracker, numbers_of, swept_of

VARIABLE = "MLFLOW_TRACKING_URI"
SECONDS = 5.0  # in which a server must answer
PARENT = "mlflow.parentRunId"
STATUSES = {"ok": "FINISHED", "pruned": "KILLED", "interrupted": "KILLED"}  # any other is FAILED


class MLflow(Tracker):
    """A run of `experiment`; its id is MLflow's own and known once the tracker is open.

    experiment: by default $MLFLOW_EXPERIMENT_NAME, or "convarium". group: by default the sweep's name.
    """

    package = "mlflow"

    def __init__(
        self,
        *,
        experiment: str | None = None,
        name: str | None = None,
        group: str | None = None,
        tags: Mapping[str, str] | None = None,
        tracking_uri: str | None = None,
        id: str | None = None,  # MLflow's own name for it
    ) -> None:
        super().__init__(id)
        self.experiment = experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "convarium"
        self.tracking_uri, self._run_name = tracking_uri, name
        self._tags = {**({"group": group} if group else {}), **{key: str(value) for key, value in (tags or {}).items()}}

    @property
    def _remote(self) -> str | None:
        """Where the store is if not in the run directory; an address of the environment may hold a password, so it is
        read here and never enters a config."""
        return self.tracking_uri or os.environ.get(VARIABLE)

    def _import(self) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # a run tells its trackers and nobody else
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # of 7: a server that dies holds up the end
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        import lightning.pytorch.loggers  # noqa: F401
        import mlflow.tracking

        if self._remote is None:
            import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

    def open(self, start: Start) -> None:
        from lightning.pytorch.loggers import MLFlowLogger
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        if self._remote is not None:
            require_answer(self._remote)
        swept = swept_of(start.config)
        folder = start.run_dir.resolve().parents[1]
        self._sweep = folder if swept and (folder / "sweep.yaml").is_file() else None
        place = self._sweep or start.run_dir.resolve()
        uri = self._remote or f"sqlite:///{place / 'mlflow.db'}"
        tags = {**{key: str(value) for key, value in swept.items()}, **self._tags}
        name, run_id = self._run_name or start.name, self.run_id
        with self._alone():
            client = self._client = MlflowClient(uri)
            if client.get_experiment_by_name(self.experiment) is None:  # Lightning would say so in a line of its own
                artifacts = (place / "mlflow").as_uri() if self._remote is None else None
                client.create_experiment(self.experiment, artifact_location=artifacts)
            if run_id is not None:
                try:
                    client.get_run(run_id)
                except MlflowException:  # kept in another store than this one
                    run_id = None
            if self._sweep is not None:
                tags[PARENT] = self._parent(self._sweep)
            with environment(**{VARIABLE: uri}):  # as MLflow sets it; the next run of this process has its own store
                self._logger = MLFlowLogger(self.experiment, name, tracking_uri=uri, tags=tags, run_id=run_id)
                self.run_id = self._logger.run_id
        if run_id is None:  # parameters of a run are written once; a resumed run may have a longer max_epochs
            self.write_config(start.config)
        else:
            client.update_run(run_id, status="RUNNING")

    def write_config(self, config: dict[str, Any]) -> None:
        if not self._logger.experiment.get_run(self._logger.run_id).data.params:
            self._logger.log_hyperparams(config)

    def write_metrics(self, metrics: dict[str, float], step: int | None) -> None:
        self._logger.log_metrics(metrics, step)

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Figures become metrics of that name under `summary/`, anything else a tag."""
        figures = numbers_of(summary)
        self._logger.log_metrics(figures)
        for name, value in summary.items():
            if f"summary/{name}" not in figures and value is not None:
                self._logger.experiment.set_tag(self._logger.run_id, name, str(value))

    def write_figures(self, files: Sequence[Path]) -> None:
        for file in files:
            self._logger.experiment.log_artifact(self._logger.run_id, file, "figures")

    def write_page(self, file: Path) -> None:
        self._client.log_artifact(str(self.run_id), str(file))

    def write_table(self, name: str, columns: list[str], rows: list[list[Any]]) -> None:
        table = {column: [row[k] for row in rows] for k, column in enumerate(columns)}
        self._client.log_table(str(self.run_id), table, f"{name}.json")

    def close(self, status: str) -> None:
        self._logger.finalize(STATUSES.get(status, "FAILED"))
        if self._sweep is not None:
            with self._alone():
                parent = self._parent(self._sweep)
                experiment = self._client.get_run(parent).info.experiment_id
                at_work = f"tags.`{PARENT}` = '{parent}' and attributes.status = 'RUNNING'"
                if not self._client.search_runs([experiment], at_work, max_results=1):
                    self._client.set_terminated(parent)

    def _parent(self, sweep: Path) -> str:
        """The run that stands for a sweep, at work from now on: the one that an earlier job has noted in its folder, or
        a new one, if this store does not have that."""
        from mlflow.exceptions import MlflowException

        note = sweep / ".mlflow"
        known = note.read_text(encoding="utf-8").split() if note.is_file() else []
        for number in known:
            try:
                self._client.update_run(number, status="RUNNING")
                return number
            except MlflowException:  # of another store
                continue
        experiment: Any = self._client.get_experiment_by_name(self.experiment)
        tags = {"mlflow.runName": sweep.name, "group": sweep.name}
        parent: str = self._client.create_run(experiment.experiment_id, tags=tags).info.run_id
        note.write_text("\n".join([*known, parent]) + "\n", encoding="utf-8")
        return parent

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While no other job of the sweep is at what one of them is to do."""
        if self._sweep is None:
            yield
            return
        with (self._sweep / ".mlflow.lock").open("a") as lock:  # given back when it is closed
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def require_answer(uri: str) -> None:
    """Raise ConnectionError if nobody answers where a tracking URI says; MLflow's own client would ask for minutes."""
    place = urlsplit(uri)
    if place.scheme not in ("http", "https"):
        return
    address = place.netloc.rpartition("@")[2]  # without a password
    try:
        urllib.request.urlopen(f"{place.scheme}://{address}/health", timeout=SECONDS).close()
    except urllib.error.HTTPError:  # an answer as well
        return
    except (OSError, HTTPException) as error:
        if not isinstance(getattr(error, "reason", error), ssl.SSLError):  # of which MLflow's variables decide
            raise ConnectionError(f"{address} does not answer") from error
