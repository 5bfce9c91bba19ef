"""The LightningModule: a network, what it is told to minimize, and how. It knows no architecture and no dataset."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import lightning.pytorch as L
import torch
import torchmetrics
from torch import Tensor, nn

from convarium.batch import Batch
from convarium.layers.outputs import Outputs
from convarium.learn.clipping import ClipStats
from convarium.learn.decay import Decay
from convarium.learn.lengths import TrainingLength
from convarium.learn.metrics import Accuracy, BalancedAccuracy, MacroF1, Tally, two_columns
from convarium.learn.optimizers import OptimizerFactory, build_optimizer
from convarium.learn.schedules import Plateau, Schedule
from convarium.learn.shift_test import ShiftTest
from convarium.learn.views import Views
from convarium.randomness import scalar_seed


class Diverged(Exception):
    """The loss or the weights are no longer finite."""


class Learner(L.LightningModule):
    """Trains and scores `net`.

    Metrics are sums on the device, reduced over the ranks once per epoch and every `log_every_n_steps` optimizer steps;
    between those nothing waits for the device. Dropout and its kin are seeded before every micro-batch by
    (seed, micro-batch number, rank), so that no generator state needs to be stored.

    length: the optimizer steps of the whole run and of an epoch, which `schedule` goes by.
    Raises Diverged within `log_every_n_steps` of a loss that is not finite.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        num_classes: int,
        loss: nn.Module,
        optimizer: OptimizerFactory,
        schedule: Schedule,
        length: TrainingLength,
        clip: Callable[..., ClipStats] | None = None,
        decay: Decay = "weights",
        metrics: Mapping[str, torchmetrics.Metric] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.net = net
        self.loss = loss
        metrics = {"acc1": Accuracy(), "acc5": Accuracy(top=5)} if metrics is None else metrics
        tops = {name: metric.top for name, metric in metrics.items() if isinstance(metric, Accuracy)}
        self.train_tally = Tally(num_classes, tops)
        self.eval_tally = Tally(num_classes, tops)
        self.metrics: Any = nn.ModuleDict({name: metric for name, metric in metrics.items() if name not in tops})
        of_the_test = {"balanced_accuracy": BalancedAccuracy, "macro_f1": MacroF1}
        self.of_the_test: Any = nn.ModuleDict(
            {name: kind(num_classes=num_classes) for name, kind in of_the_test.items() if name not in metrics}
        )
        """What a test measures of every run, because accuracy hides what becomes of a class of few images."""
        self.schedule = schedule
        self.length = length
        self.clip = clip
        self.decay: Decay = decay
        self.seed = seed
        self.views: Views | None = None
        """What validation and test show of a picture; None: the image as it is."""
        self.shift_test: ShiftTest | None = None
        """What validation and test measure beside the metrics, if anything."""
        self.latest: dict[str, float] = {}
        """The last logged value under each name."""
        self.notes: list[str] = []
        """What callbacks saw go wrong in the training, a sentence each; it comes into result.json."""
        self.after_clipping: Callable[[], None] | None = None
        """Called between clipping and the optimizer's step, where Lightning has no hook."""
        self.images_per_second: float | None = None
        """Of the training so far, without its first batches."""
        self._make_optimizer = optimizer
        self._named = [(name, p) for name, p in net.named_parameters() if p.requires_grad]
        self._clip_sums = torch.zeros(3)  # norms, clipped shares, steps
        self._logged = [0.0] * len(self.train_tally.sums)  # its sums, over all ranks, at the last log
        self._rank = 0

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_current_fx_name":  # Lightning sets it 44 times per step; nn.Module's own way takes long
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) normalized images -> (N, classes) logits."""
        outputs = self.net(images)
        return outputs.logits if isinstance(outputs, Outputs) else outputs

    # Training ---------------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return build_optimizer(self._make_optimizer, self.net, self.decay)

    def on_train_start(self) -> None:
        self._rank = self.global_rank
        self._clip_sums = self._clip_sums.to(self.device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        seed_device(self.device, scalar_seed(self.seed, "step", batch.number, self._rank))
        outputs = self.net(batch.images)
        losses = self.losses(outputs, batch)
        with torch.no_grad():  # what is logged is the classifier's own loss, to stand beside val/loss
            heads = isinstance(outputs, Outputs)
            logits = outputs.logits if heads else outputs
            own = self.losses(logits, batch) if heads else losses
            self.train_tally.update(own, logits, batch.targets)
        loss: Tensor = losses.mean()
        return loss if batch.weight == 1.0 else loss * batch.weight

    def losses(self, outputs: Tensor | Outputs, batch: Batch) -> Tensor:
        """(N,) losses; of images mixed in pairs, each class's loss by its share."""
        losses: Tensor = self.loss(outputs, batch.targets)
        if batch.mix is None:
            return losses
        partners, share = batch.mix
        other: Tensor = self.loss(outputs, partners)
        return torch.lerp(other, losses, share)

    training_step.__signature__ = inspect.signature(training_step)  # type: ignore[attr-defined]  # asked at every step

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        factor = self.schedule.factor(self.trainer.global_step, self.length)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.on_after_optimizer_step()

    def on_after_optimizer_step(self) -> None:
        """Log every so often. Not in on_train_batch_end: a checkpoint of this step is saved before that is called."""
        step = self.trainer.global_step + 1  # the one just done is not counted yet
        if step % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._log_interval(step)

    def configure_gradient_clipping(
        self, optimizer: torch.optim.Optimizer, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Clip once per optimizer step, after unscaling and after every callback has seen the gradients."""
        if self.clip is None:
            return
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            scaler.unscale_(optimizer)  # a fused optimizer would do it inside its step, too late for clipping
        stats = self.clip(self._named)
        sums = torch.stack((stats.norm, stats.clipped, torch.ones_like(stats.norm)))
        # float16 overflows now and then; the scaler skips such a step, and so do the figures
        self._clip_sums += sums if scaler is None else torch.where(stats.norm.isfinite(), sums, 0.0)
        if self.after_clipping is not None:
            self.after_clipping()

    def on_train_epoch_end(self) -> None:
        seen = int(self._over_ranks(self.train_tally.sums)[-1])
        scores = {f"train/{name}": value for name, value in self._close(self.train_tally).items()}
        self._logged = [0.0] * len(self._logged)
        if not math.isfinite(scores["train/loss"]):
            self._diverge("train/loss", scores["train/loss"])
        self._tell(scores)
        self.log_row({**scores, "train/images": seen})

    # Validation and test ----------------------------------------------------------------------------------------------

    def on_validation_start(self) -> None:
        """Score with rank 0's batch-norm statistics everywhere: after a step each rank has its own."""
        if self.trainer.world_size > 1:
            for buffer in self.net.buffers():
                torch.distributed.broadcast(buffer, 0)

    on_test_start = on_validation_start

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Measure a batch; what every callback is handed of it: (N, classes) `logits`, (N,) `losses`, and `images` if
        those to be looked at are not the batch's.
        """
        logits = self._score(batch.images)
        losses = self.loss(logits, batch.targets)
        self.eval_tally.update(losses, logits, batch.targets)
        for metric in self.metrics.values():
            metric.update(two_columns(logits), batch.targets)
        if self.shift_test is not None:
            self.shift_test.update(self._score, batch.images, logits, batch.targets)
        scores = {"logits": logits, "losses": losses}
        return scores if self.views is None else scores | {"images": self.views.central(batch.images)}

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """As `validation_step`, with the metrics of a test."""
        scores = self.validation_step(batch, batch_idx)
        for metric in self.of_the_test.values():
            metric.update(two_columns(scores["logits"]), batch.targets)
        return scores

    def _score(self, pictures: Tensor) -> Tensor:
        """(N, classes) logits of pictures as they are shown."""
        return self(pictures) if self.views is None else self.views.score(self.net, pictures)

    def on_validation_epoch_end(self) -> None:
        scores = self._close_evaluation("val")
        self._tell(scores)
        self.log_row(scores)

    def on_test_epoch_end(self) -> None:
        self.log_row(self._close_evaluation("test"))

    # State ------------------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["learner"] = {
            "train_sums": self._over_ranks(self.train_tally.sums).tolist(),
            "logged": self._logged,
            "clip_sums": self._clip_sums.tolist(),
            "plateau": self.schedule.state_dict() if isinstance(self.schedule, Plateau) else None,
            "images_per_second": self.images_per_second,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["learner"]
        last = len(self._logged) - 1  # older runs counted acc5 of fewer than five classes too, as the last but one
        self._resumed_sums, self._logged = ([*state[of][:last], state[of][-1]] for of in ("train_sums", "logged"))
        self._clip_sums = torch.tensor(state["clip_sums"], device=self.device)
        if isinstance(self.schedule, Plateau):
            self.schedule.load_state_dict(state["plateau"])
        self.images_per_second = state.get("images_per_second", self.images_per_second)

    def on_fit_start(self) -> None:
        sums = self.__dict__.pop("_resumed_sums", None)
        if sums is not None and self.global_rank == 0:  # they are the sums over all ranks: one of them takes them on
            self.train_tally.sums.copy_(torch.tensor(sums, dtype=self.train_tally.sums.dtype))

    def check_finite(self) -> None:
        """Raise Diverged unless the losses since the last log and the weights are finite, on every rank."""
        loss = self._over_ranks(self.train_tally.sums)[0].item()
        if not math.isfinite(loss):
            self._diverge("train/loss", loss)
        weights = torch.stack(torch._foreach_norm([p.detach() for _, p in self._named])).sum().item()
        if not math.isfinite(weights):
            self._diverge("the norm of the weights", weights)

    def _tell(self, scores: Mapping[str, float]) -> None:
        """Hand figures to those that monitor one of them."""
        several = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.log_dict(scores, logger=False, sync_dist=several)
        if isinstance(self.schedule, Plateau) and self.schedule.monitor in scores:
            self.schedule.observe(scores[self.schedule.monitor])

    # Logging ----------------------------------------------------------------------------------------------------------

    def _log_interval(self, step: int) -> None:
        """Log what gathered since the last time; the one place inside an epoch that waits for the device."""
        total = self._over_ranks(self.train_tally.sums).tolist()
        loss, count = total[0] - self._logged[0], total[-1] - self._logged[-1]
        if not math.isfinite(loss):
            self._diverge("train/loss", loss / max(count, 1))
        row = {"lr": self.trainer.optimizers[0].param_groups[0]["lr"], "train/loss_step": loss / max(count, 1)}
        if self.clip is not None:
            norms, clipped, steps = self._clip_sums.tolist()
            self._clip_sums.zero_()
            if steps:
                row |= {"grad_norm": norms / steps, "clipped_share": clipped / steps}
        self._logged = total
        self.log_row(row, step)

    def log_row(self, row: Mapping[str, float], step: int | None = None) -> None:
        """Write figures down: in metrics.csv and every logger at a step (None: the present one), and, the last value
        under each name, in result.json. Callbacks may call it, on rank 0 or on all.
        """
        self.latest.update(row)
        step = self.trainer.global_step if step is None else step
        epoch = max(0, step - 1) // self.length.steps_per_epoch  # Lightning's is one more once training has ended
        for logger in self.trainer.loggers:
            logger.log_metrics({"epoch": epoch, **row}, step)

    def _close_evaluation(self, split: str) -> dict[str, float]:
        """The figures of a split by their full names."""
        scores = self._close(self.eval_tally)
        for name, metric in (*self.metrics.items(), *(self.of_the_test.items() if split == "test" else ())):
            scores[name] = float(metric.compute())
            metric.reset()
        if self.shift_test is not None:
            scores |= {name: float(value) for name, value in self.shift_test.compute().items()}
            self.shift_test.reset()
        return {f"{split}/{name}": value for name, value in scores.items()}

    def _close(self, tally: Tally) -> dict[str, float]:
        """The means of an epoch over all ranks; the tally starts anew."""
        values = {name: float(value) for name, value in tally.compute().items()}
        tally.reset()
        return values

    def _diverge(self, name: str, value: float) -> NoReturn:
        raise Diverged(f"{name} became {value} by step {self.trainer.global_step}, in epoch {self.current_epoch + 1}")

    # Devices ----------------------------------------------------------------------------------------------------------

    def _over_ranks(self, sums: Tensor) -> Tensor:
        total: Tensor = self.trainer.strategy.reduce(sums.clone(), reduce_op="sum")
        return total


def seed_device(device: torch.device, seed: int) -> None:
    """Seed the generator that layers on `device` draw from; a fraction of the cost of torch.manual_seed."""
    if device.type == "cuda":
        torch.cuda.default_generators[device.index].manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)
