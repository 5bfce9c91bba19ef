"""The learner in whole runs: what it logs against a plain recomputation, and what training does to the weights."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convarium.batch import Batch
from convarium.config.instantiate import build as build_node
from convarium.data.loaders import EvalBatches
from convarium.data.module import ImageData
from convarium.data.splits import take
from convarium.layers.outputs import Outputs
from convarium.learn.checkpoint_file import read_checkpoint
from convarium.learn.learner import Learner
from convarium.learn.lengths import TrainingLength
from convarium.learn.losses import ClassificationLoss, CrossEntropy, Hinge, MeanSquaredError
from convarium.learn.schedules import Constant, Cosine
from convarium.run.directory import RunDirectory
from convarium.trained.load import load_run
from experiments import experiment, rows, weights

STEPS = 16  # of an epoch of the small experiment
FLOAT32 = {"rtol": 2e-5, "atol": 1e-6}


def data_of(run: RunDirectory) -> ImageData:
    data: ImageData = build_node(run.config()["data"], "data")
    return data


def scored(net: nn.Module, data: ImageData, batches: Any, loss: Callable[[Tensor, Tensor], Tensor]) -> dict[str, float]:
    """Loss and accuracies over a split, in float64 and with argsort: another way than the learner's."""
    net = net.double().eval()
    losses, ranks = [], []
    with torch.no_grad():
        for batch in batches:
            logits = net(data.normalize(batch.images).double())
            losses.append(loss(logits, batch.targets))
            order = logits.argsort(dim=1, descending=True)
            ranks.append((order == batch.targets[:, None]).int().argmax(1))
    loss_values, rank_values = torch.cat(losses), torch.cat(ranks)
    return {
        "loss": loss_values.mean().item(),
        "acc1": (rank_values < 1).double().mean().item(),
        "acc5": (rank_values < 5).double().mean().item(),
    }


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits, targets, reduction="none")


# metrics --------------------------------------------------------------------------------------------------------------


def test_validation_and_test_equal_a_recomputation_in_float64() -> None:
    run = experiment("trainer.max_epochs=2", "test.weights=last", "data.test_size=77", "data.val_fraction=0.21")
    data, metrics = data_of(run), run.result()["metrics"]
    for split, batches in (("val", data.val_dataloader()), ("test", data.test_dataloader())):
        again = scored(load_run(run.path, weights="last"), data, batches, cross_entropy)
        assert {name: metrics[f"{split}/{name}"] for name in again} == pytest.approx(again, rel=1e-6)


def test_training_metrics_are_means_over_the_epoch_of_what_each_step_saw() -> None:
    run = experiment("optimizer.lr=0", "data.train_size=648", "trainer.max_epochs=1")
    data = data_of(run)
    again = scored(load_run(run.path, weights="last"), data, data.train_dataloader(), cross_entropy)
    metrics = run.result()["metrics"]
    assert {name: metrics[f"train/{name}"] for name in again} == pytest.approx(again, rel=1e-6)


def test_the_losses_of_the_steps_average_to_that_of_the_epoch() -> None:
    run = experiment("trainer.max_epochs=2")
    steps, epochs = rows(run, "train/loss_step"), rows(run, "train/loss")
    assert len(steps) == 2 * STEPS
    for number, mean in enumerate(epochs):
        assert sum(steps[number * STEPS :][:STEPS]) / STEPS == pytest.approx(mean, rel=1e-12)


def test_a_row_says_the_mean_since_the_last_one() -> None:
    single = experiment("trainer.max_epochs=2", folder="single")
    fifth = experiment("trainer.max_epochs=2", "trainer.log_every_n_steps=5", folder="fifth")
    each = rows(single, "train/loss_step")
    expected = [sum(each[:5]) / 5, sum(each[5:10]) / 5, sum(each[10:15]) / 5]
    expected += [sum(each[16:20]) / 4, sum(each[20:25]) / 5, sum(each[25:30]) / 5]  # an epoch starts anew
    assert rows(fifth, "train/loss_step") == pytest.approx(expected, rel=1e-12)


