"""Averaged weights: the rules, and the callback inside Lightning's own loop."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from torch import Tensor, nn

from convarium.learn.averaging import EMA, Averaging, Polyak, Rule
from convarium.learn.lengths import TrainingLength

RUN = TrainingLength(total_steps=6, steps_per_epoch=3)
State = dict[str, Tensor]


class Classifier(L.LightningModule):
    """The small network, its length, and a record of the weights that each optimizer step left and validation saw."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.length = RUN
        self.trained: list[State] = []
        self.scored: list[State] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.net.parameters(), lr=0.1, momentum=0.9)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def on_train_batch_end(self, *_: Any) -> None:
        if self.trainer.global_step > len(self.trained):
            self.trained.append(snapshot(self.net))

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.scored.append(snapshot(self.net))

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.scored.append(snapshot(self.net))


class Batches(Sequence[tuple[Tensor, Tensor]]):
    """A loader: Lightning takes a plain list for several of them."""

    def __init__(self, batches: Sequence[tuple[Tensor, Tensor]]) -> None:
        self.batches = batches

    def __getitem__(self, place: Any) -> Any:
        return self.batches[place]

    def __len__(self) -> int:
        return len(self.batches)


Fit = Callable[..., L.Trainer]


@pytest.fixture
def fit(problem: tuple[Tensor, Tensor], tmp_path: Path) -> Fit:
    """Train a Classifier for two epochs of six batches, two to a step: six optimizer steps, two validations."""
    images, targets = problem[0].repeat(2, 1, 1, 1), problem[1].repeat(2)
    batches = Batches([(images[i : i + 6], targets[i : i + 6]) for i in range(0, 36, 6)])

    def fit(module: Classifier, *callbacks: L.Callback, epochs: int = 2, **more: Any) -> L.Trainer:
        trainer = L.Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            accumulate_grad_batches=2,
            callbacks=list(callbacks),
            default_root_dir=tmp_path,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(module, batches, Batches(batches[:1]), **more)
        return trainer

    return fit


def snapshot(net: nn.Module) -> State:
    return copy.deepcopy(net.state_dict())


def equal(ours: State | None, theirs: State | None) -> bool:
    assert ours is not None
    assert theirs is not None
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def by_hand(start: State, trained: list[State], rule: Rule) -> State:
    """The average of a run's weights, a tensor and a step at a time."""
    average = copy.deepcopy(start)
    for step, state in enumerate(trained, 1):
        weight = rule.weight(step, RUN)
        for name, value in state.items():
            if weight is not None:
                average[name] = torch.lerp(average[name], value, weight) if value.is_floating_point() else value
    return average


@pytest.mark.parametrize("rule", [EMA(decay=0.9), EMA(decay=0.5, warmup=1.0), Polyak(start="2 steps")], ids=repr)
def test_the_average_is_that_of_the_weights_after_each_optimizer_step(rule: Rule, net: nn.Module, fit: Fit) -> None:
    start, module, averaging = snapshot(net), Classifier(net), Averaging(rule)
    fit(module, averaging)
    assert len(module.trained) == 6
    assert equal(averaging.averaged_state(), by_hand(start, module.trained, rule))


def test_polyaks_average_is_the_plain_mean_from_its_start_on(net: nn.Module, fit: Fit) -> None:
    module, averaging = Classifier(net), Averaging(Polyak(start="50%"))
    fit(module, averaging)
    average = averaging.averaged_state()
    assert average is not None
    for name, value in average.items():
        later = [state[name] for state in module.trained[3:]]
        if value.is_floating_point():
            torch.testing.assert_close(value, torch.stack(later).mean(0))
        else:
            assert torch.equal(value, later[-1])


def test_validation_sees_the_average_and_training_goes_on_as_without_it(make_net: Any, fit: Fit) -> None:
    plain, averaged = Classifier(make_net()), Classifier(make_net())
    addresses = [tensor.data_ptr() for tensor in averaged.net.state_dict().values()]
    start, rule = snapshot(averaged.net), EMA(decay=0.9)
    fit(plain)
    fit(averaged, Averaging(rule))
    assert equal(averaged.scored[0], by_hand(start, averaged.trained[:3], rule))
    assert equal(averaged.scored[1], by_hand(start, averaged.trained, rule))
    assert equal(averaged.net.state_dict(), plain.net.state_dict())
    assert [tensor.data_ptr() for tensor in averaged.net.state_dict().values()] == addresses


