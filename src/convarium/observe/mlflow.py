"""MLflow, through Lightning's own logger; without a server, an SQLite file in the run directory."""

import logging
import os
from collections.abc import Mapping
from typing import Any

from convarium.observe.tracker import Start, Tracker, numbers_of, require

STATUSES = {"ok": "FINISHED", "pruned": "KILLED", "interrupted": "KILLED"}  # any other is FAILED


class MLflow(Tracker):
    """A run of `experiment`; its id is MLflow's own and known once the tracker is open."""

    def __init__(
        self,
        *,
        experiment: str = "convarium",
        name: str | None = None,
        group: str | None = None,
        tags: Mapping[str, str] | None = None,
        tracking_uri: str | None = None,
        id: str | None = None,  # MLflow's own name for it
    ) -> None:
        super().__init__(id)
        require("mlflow")
        self.experiment, self.tracking_uri = experiment, tracking_uri
        self._run_name = name
        self._tags = {**({"group": group} if group else {}), **{key: str(value) for key, value in (tags or {}).items()}}

    @property
    def _remote(self) -> str | None:
        """Where the store is if not in the run directory; an address of the environment may hold a password, so it is
        read here and never enters a config."""
        return self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")

    def _import(self) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # a run tells its trackers and nobody else
        import lightning.pytorch.loggers  # noqa: F401
        import mlflow.tracking

        if self._remote is None:
            import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

    def open(self, start: Start) -> None:
        from lightning.pytorch.loggers import MLFlowLogger
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
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

    def close(self, status: str) -> None:
        self._logger.finalize(STATUSES.get(status, "FAILED"))
