"""The keys of conf/hydra/launcher/slurm.yaml. No torch here."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from convarium.errors import ConfigError
from convarium.run.devices import Placement

PLAIN = re.compile(r"[\w.,:@/+=\[\]&|!*-]+")  # what may stand in an #SBATCH line: no blank, no new line


@dataclass(frozen=True)
class Options:
    """The keys of conf/hydra/launcher/slurm.yaml. Raises ConfigError for a value that Slurm cannot take."""

    partition: str | None
    account: str | None
    qos: str | None
    constraint: str | None
    reservation: str | None
    exclude: str | None
    minutes: int
    mem_gb: float | None
    cpus_per_device: int
    gpu_type: str | None
    save_seconds: int
    poll_seconds: float

    def __post_init__(self) -> None:
        for name in ("minutes", "mem_gb", "cpus_per_device", "save_seconds", "poll_seconds"):
            value = getattr(self, name)
            if not (value is None and name == "mem_gb") and (
                isinstance(value, bool) or not isinstance(value, int | float) or value <= 0
            ):
                raise ConfigError(f"hydra.launcher.{name}={value}: expected a number above 0")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, str) and not PLAIN.fullmatch(value):
                raise ConfigError(f"hydra.launcher.{field.name}={value}: not a word that Slurm takes")

    def of_job(self, at: Placement) -> dict[str, Any]:
        """What submitit submits for a job: one task, which starts its ranks; on several machines a task for each."""
        tasks = at.devices if at.nodes > 1 else 1
        asked: dict[str, Any] = {
            "nodes": at.nodes,
            "ntasks_per_node": tasks,
            "cpus_per_task": self.cpus_per_device * at.devices // tasks,
            "time": self.minutes,
            "signal_delay_s": self.save_seconds,
            "srun_args": ["--kill-on-bad-exit=1"],  # else the other ranks wait for one that is no more
            "additional_parameters": {"requeue": True},
        }
        if at.accelerator == "cuda" and self.gpu_type:
            asked["gres"] = f"gpu:{self.gpu_type}:{at.devices}"
        elif at.accelerator == "cuda":
            asked["gpus_per_node"] = at.devices
        if self.reservation:
            asked["additional_parameters"]["reservation"] = self.reservation
        if self.mem_gb:
            asked["mem"] = f"{round(1024 * self.mem_gb)}MB"
        return asked | {
            name: getattr(self, name)
            for name in ("partition", "account", "qos", "constraint", "exclude")
            if getattr(self, name)
        }


def options_of(node: Mapping[str, Any]) -> Options:
    """The options that a launcher's config has."""
    names = {field.name for field in fields(Options)}
    return Options(**{name: value for name, value in node.items() if name in names})
