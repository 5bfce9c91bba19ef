"""The learning rate range test (Smith 2017, arXiv:1506.01186): train while the rate rises, and see what the loss does.

It is a fit like any other whose schedule rises and which a callback ends: nothing of training is written twice. The
folder of a test holds its answer, lr_find.json, .csv and .png; while it goes on, checkpoints to go on from.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as L

from convarium.config.identity import config_hash, slug
from convarium.errors import ConfigError, RunError
from convarium.files import read_regular, remove, write_atomically
from convarium.find.chart import save_chart
from convarium.find.curve import Suggestion, has_diverged, smoothed, suggest
from convarium.find.trial import as_before, shortened, train
from convarium.learn.learner import Diverged, Learner
from convarium.learn.lengths import TrainingLength
from convarium.learn.schedules import Schedule
from convarium.progress_bar import Progress
from convarium.run.checkpoint import Checkpoint, saved_of
from convarium.run.directory import RunDirectory
from convarium.run.fit import assemble
from convarium.run.prepare import Prepared

SAVED_EVERY_MINUTES = 0.5
ANSWER = "lr_find.json"


@dataclass(frozen=True, kw_only=True)
class Range:
    """From which rate to which, in how many steps; exponentially, or `rise` "linear".

    It ends before its last step where the smoothed loss is more than `diverged` times its least so far.
    """

    low: float = 1e-6
    high: float = 10.0
    steps: int = 200
    rise: str = "exponential"
    diverged: float = 4.0
    smoothing: float = 0.9

    def rate(self, step: int) -> float:
        """The rate of a step, counted from 0."""
        done = step / (self.steps - 1)
        if self.rise == "linear":
            return self.low + (self.high - self.low) * done
        return float(self.low * (self.high / self.low) ** done)


@dataclass(frozen=True, kw_only=True)
class Rising(Schedule):
    """The factor by which a rate of `base` becomes that of a range; other parameter groups rise along with it."""

    range: Range
    base: float

    def shape(self, step: int, warm: int, length: TrainingLength) -> float:
        return self.range.rate(step) / self.base


class Losses(L.Callback):
    """Keeps the loss of each step, the mean over its batch before the step, and ends the fit where it diverges."""

    def __init__(self, range: Range, progress: Progress) -> None:
        self.range, self.progress = range, progress
        self.values: list[float] = []

    @property
    def smooth(self) -> list[float]:
        """The smoothed losses."""
        return smoothed(self.values, self.range.smoothing)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.progress.begin(self.range.steps, "steps")
        self.progress.advance(len(self.values))
        trainer.should_stop = has_diverged(self.smooth, self.range.diverged)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if trainer.global_step == len(self.values):  # gradients were only accumulated
            return
        assert isinstance(pl_module, Learner)
        rate = self.range.rate(len(self.values))
        self.values.append(pl_module.latest["train/loss_step"])
        self.progress.advance(note=f"rate {rate:.1e}  loss {self.values[-1]:.4g}")
        trainer.should_stop = has_diverged(self.smooth, self.range.diverged)

    def state_dict(self) -> dict[str, Any]:
        return {"losses": self.values}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.values = list(state_dict["losses"])


@dataclass(frozen=True)
class Answer:
    """What a range test has found out."""

    folder: Path
    range: Range
    losses: list[float]
    has_diverged: bool
    is_old: bool = False
    """Whether an earlier command has left it in the folder."""

    @property
    def rates(self) -> list[float]:
        """The rate of each step that was taken."""
        return [self.range.rate(step) for step in range(len(self.losses))]

    @property
    def smooth(self) -> list[float]:
        """The smoothed losses."""
        return smoothed(self.losses, self.range.smoothing)

    @property
    def suggestion(self) -> Suggestion | None:
        """The rates that it singles out."""
        return suggest(self.rates, self.smooth)


def range_test(prepared: Prepared, over: Range, folder: Path | None = None) -> Answer:
    """Test the learning rates of an experiment, or go on with the test where it was stopped, or read its answer.

    folder: None: lr_find/<name>-<hash>. Raises ConfigError for what cannot be trained, RunError for a folder that holds
    something else, Interrupted after a signal: the same call goes on.
    """
    short = shortened(prepared, over.steps)
    base = prepared.config["optimizer"]["lr"]
    if not base:
        raise ConfigError("optimizer.lr=0: a range test raises it; accepted: more than 0")
    checkpoint = {"_target_": f"{Checkpoint.__module__}.Checkpoint", "every_n_minutes": SAVED_EVERY_MINUTES}
    config = short.config | {"lr_find": asdict(over), "callbacks": {"checkpoint": checkpoint}}
    config |= {"schedule": None, "average": None, "test": {"weights": "last"}}
    short = replace(short, config=config, schedule=Rising(range=over, base=base), average=None)
    digest = config_hash(config)
    folder = folder or Path("lr_find") / f"{slug(config['name'])}-{digest[:8]}"
    if (old := _answer_in(folder, digest)) is not None:
        return Answer(folder, over, old["losses"], old["diverged"], is_old=True)
    run = RunDirectory(folder.absolute())
    with as_before(prepared), Progress() as progress:
        experiment, losses = assemble(run, short), Losses(over, progress)
        experiment.trainer.callbacks.insert(0, losses)  # type: ignore[attr-defined]  # before the checkpoint
        try:
            run.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"to={folder}: cannot be made ({error.strerror})") from error
        with run.locked():
            write_atomically(folder / ANSWER, json.dumps({"status": "running", "config_hash": digest}) + "\n")
            try:
                start = run.last if saved_of(run, config) else None
                with suppress(Diverged):  # the loss of the step after the last is not finite
                    train(experiment, short, start)
            except BaseException:
                if not run.last.is_file():
                    remove(folder)
                raise
            ends = len(losses.values) < over.steps or has_diverged(losses.smooth, over.diverged)
            answer = Answer(folder, over, losses.values, ends)
            _write(answer, config["name"], digest)
            remove(run.last.parent)
    return answer


def _answer_in(folder: Path, digest: str) -> dict[str, Any] | None:
    """What a finished test has written into a folder; None if there is none, or it is to go on.

    Raises RunError for a folder of anything else.
    """
    if not folder.exists():
        return None
    try:
        written = json.loads(read_regular(folder / ANSWER))
        of = written["config_hash"]
    except (OSError, ValueError, KeyError, TypeError):
        if folder.is_dir() and not any(folder.iterdir()):
            return None
        raise RunError(f"{folder}: exists and is not the folder of a range test; choose another by to=FOLDER") from None
    if of != digest:
        raise RunError(f"{folder}: holds the range test of another experiment; choose another by to=FOLDER")
    return written if written["status"] == "ok" else None


def _write(answer: Answer, name: str, digest: str) -> None:
    """The rows, the chart and, when both are there, the answer."""
    columns = zip(answer.rates, answer.losses, answer.smooth, strict=True)
    lines = [f"{step},{rate!r},{loss!r},{smooth!r}" for step, (rate, loss, smooth) in enumerate(columns)]
    write_atomically(answer.folder / "lr_find.csv", "\n".join(["step,rate,loss,smoothed", *lines]) + "\n")
    save_chart(answer.folder / "lr_find.png", name, answer.rates, answer.losses, answer.smooth, answer.suggestion)
    record = {
        "status": "ok",
        "config_hash": digest,
        "name": name,
        "range": asdict(answer.range),
        "diverged": answer.has_diverged,
        "suggestion": answer.suggestion and answer.suggestion._asdict(),
        "losses": answer.losses,
    }
    write_atomically(answer.folder / ANSWER, json.dumps(record, indent=2) + "\n")
