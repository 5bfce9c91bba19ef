"""What a run learned and where it errs: collected while it is tested, drawn (`convarium.observe.charts`) and saved.

Everything is collected on the device, in memory bounded by the number of mistakes shown, and drawn once at the end, or
left in RUN/figures to be drawn when there is time for it.
"""

import logging
import signal
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as L
import torch
from torch import Tensor

from convarium.drawing import LEFT, STYLE, save_png
from convarium.files import appearing
from convarium.machine import signals_wait
from convarium.observe.charts import Mistake, confusion_matrix, learning_curves, worst_mistakes
from convarium.observe.contact_sheet import contact_sheet
from convarium.observe.look_sheet import gradcam_of_mistakes
from convarium.observe.tracker import rows_of
from convarium.observe.watched import lower_is_better, watched_metric
from convarium.progress_bar import doing
from convarium.wording import typed_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

SHOWN, EPOCHS_SHOWN = 10, 4  # training images, and in how many epochs each
SHORT_SECONDS = 60.0  # a run that has taken longer draws at once, and hardly takes longer by it


def _worst_mistakes(rows: Sequence[Sequence[Any]], *rest: Any) -> "Figure":
    return worst_mistakes([Mistake(*row) for row in rows], *rest)


DRAWS: "dict[str, Callable[..., Figure]]" = {
    "learning_curves": learning_curves,
    "training_images": contact_sheet,
    "confusion_matrix": confusion_matrix,
    "worst_mistakes": _worst_mistakes,
}
"""Figures by their names, made of tensors, numbers, texts and lists of these, which may wait in a file."""


class Figures(L.Callback):
    """Write learning_curves, training_images, confusion_matrix and worst_mistakes.png into RUN/figures; with `gradcam`
    also gradcam.png: what speaks for so many of these mistakes, and for the truth.

    The module's `test_step` returns `{"logits": (N, C), "losses": (N,)}`, one logit standing for two classes, and
    `images` if those to be drawn are not the batch's; the batch has `images` (normalized), `targets` and `index`; the
    data module has `class_names`, `denormalize` and `samples`. A figure that cannot be drawn costs one line of log.
    """

    def __init__(self, *, worst: int = 25, gradcam: int = 0, dpi: int = 150) -> None:
        self.worst, self.gradcam, self.dpi = worst, gradcam, dpi
        self.folder: Path | None = None
        """Where they go; None: into RUN/figures."""
        self.later = False
        """Whether a short run leaves them to `draw_left`."""
        self._began = time.monotonic()
        self.drawn: list[Path] = []
        self._counts: Tensor | None = None  # (C, C) images, truth x prediction
        self._mistakes: _Worst | None = None
        self._broken = False

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.save()  # metrics.csv may be buffered
            self.draw_training(Path(trainer.default_root_dir), trainer.callbacks, trainer.datamodule.samples)

    def draw_training(self, run: Path, callbacks: Sequence[Any], samples: Callable[[int, int], Any]) -> None:
        """Draw the learning curves out of the metrics.csv in the folder of a run, with the metric that one of its
        callbacks monitors, and so many training images in so many epochs as `samples` gives."""
        self._draw(
            run,
            learning_curves=lambda: self._curves(run, callbacks),
            training_images=lambda: tuple(samples(SHOWN, EPOCHS_SHOWN)),
        )

    def on_exception(self, trainer: Any, pl_module: L.LightningModule, exception: BaseException) -> None:
        """A training that ends before its time shows what it learned, unless somebody is in a hurry."""
        if trainer.training and getattr(pl_module, "latest", None) and isinstance(exception, Exception):
            self.on_fit_end(trainer, pl_module)

    def _curves(self, run: Path, callbacks: Sequence[Any]) -> tuple[Any, ...]:
        """Of the loss and the monitored metric; if that is the loss, of the first metric that is logged."""
        rows = rows_of(run / "metrics.csv")
        logged = [name for name in dict.fromkeys(name for row in rows for name in row) if not name.endswith("/loss")]
        watched = watched_metric(callbacks, logged) or "val/acc1"
        return rows, watched.removeprefix("val/"), lower_is_better(callbacks, watched)

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._counts = self._mistakes = None
        self._broken = False

    def on_test_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *places: int) -> None:
        if self._broken:
            return
        try:
            logits, losses = outputs["logits"].detach(), outputs["losses"].detach()
            self._collect(logits, losses, batch, outputs.get("images", batch.images))
        except Exception as error:  # a figure never ends a run
            self._broken = True  # and this rank still takes part in the gathering below
            _warn("test figures", error)

    def _collect(self, logits: Tensor, losses: Tensor, batch: Any, images: Tensor) -> None:
        logits = logits.float()
        if logits.shape[1] == 1:
            logits = torch.cat((torch.zeros_like(logits), logits), dim=1)
        classes, targets = logits.shape[1], batch.targets.long()
        if self._counts is None or self._mistakes is None:
            self._counts = torch.zeros(classes, classes, dtype=torch.int64, device=logits.device)
            self._mistakes = _Worst(max(self.worst, self.gradcam))
        # torchmetrics' matrix takes N x C^2 numbers in deterministic mode: 2 TB for a batch of 256 and 1,000 classes
        cells = targets * classes + logits.argmax(1)
        self._counts.view(-1).index_add_(0, cells, torch.ones_like(cells))
        self._mistakes.update(logits, losses, images, targets, batch.index)

    def on_test_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Bring every rank's share to rank 0, in one collective that a rank enters even if it failed, and draw."""
        share = None
        if not self._broken and self._counts is not None and self._mistakes is not None:
            share = (self._counts.cpu(), self._mistakes.kept())
        shares = [share]
        if trainer.world_size > 1:
            shares = [None] * trainer.world_size
            torch.distributed.all_gather_object(shares, share)
        self._counts = self._mistakes = None
        collected = [share for share in shares if share is not None]
        if not trainer.is_global_zero or not collected:
            return
        data = trainer.datamodule
        counts = torch.stack([counts for counts, _ in collected]).sum(0)
        names = list(data.class_names)
        if len(names) != len(counts):
            names = [str(number) for number in range(len(counts))]
        mistakes = sorted((mistake for _, kept in collected for mistake in kept), key=lambda mistake: -mistake.loss)
        source = getattr(trainer.test_dataloaders, "source", None)
        called = "#{}".format if source is None else source.name

        def shown(most: int) -> list[Mistake]:
            return [replace(m, image=data.denormalize(m.image.unsqueeze(0))[0]) for m in mistakes[:most]]

        def worst() -> tuple[Any, ...]:
            total, right = int(counts.sum()), int(counts.trace())
            rows = [tuple(vars(mistake).values()) for mistake in shown(self.worst)]
            return rows, names, [called(mistake.index) for mistake in mistakes[: self.worst]], total, total - right

        def draw_gradcam() -> "Figure":
            images = torch.stack([mistake.image for mistake in mistakes[: self.gradcam]])
            return gradcam_of_mistakes(pl_module.net, images, shown(self.gradcam), names)

        run = Path(trainer.default_root_dir)
        self._draw(run, confusion_matrix=lambda: (counts, names), worst_mistakes=worst)
        if mistakes and self.gradcam:
            self.drawn += draw_all(self.folder or run / "figures", self.dpi, {"gradcam": draw_gradcam})

    def _draw(self, run: Path, **figures: Callable[[], tuple[Any, ...]]) -> None:
        """Draw some of DRAWS, of what these functions give, or leave that in a file each."""
        folder = self.folder or run / "figures"
        if self.later and time.monotonic() - self._began < SHORT_SECONDS:
            for name, gather in figures.items():
                try:
                    folder.mkdir(exist_ok=True)
                    with appearing(folder / LEFT.format(name)) as temporary:
                        torch.save({"dpi": self.dpi, "of": gather()}, temporary)
                except Exception as error:  # a figure never ends a run
                    _warn(f"{name}.png", error)
        else:
            self.drawn += draw_all(folder, self.dpi, {name: partial(_made, name, of) for name, of in figures.items()})


