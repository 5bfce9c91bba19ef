"""Figures: the right images and counts, in every run, and never at the cost of one."""

import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from convarium.config.instantiate import build
from convarium.learn.learner import Learner
from convarium.observe import figures
from convarium.observe.charts import Mistake, confusion_matrix, learning_curves, worst_mistakes
from convarium.observe.figures import Figures
from convarium.run.directory import RunDirectory
from convarium.run.launch import launch
from convarium.run.prepare import prepare
from convarium.run.resume import resume_config
from experiments import experiment

NAMES = ["learning_curves", "confusion_matrix", "worst_mistakes"]


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("convarium")]


def texts(figure: Any) -> list[str]:
    """Everything a figure says, axis labels included."""
    import matplotlib.text

    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


@pytest.mark.parametrize("classes", [1, 2])
def test_every_run_has_its_figures(
    classes: int,
    learner: type,
    squares: type,
    make_trainer: Callable[..., Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: dict[str, Any] = {}
    draw_matrix, draw_mistakes = figures.confusion_matrix, figures.worst_mistakes

    def keep_matrix(counts: Tensor, names: list[str]) -> Any:
        shown.update(counts=counts)
        return draw_matrix(counts, names)

    def keep_mistakes(found: list[Mistake], names: list[str], called: list[str], total: int, wrong: int) -> Any:
        shown.update(found=found, total=total, wrong=wrong)
        return draw_mistakes(found, names, called, total, wrong)

    monkeypatch.setitem(figures.DRAWS, "confusion_matrix", keep_matrix)
    monkeypatch.setattr(figures, "worst_mistakes", keep_mistakes)
    module, data = learner(classes), squares()
    trainer, _ = make_trainer(Figures(worst=4, dpi=50))
    trainer.fit(module, datamodule=data)
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == [
        "learning_curves.png",
        "training_images.png",
    ]
    trainer.test(module, datamodule=data, verbose=False)
    assert messages(caplog) == []
    for name in NAMES:
        with Image.open(tmp_path / "figures" / f"{name}.png") as image:
            assert image.width > 200
            assert len(image.convert("RGB").getcolors(10**6) or [0] * 11) > 10

    with torch.no_grad():
        logits = module.eval().net(data.images)
        losses = module.losses(logits, data.targets)
    share = torch.sigmoid(logits[:, 0]) if classes == 1 else logits.softmax(1)[:, 1]
    prediction = (share > 0.5).long()
    counts = torch.zeros(2, 2, dtype=torch.int64)
    for truth, guess in zip(data.targets, prediction, strict=True):
        counts[truth, guess] += 1
    assert torch.equal(shown["counts"], counts)
    wrong = (prediction != data.targets).nonzero().flatten().tolist()
    worst = sorted(wrong, key=lambda index: -float(losses[index]))[:4]
    assert (shown["total"], shown["wrong"]) == (80, len(wrong))
    assert len(wrong) > 4
    assert [mistake.index for mistake in shown["found"]] == worst
    for mistake in shown["found"]:
        assert (mistake.truth, mistake.prediction) == (data.targets[mistake.index], prediction[mistake.index])
        assert mistake.probability == pytest.approx(float(share[mistake.index].sub(0.5).abs() + 0.5), abs=1e-5)
        assert mistake.probability + mistake.truth_probability == pytest.approx(1.0, abs=1e-5)
        assert torch.equal(mistake.image, data.denormalize(data.images[mistake.index]))


def test_a_run_shows_the_images_it_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sheets: list[tuple[Any, ...]] = []
    draw = figures.contact_sheet
    monkeypatch.setitem(figures.DRAWS, "training_images", lambda *samples: sheets.append(samples) or draw(*samples))
    run = experiment("callbacks=[checkpoint,figures]", "callbacks.figures.dpi=40", "augment=crop_flip")
    found = sorted(path.name for path in (run.path / "figures").iterdir())
    assert found == sorted(f"{name}.png" for name in [*NAMES, "training_images"])
    with Image.open(run.path / "figures" / "training_images.png") as image:
        assert len(image.convert("RGB").getcolors(10**6) or [0] * 11) > 10
    [(stored, seen, labels)] = sheets
    expected = build(run.config()["data"], "data").samples(10, 4)
    assert labels == expected.labels == [str(k) for k in range(10)]
    assert torch.equal(torch.stack(stored), torch.stack(expected.stored))
    assert torch.equal(torch.stack(seen), torch.stack(expected.seen))


def test_the_worst_mistakes_may_be_drawn_with_what_speaks_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[Any, ...]] = []
    draw = figures.gradcam_of_mistakes
    monkeypatch.setattr(figures, "gradcam_of_mistakes", lambda *these: drawn.append(these) or draw(*these))
    small = ("arch=resnet20", "arch.depth=8", "callbacks=[checkpoint,figures]")
    run = experiment(*small, "callbacks.figures.gradcam=2")
    assert (run.path / "figures" / "gradcam.png").is_file()
    [(net, images, mistakes, names)] = drawn
    assert len(images) == len(mistakes) == 2
    for image, mistake in zip(images.clone(), mistakes, strict=True):  # which the network saw
        with torch.no_grad():
            probability = net.eval()(image[None]).softmax(1)[0, mistake.prediction]
        assert float(probability) == pytest.approx(mistake.probability, rel=1e-4)
    said = texts(draw(net, images, mistakes, names))
    for mistake in mistakes:
        assert f"is {names[mistake.truth]}" in said
        assert sum(text.startswith(f"for {names[mistake.prediction]} (") for text in said) >= 1


def test_training_images_that_cannot_be_had_cost_one_line(
    learner: type, squares: type, make_trainer: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Gone(squares):
        def samples(self, count: int, epochs: int) -> Any:
            raise OSError("the disk is gone")

    trainer, _ = make_trainer(Figures(dpi=40), max_epochs=1)
    trainer.fit(learner(), datamodule=Gone())
    assert messages(caplog) == ["figures: training_images.png not drawn (OSError: the disk is gone)"]
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["learning_curves.png"]


def test_observers_change_no_weight(learner: type, squares: type, make_trainer: Callable[..., Any]) -> None:
    from convarium.observe.progress import Progress
    from convarium.observe.throughput import Throughput

    def weights(*observers: Any) -> dict[str, Tensor]:
        module = learner()
        torch.manual_seed(2)
        trainer, _ = make_trainer(*observers)
        trainer.fit(module, datamodule=squares())
        trainer.test(module, datamodule=squares(), verbose=False)
        return module.state_dict()

    plain, watched = weights(), weights(Figures(worst=3, dpi=40), Progress(seconds=0.001), Throughput())
    assert all(torch.equal(plain[name], watched[name]) for name in plain)


def test_a_figure_that_fails_costs_one_line(
    learner: type,
    squares: type,
    make_trainer: Callable[..., Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("no ink\nsecond line")

    monkeypatch.setitem(figures.DRAWS, "confusion_matrix", broken)
    trainer, _ = make_trainer(Figures(dpi=40))
    trainer.test(learner(), datamodule=squares(), verbose=False)
    assert messages(caplog) == ["figures: confusion_matrix.png not drawn (RuntimeError: no ink)"]
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["worst_mistakes.png"]


def test_a_test_step_that_returns_nothing_costs_one_line(
    learner: type, squares: type, make_trainer: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module = learner()
    module.test_step = lambda batch, batch_idx: None
    trainer, _ = make_trainer(Figures())
    trainer.test(module, datamodule=squares(), verbose=False)
    [line] = messages(caplog)
    assert line.startswith("figures: test figures not drawn (TypeError")
    assert not (tmp_path / "figures").exists()


@pytest.mark.slow
def test_two_ranks_show_the_mistakes_of_both(tmp_path: Path) -> None:
    code = f"""
    import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
    import torch, lightning.pytorch as L
    from conftest import Batches, Learner, Squares
    from convarium.observe import figures
    class Share(Squares):
        def test_dataloader(self):
            rank, loader = self.trainer.global_rank, self._loader()
            loader.batches = loader.batches[rank::2][: 3 if rank else 5]
            return loader
    def keep(found, names, called, total, wrong):
        print(total, wrong, sorted(m.index for m in found))
        raise RuntimeError("seen")
    figures.worst_mistakes = keep
    module = Learner()
    trainer = L.Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_progress_bar=False,
                        enable_model_summary=False, enable_checkpointing=False, use_distributed_sampler=False,
                        callbacks=[figures.Figures(worst=64)], default_root_dir={str(tmp_path)!r})
    trainer.test(module, datamodule=Share(), verbose=False)
    """
    (tmp_path / "two.py").write_text(textwrap.dedent(code))
    launch = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run([*launch, str(tmp_path / "two.py")], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("worst_mistakes.png not drawn (RuntimeError: seen)") == 1
    total, wrong, indices = done.stdout.strip().split(maxsplit=2)
    found = [int(index) for index in indices.strip("[]").split(",")]
    seen = [
        *(range(8 * batch, 8 * batch + 8) for batch in (0, 2, 4, 6, 8)),
        *(range(8 * b, 8 * b + 8) for b in (1, 3, 5)),
    ]
    assert int(total) == 64
    assert int(wrong) == len(found) == len(set(found))
    assert set(found) <= {index for part in seen for index in part}
    assert {index // 8 % 2 for index in found} == {0, 1}
    assert (tmp_path / "figures" / "confusion_matrix.png").is_file()


def test_memory_is_bounded_by_the_mistakes_shown() -> None:
    worst = figures._Worst(3)
    for start in range(0, 100, 10):
        logits = torch.zeros(10, 2)
        logits[:, 1] = torch.arange(start, start + 10) / 10.0
        index = torch.arange(start, start + 10)
        worst.update(logits, logits[:, 1].clone(), torch.zeros(10, 1, 2, 2), torch.zeros(10, dtype=torch.int64), index)
        assert all(len(column) == 3 for column in worst._kept)
    assert [mistake.index for mistake in worst.kept()] == [99, 98, 97]


def test_a_loss_that_is_nan_is_the_worst() -> None:
    worst = figures._Worst(2)
    logits, losses = torch.tensor([[0.0, 1.0]] * 3), torch.tensor([5.0, float("nan"), 7.0])
    worst.update(logits, losses, torch.zeros(3, 1, 2, 2), torch.zeros(3, dtype=torch.int64), torch.arange(3))
    assert [mistake.index for mistake in worst.kept()] == [1, 2]


def test_the_confusion_matrix_is_that_of_torchmetrics(make_trainer: Callable[..., Any]) -> None:
    from torchmetrics.classification import MulticlassConfusionMatrix

    generator = torch.Generator().manual_seed(0)
    reference, callback = MulticlassConfusionMatrix(7), Figures()
    for size in (16, 16, 5):
        logits = torch.randn(size, 7, generator=generator)
        targets = torch.randint(7, (size,), generator=generator)
        batch = type("Batch", (), {"images": torch.zeros(size, 1, 2, 2), "targets": targets, "index": targets})
        reference.update(logits, targets)
        callback._collect(logits, torch.ones(size), batch, batch.images)
    assert callback._counts is not None
    assert torch.equal(callback._counts, reference.compute())


def test_learning_curves_are_over_epochs_and_mark_the_best() -> None:
    rows = [
        {"step": 5.0, "epoch": 0.0, "train/loss_step": 2.0},
        {"step": 10.0, "epoch": 0.0, "train/loss_step": 1.5},
        {"step": 10.0, "epoch": 0.0, "val/loss": 1.4, "val/acc1": 0.5},
        {"step": 10.0, "epoch": 0.0, "train/loss": 1.6, "train/acc1": 0.4},
        {"step": 20.0, "epoch": 1.0, "val/loss": float("nan"), "val/acc1": 0.75},
        {"step": 20.0, "epoch": 1.0, "train/loss": 1.0, "train/acc1": 0.6},
    ]
    figure = learning_curves(rows)
    said = texts(figure)
    assert {"Loss", "epoch", "training", "validation", "best 75.00 %, epoch 2", "best 1.4000, epoch 1"} <= set(said)
    loss, accuracy = figure.axes
    assert list(accuracy.get_lines()[1].get_xdata()) == [1.0, 2.0]
    assert list(loss.get_lines()[0].get_xdata()) == [0.5, 1.0]


def test_learning_curves_are_of_the_metric_that_is_asked_for() -> None:
    rows = [
        {"step": 10.0 * k, "epoch": k - 1.0, "train/loss": 1.0, "val/acc1": 0.1 * k, "val/cost": 3.0 - k}
        for k in (1, 2)
    ]
    said = texts(learning_curves(rows, "cost", lower_is_better=True))
    assert {"cost", "best 1.0000, epoch 2"} <= set(said)
    assert "Accuracy (top 1)" not in said
    assert {"macro_f1", "best 70.00 %, epoch 1"} <= set(
        texts(learning_curves([rows[0] | {"val/macro_f1": 0.7}], "macro_f1"))
    )


@pytest.mark.parametrize("epochs", [1, 2, 30])
def test_no_curve_crosses_what_is_written_of_the_best_value(epochs: int) -> None:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    rows = [
        {"step": 10.0 * k, "epoch": k - 1.0, "train/loss": 2.0, "val/loss": 1 / k, "val/acc1": k / epochs}
        for k in range(1, epochs + 1)
    ]
    with matplotlib.rc_context(figures.STYLE):
        figure = learning_curves(rows)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    written = [text for axes in figure.axes for text in (axes.title, axes._left_title, axes._right_title)]
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in written if text.get_text()]
    assert len(boxes) == 4
    for box in boxes:
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1
        assert all(box.y0 > axes.bbox.y1 for axes in figure.axes)
        assert sum(box.overlaps(other) for other in boxes) == 1  # with itself


def test_of_equal_values_the_last_is_ringed_and_named_as_it_is_the_one_that_is_tested() -> None:
    rows = [
        {"step": 10.0 * k, "epoch": k - 1.0, "train/loss": 1.0, "val/acc1": 0.9 if k > 1 else 0.5} for k in (1, 2, 3)
    ]
    figure = learning_curves(rows)
    assert "best 90.00 %, epoch 3" in texts(figure)
    assert list(figure.axes[1].get_lines()[-1].get_xdata()) == [3.0]


def test_an_axis_of_shares_ends_at_100_per_cent() -> None:
    rows = [{"step": 10.0 * k, "epoch": k - 1.0, "train/loss": 1.0, "val/acc1": k / 2} for k in (0, 1, 2)]
    assert learning_curves(rows).axes[1].get_ylim() == (0.0, 1.0)


def test_the_learning_rate_has_a_panel_of_its_own_where_it_is_logged() -> None:
    rows = [{"step": 10.0 * k, "epoch": k - 1.0, "train/loss": 1.0, "lr": 0.1 / k} for k in (1, 2)]
    figure = learning_curves(rows)
    assert "Learning rate" in texts(figure)
    [line] = figure.axes[2].get_lines()
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1.0, 2.0], [0.1, 0.05])
    assert len(learning_curves([row | {"lr": 0.1} for row in rows]).axes) == 3
    assert len(learning_curves(rows[:1]).axes) == 2  # of one point
    falling = [{**rows[0], "step": 10.0 * k, "epoch": k - 1.0, "lr": 10.0**-k} for k in range(2, 8)]
    axes = learning_curves(falling).axes[2]
    ticks = [axes.yaxis.get_major_formatter()(10.0**-k, 0).replace("\N{MINUS SIGN}", "-") for k in (3, 4, 5)]
    assert ticks == ["1e-03", "1e-04", "1e-05"]
    assert (
        len(learning_curves([{name: row[name] for name in ("step", "epoch", "train/loss")} for row in rows]).axes) == 2
    )


def test_learning_curves_without_a_whole_epoch_are_over_steps() -> None:
    said = texts(learning_curves([{"step": float(step), "epoch": 0.0, "train/loss_step": 1.0} for step in (10, 20)]))
    assert "step" in said
    assert "no whole epoch yet" in said


def test_a_single_step_is_drawn_where_there_is_nothing_else() -> None:
    [line] = learning_curves([{"step": 50.0, "epoch": 0.0, "train/loss_step": 1.0}]).axes[0].get_lines()
    assert (list(line.get_xdata()), line.get_marker()) == ([50.0], "o")


def test_no_rows_no_curves() -> None:
    with pytest.raises(ValueError, match=r"metrics\.csv has no losses"):
        learning_curves([])


@pytest.mark.parametrize(
    ("classes", "named", "counted"), [(2, True, True), (20, True, True), (50, True, False), (51, False, False)]
)
def test_a_confusion_matrix_says_what_has_room(classes: int, named: bool, counted: bool) -> None:
    counts = torch.eye(classes, dtype=torch.int64) * 1234
    counts[0, 1] = 17
    said = texts(confusion_matrix(counts, [f"class ${i}" for i in range(classes)]))
    assert (r"class \$0" in said) == named
    assert ("1,234" in said and "17" in said) == counted
    assert f"{100 * 1234 * classes / (1234 * classes + 17):.2f} % of {1234 * classes + 17:,} test images right" in said


def test_mistakes_name_prediction_and_truth() -> None:
    mistake = Mistake(torch.zeros(3, 4, 4, dtype=torch.uint8), 42, 0, 1, 0.98, 0.004, 5.5)
    names, called = ["a class with a very long name", "é"], ["a class with a rather long name/42.png"]
    said = texts(worst_mistakes([mistake], names, called, total=10, wrong=1))
    assert set(said) == {
        "The one mistake in 10 test images",
        "é (98 %)",
        "is a class wi… (<1 %)",
        "…h a rather long name/42.png",
    }
    assert texts(worst_mistakes([], ["a", "b"], [], total=10, wrong=0)) == ["No mistakes among 10 test images"]


# Whatever comes between


def figures_of(run: RunDirectory) -> list[str]:
    return sorted(path.name for path in (run.path / "figures").iterdir())


@pytest.mark.parametrize(("stops_at", "epochs"), [(20, 1), (32, 2)])
def test_a_run_that_is_stopped_has_the_figures_of_its_training(
    stops_at: int, epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, steps = Learner.training_step, count(1)

    def stopped(self: Learner, *batch: Any) -> Tensor:
        if next(steps) == stops_at:
            signal.raise_signal(signal.SIGTERM)
        return step(self, *batch)

    monkeypatch.setattr(Learner, "training_step", stopped)
    run = experiment("callbacks=[checkpoint,figures]", "trainer.max_epochs=3", "callbacks.figures.dpi=40", code=143)
    result = run.result()
    assert (result["status"], result["steps"], result["epochs"]) == ("interrupted", stops_at, epochs)
    assert figures_of(run) == ["learning_curves.png", "training_images.png"]


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [("training_images", ["learning_curves", "training_images"]), ("confusion_matrix", [*NAMES, "training_images"])],
)
def test_a_signal_while_figures_are_drawn_is_heard_when_they_are_whole(
    drawn: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, signals = figures.DRAWS[drawn], [signal.SIGINT]

    def signalled(*arguments: Any) -> Any:
        if signals:
            signal.raise_signal(signals.pop())
        return draw(*arguments)

    monkeypatch.setitem(figures.DRAWS, drawn, signalled)
    run = experiment("callbacks=[checkpoint,figures]", "callbacks.figures.dpi=40", code=130)
    assert run.result()["status"] == "interrupted"
    assert figures_of(run) == sorted(f"{name}.png" for name in expected)
    config, *_ = resume_config(run.path, [])
    assert launch(prepare(config), [], resume=run.path) == 0
    assert run.result()["status"] == "ok"
    assert figures_of(run) == sorted(f"{name}.png" for name in [*NAMES, "training_images"])


@pytest.mark.parametrize("in_memory", ["true", "false"])
def test_mistakes_name_their_files(in_memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[str] = []
    draw = figures.worst_mistakes

    def keep(found: list[Mistake], names: list[str], called: list[str], *totals: int) -> Any:
        named.extend(f"{names[mistake.truth]} {name}" for mistake, name in zip(found, called, strict=True))
        return draw(found, names, called, *totals)

    for split in ("train", "test"):
        for label in ("cat", "dog"):
            (tmp_path / "photos" / split / label).mkdir(parents=True)
            for number in range(4):
                Image.new("L", (8, 8), 60 * number).save(tmp_path / "photos" / split / label / f"img_{number}.png")
    (tmp_path / "photos" / "test" / "cat" / "img_1.png").write_text("no picture")  # those behind it move up
    monkeypatch.setattr(figures, "worst_mistakes", keep)
    data = ("data=folder", "data.root=photos", "batch_size=4", "data.val_fraction=0.5", "data.on_bad_file=skip")
    experiment("callbacks=[checkpoint,figures]", *data, f"data.in_memory={in_memory}", "data.channels=3")
    assert named
    assert all(name.split()[1].startswith(f"{name.split()[0]}/img_") for name in named)
    assert not any(name.endswith("cat/img_1.png") for name in named)
