"""What a run answers to each test image, kept in RUN/predictions.npz: its page, and comparisons of runs, read it."""

import logging
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from convarium.files import appearing
from convarium.wording import typed_line

log = logging.getLogger(__name__)

FILE = "predictions.npz"
INTS, FLOATS = ("index", "target", "prediction"), ("confidence", "truth", "loss", "brier")


class Predictions(L.Callback):
    """Write predictions.npz at the end of a test: a number for each test image in each of these arrays, which are in
    the order of `index`, and the `classes` by name. 28 bytes an image: 1.4 MB of 50,000.

    index: of the image in its split. target, prediction: class numbers; of equal logits the lowest class, as for the
    metrics; -1 where a logit is nan, of which no class is right. confidence: the probability of the predicted class;
    truth: of the true one (of several views: the mean of their probabilities). loss: as the loss of the run has it.
    brier: the squared distance of all probabilities from those of the truth (Brier 1950), 0 to 2.

    The module's `test_step` returns `{"logits": (N, C), "losses": (N,)}`, one logit standing for two classes; the batch
    has `targets` and `index`. Nothing waits for the device before the last batch. A file that cannot be written costs
    one line of log.
    """

    def __init__(self) -> None:
        self._batches: list[tuple[Tensor, Tensor]] = []
        self._broken = False

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._batches, self._broken = [], False

    def on_test_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *places: int) -> None:
        if self._broken:
            return
        try:
            self._batches.append(answers(outputs["logits"].detach(), outputs["losses"].detach(), batch))
        except Exception as error:  # a record of the test never ends a run
            self._broken = True  # and this rank still takes part in the gathering below
            log.warning("%s: not written (%s)", FILE, typed_line(error))

    def on_test_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Bring every rank's share to rank 0, in one collective that a rank enters even if it failed, and write."""
        share = None if self._broken else self._columns()
        self._batches = []
        shares = [share]
        if trainer.world_size > 1:
            shares = [None] * trainer.world_size
            torch.distributed.all_gather_object(shares, share)
        collected = [share for share in shares if share is not None]
        if trainer.is_global_zero and len(collected) == len(shares):  # a part of the test split is not the test
            try:
                write(Path(trainer.default_root_dir) / FILE, collected, list(trainer.datamodule.class_names))
            except Exception as error:
                log.warning("%s: not written (%s)", FILE, typed_line(error))

    def _columns(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """(3, N) of INTS and (4, N) of FLOATS; a rank that was given no batch has none."""
        if not self._batches:
            return np.empty((3, 0), np.int64), np.empty((4, 0), np.float32)
        ints, floats = (torch.cat(parts, 1).cpu().numpy() for parts in zip(*self._batches, strict=True))
        return ints, floats


def answers(logits: Tensor, losses: Tensor, batch: Any) -> tuple[Tensor, Tensor]:
    """INTS (3, N) and FLOATS (4, N) of a batch, from (N, C) logits and (N,) losses."""
    logits, targets = logits.float(), batch.targets.long()
    if logits.shape[1] == 1:
        logits = F.pad(logits, (1, 0))
    prediction = logits.argmax(1)
    probability = logits.softmax(1)
    confidence, truth = (probability.gather(1, k[:, None])[:, 0] for k in (prediction, targets))
    prediction = torch.where(logits.isnan().any(1), -1, prediction)
    brier = probability.square().sum(1) - 2 * truth + 1
    return torch.stack((batch.index, targets, prediction)), torch.stack((confidence, truth, losses.float(), brier))


def write(file: Path, shares: list[Any], classes: list[str]) -> None:
    """Write predictions.npz of the shares of all ranks, whole or not at all."""
    ints, floats = (np.concatenate(parts, 1) for parts in zip(*shares, strict=True))
    order = np.argsort(ints[0], kind="stable")
    columns = {**dict(zip(INTS, ints[:, order], strict=True)), **dict(zip(FLOATS, floats[:, order], strict=True))}
    if len(classes) <= np.iinfo(np.int16).max:
        columns |= {name: columns[name].astype(np.int16) for name in ("target", "prediction")}
    with appearing(file) as temporary, temporary.open("wb") as opened:
        np.savez(opened, **columns, classes=np.array(classes, dtype=str))