def _made(name: str, gather: Callable[[], tuple[Any, ...]]) -> "Figure":
    return DRAWS[name](*gather())


def draw_left(run: Path) -> None:
    """Draw the figures that a run has left for later."""
    for name in DRAWS:
        path = run / "figures" / LEFT.format(name)
        if path.is_file():
            try:
                left = torch.load(path, weights_only=True)
            except Exception as error:  # half of it, from a full disk
                _warn(f"{name}.png", error)
                path.unlink()
                continue
            draw_all(path.parent, left["dpi"], {name: partial(DRAWS[name], *left["of"])})


def draw_all(folder: Path, dpi: int, figures: "Mapping[str, Callable[[], Figure]]") -> list[Path]:
    """Draw and save figures by their names, all of them whatever signal comes meanwhile; the files. One that fails is
    one line of log."""
    drawn = []
    with doing("draw the figures"), signals_wait(signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        for name, draw in figures.items():
            try:
                import matplotlib

                context = matplotlib.rc_context(STYLE)  # type: ignore[arg-type]  # its stubs list every key
                with context, warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # a class name in a script that the font lacks
                    folder.mkdir(exist_ok=True)  # not the folder of the run, if that is gone
                    with appearing(folder / f"{name}.png") as temporary:
                        save_png(draw(), temporary, dpi)
                    drawn.append(folder / f"{name}.png")
            except Exception as error:  # a figure never ends a run
                _warn(f"{name}.png", error)
            with suppress(OSError):
                (folder / LEFT.format(name)).unlink(missing_ok=True)
    return drawn


class _Worst:
    """The `most` misclassified images of the highest loss so far, kept on the device without synchronizing with it."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._kept: tuple[Tensor, ...] = ()

    def update(self, logits: Tensor, losses: Tensor, images: Tensor, targets: Tensor, index: Tensor) -> None:
        prediction = logits.argmax(1)
        probability = logits.softmax(1)
        losses = torch.nan_to_num(losses.float(), nan=torch.finfo(torch.float32).max)
        losses = losses.masked_fill(prediction == targets, -torch.inf)
        shares = (probability.gather(1, classes.unsqueeze(1)).squeeze(1) for classes in (prediction, targets))
        candidates: tuple[Tensor, ...] = (losses, images, index, targets, prediction, *shares)
        candidates = _highest(candidates, self.most)  # of the batch first, so that few images are copied twice
        if self._kept:
            candidates = _highest(tuple(map(torch.cat, zip(self._kept, candidates, strict=True))), self.most)
        self._kept = candidates

    def kept(self) -> list[Mistake]:
        losses, images, *rest = (tensor.cpu() for tensor in self._kept)
        rows = zip(images.float(), *(tensor.tolist() for tensor in rest), losses.tolist(), strict=True)
        return [mistake for mistake in (Mistake(*row) for row in rows) if mistake.loss > -torch.inf]


def _highest(candidates: tuple[Tensor, ...], most: int) -> tuple[Tensor, ...]:
    """The rows of the highest first column."""
    order = candidates[0].topk(min(most, len(candidates[0]))).indices
    return tuple(column[order] for column in candidates)


def _warn(what: str, error: Exception) -> None:
    log.warning("figures: %s not drawn (%s)", what, typed_line(error))
