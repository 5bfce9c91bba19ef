"""The keys of conf/hydra/launcher/slurm.yaml. No torch here."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from convarium.errors import ConfigError
from convarium.run.devices import Placement

PLAIN = re.compile(r"[\w.,:@/+=\[\]&|!*-]+")  # what may stand in an #SBATCH line: no blank, no new line

NUMBERS = ("minutes", "mem_gb", "cpus_per_device", "save_seconds", "poll_seconds")


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
        for name, value in vars(self).items():
            is_number = name in NUMBERS and (name, value) != ("mem_gb", None)
            if is_number and not (type(value) in (int, float) and value > 0):
                raise ConfigError(f"hydra.launcher.{name}={value}: expected a number above 0")
            if isinstance(value, str) and not PLAIN.fullmatch(value):
                raise ConfigError(f"hydra.launcher.{name}={value}: not a word that Slurm takes")

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
        words = {name: getattr(self, name) for name in ("partition", "account", "qos", "constraint", "exclude")}
        return asked | {name: word for name, word in words.items() if word}


def options_of(node: Mapping[str, Any]) -> Options:
    """The options that a launcher's config has."""
    return Options(**{field.name: node[field.name] for field in fields(Options) if field.name in node})