def test_a_test_sees_the_average(net: nn.Module, fit: Fit, problem: tuple[Tensor, Tensor]) -> None:
    module, averaging = Classifier(net), Averaging(EMA(decay=0.9))
    trainer = fit(module, averaging)
    trained = snapshot(net)
    trainer.test(module, Batches([problem]), verbose=False)
    assert equal(module.scored[-1], averaging.averaged_state())
    assert equal(snapshot(net), trained)


def test_there_is_no_average_before_its_start(net: nn.Module, fit: Fit) -> None:
    module, averaging = Classifier(net), Averaging(Polyak(start="5 steps"))
    fit(module, averaging, epochs=1)
    assert averaging.averaged_state() is None
    assert averaging.state_dict() == {"step": 3, "active": False, "shadow": {}}
    assert equal(module.scored[0], module.trained[2])


@pytest.mark.parametrize("rule", [EMA(decay=0.9), Polyak(start="2 steps"), Polyak(start="4 steps")], ids=repr)
def test_a_resumed_run_ends_with_the_same_average_bit_for_bit(
    rule: Rule, make_net: Any, fit: Fit, tmp_path: Path
) -> None:
    through, whole = Classifier(make_net()), Averaging(rule)
    fit(through, whole)
    first = fit(Classifier(make_net()), Averaging(rule), epochs=1)
    first.save_checkpoint(tmp_path / "half.ckpt")
    resumed, rest = Classifier(make_net(seed=1)), Averaging(rule)
    fit(resumed, rest, ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert equal(resumed.net.state_dict(), through.net.state_dict())
    assert equal(rest.averaged_state(), whole.averaged_state())


def test_an_exception_in_validation_leaves_the_trained_weights(net: nn.Module, fit: Fit) -> None:
    class Breaks(Classifier):
        def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
            raise RuntimeError("full disk")

    module = Breaks(net)
    with pytest.raises(RuntimeError, match="full disk"):
        fit(module, Averaging(EMA(decay=0.9)))
    assert equal(snapshot(net), module.trained[2])


def test_the_average_of_another_network_is_refused(net: nn.Module, fit: Fit) -> None:
    averaging = Averaging(EMA())
    averaging.load_state_dict({"step": 3, "active": True, "shadow": {"weight": torch.zeros(2)}})
    with pytest.raises(ValueError, match="those of another network"):
        fit(Classifier(net), averaging)


def test_the_averaged_state_is_a_copy(net: nn.Module, fit: Fit) -> None:
    averaging = Averaging(EMA(decay=0.9))
    fit(Classifier(net), averaging)
    first, second = averaging.averaged_state(), averaging.averaged_state()
    assert first is not None
    for value in first.values():
        value.zero_()
    assert second is not None
    assert equal(averaging.averaged_state(), second)


@pytest.mark.parametrize(
    ("rule", "weights"),
    [
        (EMA(decay=0.9, warmup=10.0), {1: 9 / 11, 8: 0.5, 80: 0.1, 1000: 0.1}),
        (EMA(decay=0.99, warmup=1.0), {1: 0.01, 2: 0.01}),
        (Polyak(start=0), {1: 1, 2: 1 / 2, 6: 1 / 6}),
        (Polyak(start=1), {3: None, 4: 1, 5: 1 / 2, 6: 1 / 3}),
        (Polyak(start="50%"), {3: None, 4: 1}),
    ],
    ids=repr,
)
def test_a_rule_weighs_as_its_formula_says(rule: Rule, weights: dict[int, float | None]) -> None:
    assert {step: rule.weight(step, RUN) for step in weights} == pytest.approx(weights, abs=1e-12)


def test_a_start_outside_the_run_is_refused() -> None:
    Polyak(start="5 steps").check(RUN)
    with pytest.raises(ValueError, match=r"average\.start=2: is not inside the run of 6 steps"):
        Polyak(start=2).check(RUN)