def test_auxiliary_heads_train_but_are_not_in_the_loss_that_is_logged(
    own_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_directory / "headed.py").write_text(
        "from torch import nn\nfrom convarium.layers import Parts\nfrom convarium.layers.outputs import Outputs\n"
        "class Headed(nn.Module):\n"
        "    def __init__(self, in_channels, num_classes, image_size, parts, hidden):\n"
        "        super().__init__(); size = in_channels * image_size**2\n"
        "        self.main = nn.Linear(size, num_classes); self.side = nn.Linear(size, num_classes)\n"
        "    def forward(self, x):\n"
        "        x = x.flatten(1); logits = self.main(x)\n"
        "        return Outputs(logits, (self.side(x),)) if self.training else logits\n"
    )
    monkeypatch.syspath_prepend(own_directory)
    monkeypatch.setenv("CONVARIUM_TRUST", "headed")
    still = experiment("arch._target_=headed.Headed", "optimizer.lr=0", folder="still")
    data = data_of(still)
    main = scored(load_run(still.path, weights="last"), data, data.train_dataloader(), cross_entropy)
    assert still.result()["metrics"]["train/loss"] == pytest.approx(main["loss"], rel=1e-6)
    learned, without = (
        weights(
            experiment("arch._target_=headed.Headed", f"loss.aux_weight={weight}", "decay=all", folder=f"w{weight}")
        )
        for weight in (0.3, 0.0)
    )
    assert not torch.equal(learned["net.side.bias"], without["net.side.bias"])


@pytest.mark.parametrize("loss", ["bce", "hinge", "mse"])
def test_one_logit_tells_two_classes_apart(loss: str, own_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own_directory / "binary.py").write_text(
        "import torch\nfrom convarium.data.datasets.synthetic import SyntheticImages\n"
        "from convarium.data.sources import InMemory\n"
        "class Halves(SyntheticImages):\n"
        "    def read(self, split):\n"
        "        size = {'train': self.train_size, 'test': self.test_size}.get(split)\n"
        "        if size is None: return None\n"
        "        targets = torch.arange(size) % 2\n"
        "        pixels = torch.randint(0, 100, (size, 1, 8, 8), generator=torch.Generator().manual_seed(1))\n"
        "        pixels[targets == 1, :, :4] += 100\n"
        "        return InMemory(pixels.to(torch.uint8), targets)\n"
    )
    monkeypatch.syspath_prepend(own_directory)
    monkeypatch.setenv("CONVARIUM_TRUST", "binary")
    run = experiment("data._target_=binary.Halves", "data.num_classes=1", f"loss={loss}", "trainer.max_epochs=3")
    metrics = run.result()["metrics"]
    assert metrics["test/acc1"] == 1.0
    assert "test/acc5" not in metrics


# mixed images ---------------------------------------------------------------------------------------------------------

SHARE = torch.tensor([0.0, 0.25, 0.5, 0.9, 1.0])
OWN, PARTNERS = torch.tensor([0, 1, 2, 3, 0]), torch.tensor([0, 0, 1, 2, 3])


class Headed(nn.Module):
    """One linear layer, and another as an auxiliary head."""

    def __init__(self) -> None:
        super().__init__()
        self.main, self.side = nn.Linear(6, 4), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Outputs:
        return Outputs(self.main(x), (self.side(x),))


def learner_of(net: nn.Module, loss: ClassificationLoss) -> Learner:
    return Learner(
        net, num_classes=4, loss=loss, optimizer=torch.optim.SGD, schedule=Constant(), length=TrainingLength(1, 1)
    )


def mixed_batch() -> Batch:
    return Batch(torch.randn(5, 6), OWN, torch.arange(5), 0, 0, 1.0, True, (PARTNERS, SHARE))


