"""MLflow, through Lightning's own logger; without a server, an SQLite file in the run directory."""

import logging
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from convarium.machine import environment
from convarium.observe.tracker import Start, Tracker, numbers_of

VARIABLE = "MLFLOW_TRACKING_URI"
SECONDS = 5.0  # in which a server must answer
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
        uri = self._remote or f"sqlite:///{start.run_dir.resolve() / 'mlflow.db'}"
        client = MlflowClient(uri)
        if client.get_experiment_by_name(self.experiment) is None:  # Lightning would say so in a line of its own
            artifacts = (start.run_dir.resolve() / "mlflow").as_uri() if self._remote is None else None
            client.create_experiment(self.experiment, artifact_location=artifacts)
        run_id = self.run_id
        if run_id is not None:
            try:
                client.get_run(run_id)
            except MlflowException:  # kept in another store than this one
                run_id = None
        name = self._run_name or start.name
        with environment(**{VARIABLE: uri}):  # as MLflow sets it; the next run of this process has a store of its own
            self._logger = MLFlowLogger(self.experiment, name, tracking_uri=uri, tags=self._tags, run_id=run_id)
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

    def close(self, status: str) -> None:
        self._logger.finalize(STATUSES.get(status, "FAILED"))


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
