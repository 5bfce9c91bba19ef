"""predictions.npz: what a run answers to each test image, by which its metrics can be made again."""

import errno
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from convarium.observe import predictions
from convarium.observe.predictions import Predictions, answers
from convarium.run.directory import RunDirectory
from experiments import experiment


def read(run: RunDirectory | Path) -> dict[str, Any]:
    folder = run if isinstance(run, Path) else run.path
    with np.load(folder / "predictions.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.mark.parametrize("classes", [1, 2])
def test_each_test_image_has_its_answer(
    classes: int, learner: type, squares: type, make_trainer: Callable[..., Any], tmp_path: Path
) -> None:
    module, data = learner(classes), squares()
    trainer, _ = make_trainer(Predictions())
    trainer.fit(module, datamodule=data)
    assert not (tmp_path / "predictions.npz").exists()
    trainer.test(module, datamodule=data, verbose=False)
    with torch.no_grad():
        logits = module.eval().net(data.images)
        losses = module.losses(logits, data.targets)
    share = torch.sigmoid(logits[:, 0]) if classes == 1 else logits.softmax(1)[:, 1]
    both = torch.stack((1 - share, share), 1)
    found = read(tmp_path)
    assert {name: column.dtype.str for name, column in found.items() if name != "classes"} == {
        "index": "<i8",
        **dict.fromkeys(("target", "prediction"), "<i2"),
        **dict.fromkeys(("confidence", "truth", "loss", "brier"), "<f4"),
    }
    assert found["index"].tolist() == list(range(80))
    assert found["target"].tolist() == data.targets.tolist()
    assert found["prediction"].tolist() == both.argmax(1).tolist()
    assert found["classes"].tolist() == list(data.class_names)
    np.testing.assert_allclose(found["confidence"], both.amax(1), rtol=1e-5)
    np.testing.assert_allclose(found["truth"], both[torch.arange(80), data.targets], rtol=1e-5)
    np.testing.assert_allclose(found["loss"], losses, rtol=1e-5)
    truth = torch.nn.functional.one_hot(data.targets, 2)
    np.testing.assert_allclose(found["brier"], (both - truth).square().sum(1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "images"),
    [
        (("trainer.max_epochs=2",), 128),
        (("data.num_classes=1", "loss=bce", "callbacks=[]"), 128),
        (("test.views=144",), 128),
        (("trainer.fast_dev_run=2",), 64),
        (("trainer.limit_test_batches=3",), 96),
    ],
)
def test_the_metrics_of_a_test_are_those_of_its_predictions(words: tuple[str, ...], images: int) -> None:
    run = experiment(*words)
    found, metrics = read(run), run.result()["metrics"]
    assert len(found["index"]) == len(set(found["index"].tolist())) == images
    assert (found["prediction"] == found["target"]).mean() == metrics["test/acc1"]
    assert found["loss"].mean(dtype=np.float64) == pytest.approx(metrics["test/loss"], rel=1e-6)
    if "test.views=144" in words:  # the loss of the averaged probabilities
        np.testing.assert_allclose(-np.log(found["truth"]), found["loss"], rtol=1e-3, atol=1e-5)


def test_what_is_no_number_is_no_answer() -> None:
    nan = float("nan")
    logits = torch.tensor([[nan, nan], [nan, 1.0], [1.0, 1.0], [0.0, 1.0]])
    batch: Any = type("Batch", (), {"targets": torch.tensor([0, 1, 0, 1]), "index": torch.arange(4)})
    ints, floats = answers(logits, torch.zeros(4), batch)
    assert ints[2].tolist() == [-1, -1, 0, 1]  # of equal logits the first class, as the metrics have it
    assert floats[0].isnan().tolist() == [True, True, False, False]


def test_classes_may_be_many_and_of_any_script(tmp_path: Path) -> None:
    names = ["<img onerror=x>", "明るい", "بطة", "\udcff", *map(str, range(40_000))]
    share = np.arange(3)[:, None].repeat(3, 1)[:, ::-1], np.zeros((4, 3), np.float32)
    predictions.write(tmp_path / "predictions.npz", [share], names)
    found = read(tmp_path)
    assert found["classes"].tolist() == names
    assert found["target"].dtype == np.int64  # int16 ends at 32,767


def test_a_full_disk_leaves_none_of_it_and_the_run_is_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(file: Any, **columns: Any) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(predictions.np, "savez", full)
    run = experiment()
    assert run.result()["status"] == "ok"
    assert not [path.name for path in run.path.iterdir() if "predictions" in path.name]
    assert "predictions.npz: not written (OSError: [Errno 28] No space left on device)" in capsys.readouterr().err


def test_a_test_step_that_returns_nothing_costs_one_line(
    learner: type, squares: type, make_trainer: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module = learner()
    module.test_step = lambda batch, batch_idx: None
    trainer, _ = make_trainer(Predictions())
    trainer.test(module, datamodule=squares(), verbose=False)
    [line] = [record.getMessage() for record in caplog.records if record.name.startswith("convarium")]
    assert line.startswith("predictions.npz: not written (TypeError")
    assert not (tmp_path / "predictions.npz").exists()


@pytest.mark.slow
def test_two_ranks_write_what_both_have_seen(tmp_path: Path) -> None:
    code = f"""
    import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
    import lightning.pytorch as L
    from conftest import Learner, Squares
    from convarium.observe.predictions import Predictions
    class Share(Squares):
        def test_dataloader(self):
            rank, loader = self.trainer.global_rank, self._loader()
            loader.batches = loader.batches[rank::2][: 3 if rank else 5]
            return loader
    trainer = L.Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_progress_bar=False,
                        enable_model_summary=False, enable_checkpointing=False, use_distributed_sampler=False,
                        callbacks=[Predictions()], default_root_dir={str(tmp_path)!r})
    trainer.test(Learner(), datamodule=Share(), verbose=False)
    """
    (tmp_path / "two.py").write_text(textwrap.dedent(code))
    launch = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run([*launch, str(tmp_path / "two.py")], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    batches = [0, 1, 2, 3, 4, 5, 6, 8]
    assert read(tmp_path)["index"].tolist() == [8 * batch + k for batch in batches for k in range(8)]