@pytest.mark.parametrize("loss", [CrossEntropy(label_smoothing=0.1), MeanSquaredError(), Hinge()])
def test_the_loss_of_mixed_images_is_that_of_each_class_by_its_share(loss: ClassificationLoss) -> None:
    net, batch = nn.Linear(6, 4), mixed_batch()
    learner = learner_of(net, loss)
    logits = net(batch.images)
    expected = SHARE * loss(logits, OWN) + (1 - SHARE) * loss(logits, PARTNERS)
    torch.testing.assert_close(learner.training_step(batch, 0), expected.mean())
    torch.testing.assert_close(learner.train_tally.compute()["loss"], expected.mean().double())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_cross_entropy_of_mixed_images_is_that_of_their_soft_target(smoothing: float) -> None:
    net, batch = nn.Linear(6, 4), mixed_batch()
    own, other = F.one_hot(OWN, 4), F.one_hot(PARTNERS, 4)
    target = (1 - smoothing) * (SHARE[:, None] * own + (1 - SHARE[:, None]) * other) + smoothing / 4
    found = learner_of(net, CrossEntropy(label_smoothing=smoothing)).training_step(batch, 0)
    torch.testing.assert_close(found, F.cross_entropy(net(batch.images), target))


def test_images_mixed_with_nothing_cost_what_they_cost_alone() -> None:
    net, batch = nn.Linear(6, 4), mixed_batch()
    whole = batch._replace(mix=(PARTNERS, torch.ones(5)))
    found, plain = (learner_of(net, CrossEntropy()).training_step(b, 0) for b in (whole, batch._replace(mix=None)))
    assert torch.equal(found, plain)


def test_auxiliary_heads_learn_the_mixture_too_and_are_not_in_the_loss_that_is_logged() -> None:
    net, batch, loss = Headed(), mixed_batch(), CrossEntropy(label_smoothing=0.1, aux_weight=0.3)
    learner = learner_of(net, loss)
    main, side = (
        SHARE * loss(head(batch.images), OWN) + (1 - SHARE) * loss(head(batch.images), PARTNERS)
        for head in (net.main, net.side)
    )
    torch.testing.assert_close(learner.training_step(batch, 0), (main + 0.3 * side).mean())
    scores = learner.train_tally.compute()
    torch.testing.assert_close(scores["loss"], main.mean().double())
    assert scores["acc1"] == (net.main(batch.images).argmax(1) == OWN).double().mean()


def test_a_short_last_batch_of_mixed_images_counts_by_its_weight() -> None:
    net, batch = nn.Linear(6, 4), mixed_batch()
    whole, half = (
        learner_of(net, CrossEntropy()).training_step(batch._replace(weight=weight), 0) for weight in (1.0, 0.5)
    )
    assert torch.equal(half, whole * 0.5)


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_a_run_on_mixed_images_logs_the_loss_of_the_mixture_and_the_accuracy_on_the_own_class(mix: str) -> None:
    run = experiment(
        f"augment=[crop_flip,{mix}]", "augment.mix.alpha=1.0", "optimizer.lr=0", "loss.label_smoothing=0.1"
    )
    data, net = data_of(run), load_run(run.path, weights="last").double()
    losses, right = [], []
    with torch.no_grad():
        for batch in data.train_dataloader():
            prepared = data.on_after_batch_transfer(batch, 0)
            assert prepared.mix is not None
            logits, (partners, share) = net(prepared.images.double()), prepared.mix
            own, other = (
                F.cross_entropy(logits, classes, reduction="none", label_smoothing=0.1)
                for classes in (batch.targets, partners)
            )
            losses.append(share * own + (1 - share) * other)
            right.append(logits.argmax(1) == batch.targets)
    metrics = run.result()["metrics"]
    assert metrics["train/loss"] == pytest.approx(torch.cat(losses).mean().item(), rel=1e-6)
    assert metrics["train/acc1"] == pytest.approx(torch.cat(right).double().mean().item(), rel=1e-6)
    assert metrics["train/images"] == 512
    again = scored(
        net, data, data.val_dataloader(), lambda *of: F.cross_entropy(*of, reduction="none", label_smoothing=0.1)
    )
    assert metrics["val/loss"] == pytest.approx(again["loss"], rel=1e-6)  # nothing is mixed there


# what a step is -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [2, 4])
def test_accumulating_takes_the_same_steps_as_the_whole_batch(accumulate: int) -> None:
    words = ("trainer.max_epochs=2", "augment=crop_flip")
    whole = experiment(*words, folder="whole")
    parts = experiment(*words, f"trainer.accumulate_grad_batches={accumulate}", folder="parts")
    for name in ("train/loss_step", "grad_norm", "lr", "train/loss", "val/loss", "test/loss"):
        assert rows(parts, name) == pytest.approx(rows(whole, name), rel=2e-5), name
    torch.testing.assert_close(weights(parts), weights(whole), **FLOAT32)


@pytest.mark.parametrize("accumulate", [1, 4])
def test_an_incomplete_last_batch_counts_its_samples_equally(accumulate: int) -> None:
    """11 samples over, with batches of 32: one step of plain gradient descent from each batch, by hand."""
    run = experiment(
        "data.train_size=54",
        "data.drop_last=false",
        "optimizer=sgd",
        "optimizer.momentum=0",
        "optimizer.weight_decay=0",
        "schedule=constant",
        "clip=none",
        f"trainer.accumulate_grad_batches={accumulate}",
    )
    config, data = run.config(), data_of(run)
    torch.manual_seed(config["seed"])
    net = build_node(config["arch"], "arch")
    order, images = data.train_dataloader().order(0), data._train
    assert len(order) == 43
    for index in (order[:32], order[32:]):
        loss = F.cross_entropy(net(data.normalize(images.fetch(index)[0])), images.targets[index])
        gradients = torch.autograd.grad(loss, list(net.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(net.parameters(), gradients, strict=True):
                parameter -= config["optimizer"]["lr"] * gradient
    own = {f"net.{name}": value for name, value in net.state_dict().items()}
    torch.testing.assert_close(weights(run), own, **FLOAT32)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_rate_is_the_schedules_at_every_step(accumulate: int) -> None:
    run = experiment(
        "trainer.max_epochs=3", "schedule.warmup=10 steps", f"trainer.accumulate_grad_batches={accumulate}"
    )
    schedule, length = Cosine(warmup="10 steps"), TrainingLength(3 * STEPS, STEPS)
    rate = run.config()["optimizer"]["lr"]
    assert rows(run, "lr") == [rate * schedule.factor(step, length) for step in range(3 * STEPS)]
    assert rows(run, "lr")[:2] == [rate / 11, rate * (2 / 11)]


def test_a_plateau_lowers_the_rate_once_validation_stands_still() -> None:
    run = experiment(
        "schedule=plateau",
        "schedule.monitor=val/acc1",
        "schedule.mode=max",
        "schedule.patience=1",
        "optimizer.lr=1e-9",
        "trainer.max_epochs=5",
    )
    assert len(set(rows(run, "val/acc1"))) == 1  # a rate too small to change an answer
    cuts = [0, 0, 0, 1, 1]  # the first is best, two more in a row are not
    assert rows(run, "lr") == pytest.approx([1e-9 * 0.1**cut for cut in cuts for _ in range(STEPS)], rel=1e-12)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_logged_norm_and_share_are_those_before_clipping(
    precision: str, accumulate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with a fused optimizer under bfloat16, where Lightning's own clipping raises."""
    from convarium.learn.learner import Learner

    norms: list[float] = []
    own = Learner.configure_gradient_clipping

    def measured(self: Learner, optimizer: torch.optim.Optimizer, *rest: Any, **named: Any) -> None:
        gradients = [parameter.grad.flatten() for parameter in self.net.parameters() if parameter.grad is not None]
        norms.append(torch.cat(gradients).double().norm().item())
        own(self, optimizer, *rest, **named)
        after = torch.cat([parameter.grad.flatten() for parameter in self.net.parameters()]).norm().item()
        assert after <= 0.5 * (1 + 1e-5)

    monkeypatch.setattr(Learner, "configure_gradient_clipping", measured)
    run = experiment(
        "optimizer=adamw",
        "optimizer.fused=true",
        "clip=norm",
        "clip.max_norm=0.5",
        f"precision={precision}",
        f"trainer.accumulate_grad_batches={accumulate}",
        "trainer.log_every_n_steps=4",
    )
    groups = [norms[start : start + 4] for start in range(0, STEPS, 4)]
    assert rows(run, "grad_norm") == pytest.approx([sum(group) / 4 for group in groups], rel=1e-5)
    assert rows(run, "clipped_share") == [sum(norm > 0.5 for norm in group) / 4 for group in groups]


# randomness -----------------------------------------------------------------------------------------------------------

DROPOUT = ("dropout=0.5", "data.train_size=40", "batch_size=32", "optimizer.lr=0", "trainer.max_epochs=3")


def test_dropout_differs_from_step_to_step() -> None:
    losses = rows(experiment(*DROPOUT), "train/loss_step")  # the same 32 images, the same weights
    assert len(set(losses)) == 3


def test_equal_seeds_give_equal_runs_and_others_do_not() -> None:
    first, again, other = (
        experiment("dropout=0.5", "augment=crop_flip", f"seed={seed}", folder=folder)
        for seed, folder in ((1, "first"), (1, "again"), (2, "other"))
    )
    assert first.metrics_file.read_text() == again.metrics_file.read_text()
    assert all(torch.equal(value, weights(again)[name]) for name, value in weights(first).items())
    assert rows(first, "train/loss_step") != rows(other, "train/loss_step")


def test_what_is_drawn_beside_the_training_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from convarium.learn.learner import Learner

    plain = experiment("dropout=0.5", folder="plain")
    own = Learner.on_validation_start

    def draws(self: Learner) -> None:
        torch.rand(1000)
        own(self)

    monkeypatch.setattr(Learner, "on_validation_start", draws)
    drawn = experiment("dropout=0.5", "trainer.val_check_interval=0.25", folder="drawn")
    assert all(torch.equal(value, weights(drawn)[name]) for name, value in weights(plain).items())


# limits and ends ------------------------------------------------------------------------------------------------------


def test_validation_may_come_within_an_epoch() -> None:
    run = experiment("trainer.val_check_interval=0.5", "trainer.max_epochs=2")
    with run.metrics_file.open() as file:
        at = [int(row["step"]) for row in csv.DictReader(file) if row["val/loss"]]
    assert at == [8, 16, 24, 32]


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        (["trainer.limit_train_batches=5"], 5),
        (["trainer.limit_train_batches=0.5"], 8),
        (["trainer.limit_train_batches=8", "trainer.accumulate_grad_batches=2"], 4),
        (["trainer.max_steps=7"], 7),
        (["trainer.max_steps=20", "trainer.max_epochs=3"], 20),
        (["trainer.max_steps=100", "trainer.max_epochs=2"], 32),
    ],
)
def test_a_limit_ends_the_run_and_its_schedule_where_it_says(words: list[str], steps: int) -> None:
    run = experiment(*words, "schedule=polynomial")
    assert run.result()["steps"] == steps
    assert run.result()["status"] == "ok"
    rate = run.config()["optimizer"]["lr"]
    assert rows(run, "lr") == pytest.approx([rate * (1 - step / steps) for step in range(steps)], rel=1e-9)


def test_all_images_may_be_trained_on() -> None:
    run = experiment("data.val_fraction=0", "data.train_size=64", "trainer.max_epochs=2")
    result = run.result()
    assert result["steps"] == 4
    assert not [name for name in result["metrics"] if "val/" in name]
    assert result["metrics"]["test/acc1"] > 0
    assert not run.best.exists()


def test_evaluation_may_be_limited_to_a_share_of_every_class() -> None:
    run = experiment("trainer.limit_val_batches=2", "trainer.limit_test_batches=1", "test.weights=last")
    data, metrics = data_of(run), run.result()["metrics"]
    net = load_run(run.path)
    val_of, test_of = data._members[1], torch.arange(data.num_test)
    val_of = val_of[take(data._train.targets[val_of], 64, seed=0)[1]]
    test_of = test_of[take(data._test.targets, 32, seed=0)[1]]
    val = scored(net, data, list(EvalBatches(data._train, val_of, batch_size=32)), cross_entropy)
    test = scored(net, data, list(EvalBatches(data._test, test_of, batch_size=32)), cross_entropy)
    assert (metrics["val/loss"], metrics["test/loss"]) == pytest.approx((val["loss"], test["loss"]), rel=1e-6)


def test_a_batch_can_be_learned_by_heart() -> None:
    run = experiment(
        "arch=lenet5",
        "data.image_size=32",
        "optimizer.lr=0.005",
        "trainer.overfit_batches=1",
        "trainer.max_epochs=60",
        "trainer.log_every_n_steps=50",
        "trainer.check_val_every_n_epoch=60",
    )
    assert run.result()["metrics"]["train/loss"] < 0.01
    assert run.result()["steps"] == 60


def test_a_debug_run_takes_one_batch_of_everything_and_saves_no_checkpoint() -> None:
    run = experiment("trainer=debug")
    result = run.result()
    assert (result["status"], result["steps"]) == ("ok", 1)
    assert {"train/loss", "val/loss", "test/loss"} <= result["metrics"].keys()
    assert not run.last.exists()
    assert not run.best.exists()


def test_early_stopping_ends_a_run_that_no_longer_improves() -> None:
    run = experiment("stop=early", "stop.patience=2", "optimizer.lr=1e-9", "trainer.max_epochs=9")
    result = run.result()
    assert (result["status"], result["epochs"]) == ("ok", 3)


# averages -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("average", ["ema", "polyak"])
@pytest.mark.parametrize("which", ["best", "last"])
def test_what_is_tested_and_saved_are_the_averaged_weights(average: str, which: str) -> None:
    run = experiment(f"average={average}", "trainer.max_epochs=4", f"test.weights={which}", "optimizer.lr=0.01")
    checkpoint = read_checkpoint(run.best if which == "best" else run.last)
    raw = {name[4:]: value for name, value in checkpoint["state_dict"].items() if name.startswith("net.")}
    net = load_run(run.path)
    if checkpoint["averaged"] is None:  # the best epoch was before the average began
        assert average == "polyak"
        assert all(torch.equal(value, raw[name]) for name, value in net.state_dict().items())
    else:
        averaged = net.state_dict()
        assert all(torch.equal(value, checkpoint["averaged"][name]) for name, value in averaged.items())
        assert not all(torch.equal(value, raw[name]) for name, value in averaged.items())
    data = data_of(run)
    again = scored(net, data, data.test_dataloader(), cross_entropy)
    metrics = run.result()["metrics"]
    assert {name: metrics[f"test/{name}"] for name in again} == pytest.approx(again, rel=1e-6)


def test_validation_is_that_of_the_average_and_training_is_not_changed_by_it() -> None:
    words = ("trainer.max_epochs=2", "test.weights=last")
    plain, averaged = experiment(*words, folder="plain"), experiment(*words, "average=ema", folder="averaged")
    assert rows(plain, "train/loss_step") == rows(averaged, "train/loss_step")
    data = data_of(averaged)
    again = scored(load_run(averaged.path), data, data.val_dataloader(), cross_entropy)
    assert rows(averaged, "val/loss")[-1] == pytest.approx(again["loss"], rel=1e-6)
