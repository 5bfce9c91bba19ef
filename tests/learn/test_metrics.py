"""The tally of loss and accuracy: exact values, ties, and any cut of the samples into batches."""

import math

import pytest
import torch
import torchmetrics
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from convarium.learn.metrics import Accuracy, BalancedAccuracy, MacroF1, Tally
from experiments import experiment


def figures(tally: Tally) -> dict[str, float]:
    return {name: value.item() for name, value in tally.compute().items()}


def test_loss_and_accuracies_are_means_over_all_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(103, 10, generator=generator)
    targets = torch.randint(10, (103,), generator=generator)
    losses = torch.rand(103, generator=generator)
    tally = Tally(10)
    for rows in torch.arange(103).split(16):
        tally.update(losses[rows], logits[rows], targets[rows])
    acc1, acc5 = (
        torchmetrics.functional.accuracy(logits, targets, "multiclass", num_classes=10, top_k=k, average="micro")
        for k in (1, 5)
    )
    assert figures(tally) == pytest.approx(
        {"loss": losses.double().mean().item(), "acc1": acc1.item(), "acc5": acc5.item()}, rel=1e-6
    )
    assert tally.sums[3] == 103


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(1, 39), max_size=5, unique=True))
def test_sums_do_not_depend_on_how_samples_are_cut_into_batches(cuts: list[int]) -> None:
    generator = torch.Generator().manual_seed(1)
    logits, losses = torch.randn(40, 6, generator=generator), torch.rand(40, generator=generator)
    targets = torch.randint(6, (40,), generator=generator)
    whole, pieces = Tally(6), Tally(6)
    whole.update(losses, logits, targets)
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 40], strict=True):
        pieces.update(losses[start:end], logits[start:end], targets[start:end])
    assert torch.equal(whole.sums[1:], pieces.sums[1:])
    assert pieces.sums[0].item() == pytest.approx(whole.sums[0].item(), rel=1e-14)


def test_equal_logits_rank_by_class_number_so_that_a_collapsed_network_is_right_by_chance() -> None:
    tally = Tally(10)
    tally.update(torch.zeros(10), torch.ones(10, 10), torch.arange(10))
    assert figures(tally) == {"loss": 0.0, "acc1": 0.1, "acc5": 0.5}


def test_a_tie_goes_to_the_class_that_argmax_names() -> None:
    logits = torch.tensor([[1.0, 2.0, 2.0], [1.0, 2.0, 2.0], [3.0, 3.0, 0.0]])
    tally = Tally(3)
    tally.update(torch.zeros(3), logits, torch.tensor([1, 2, 0]))
    assert tally.sums.tolist() == [0.0, 2.0, 3.0]
    assert logits.argmax(1).tolist() == [1, 1, 0]


def test_a_network_that_says_nan_is_never_right() -> None:
    tally = Tally(6)
    tally.update(torch.full((4,), math.nan), torch.full((4, 6), math.nan), torch.arange(4))
    assert figures(tally) == pytest.approx({"loss": math.nan, "acc1": 0.0, "acc5": 0.0}, nan_ok=True)


@pytest.mark.parametrize("classes", [2, 4, 5])
def test_five_classes_and_fewer_have_no_top_five(classes: int) -> None:
    tally = Tally(classes)
    tally.update(torch.ones(2), torch.eye(classes)[:2], torch.tensor([0, 0]))
    assert figures(tally) == {"loss": 1.0, "acc1": 0.5}


def test_one_logit_says_class_one_where_it_is_positive() -> None:
    tally = Tally(1)
    tally.update(torch.zeros(4), torch.tensor([[0.1], [-0.1], [2.0], [0.0]]), torch.tensor([1, 1, 0, 0]))
    assert figures(tally) == {"loss": 0.0, "acc1": 0.5}


def test_no_samples_have_no_mean() -> None:
    assert all(math.isnan(value) for value in figures(Tally(6)).values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_counted(dtype: torch.dtype) -> None:
    tally = Tally(6)
    tally.update(torch.ones(3), torch.eye(6, dtype=dtype)[:3], torch.tensor([0, 1, 0]))
    assert tally.sums.tolist() == [3.0, 2.0, 3.0, 3.0]


def test_a_reset_starts_anew_and_leaves_what_was_read() -> None:
    tally = Tally(6)
    tally.update(torch.ones(2), torch.eye(6)[:2], torch.tensor([0, 1]))
    before = figures(tally)
    tally.reset()
    assert tally.sums.tolist() == [0.0] * 4
    tally.update(torch.zeros(1), torch.eye(6)[:1], torch.tensor([0]))
    assert before == {"loss": 1.0, "acc1": 1.0, "acc5": 1.0}
    assert figures(tally) == {"loss": 0.0, "acc1": 1.0, "acc5": 1.0}


def test_sums_set_from_a_checkpoint_count_as_seen() -> None:
    tally = Tally(6)
    tally.update(torch.ones(1), torch.eye(6)[:1], torch.tensor([0]))
    assert figures(tally)["loss"] == 1.0
    tally.sums.copy_(torch.tensor([6.0, 1.0, 2.0, 4.0]))
    assert figures(tally) == {"loss": 1.5, "acc1": 0.25, "acc5": 0.5}


def test_an_update_records_no_graph() -> None:
    tally = Tally(6)
    logits = torch.eye(6).requires_grad_()
    tally.update(logits.sum(1), logits, torch.arange(6))
    assert not tally.sums.requires_grad


def test_a_tally_can_count_in_float32_where_there_is_no_float64() -> None:
    tally = Tally(6)
    tally.set_dtype(torch.float32)
    tally.update(torch.ones(2), torch.eye(6)[:2], torch.tensor([0, 0]))
    assert tally.sums.dtype == torch.float32
    assert figures(tally) == {"loss": 1.0, "acc1": 0.5, "acc5": 1.0}


def test_sums_over_many_batches_keep_float64s_precision() -> None:
    tally = Tally(5)
    logits, targets = torch.eye(5), torch.arange(5)
    losses: Tensor = torch.full((5,), 0.1)
    for _ in range(1000):
        tally.update(losses, logits, targets)
    assert tally.sums[0].item() == pytest.approx(5000 * torch.tensor(0.1).item(), rel=1e-12)


def classified(classes: int, seen: int) -> tuple[Tensor, Tensor]:
    """Logits and targets of 200 samples, of only the first `seen` of the classes."""
    generator = torch.Generator().manual_seed(4)
    targets = torch.randint(seen, (200,), generator=generator)
    logits = torch.randn(200, classes, generator=generator)
    logits[:, seen:] -= 9  # nor predicted
    logits[torch.arange(100), targets[:100]] += 2
    return logits, targets


def filled(metric: torchmetrics.Metric, logits: Tensor, targets: Tensor) -> float:
    for rows in torch.arange(len(targets)).split(64):
        metric.update(logits[rows], targets[rows])
    return float(metric.compute())


@pytest.mark.parametrize("seen", [2, 5, 7])
def test_the_metrics_are_those_of_torchmetrics(seen: int) -> None:
    logits, targets = classified(7, seen)
    theirs = torchmetrics.functional.classification
    macro = theirs.multiclass_accuracy(logits, targets, num_classes=7, average="macro")
    assert filled(BalancedAccuracy(num_classes=7), logits, targets) == pytest.approx(macro.item(), rel=1e-6)
    f1 = theirs.multiclass_f1_score(logits, targets, num_classes=7, average="macro")
    assert filled(MacroF1(num_classes=7), logits, targets) == pytest.approx(f1.item(), rel=1e-6)
    top3 = theirs.multiclass_accuracy(logits, targets, num_classes=7, top_k=3, average="micro")
    assert filled(Accuracy(top=3), logits, targets) == pytest.approx(top3.item(), rel=1e-6)


def test_the_metrics_of_a_case_counted_by_hand() -> None:
    said, targets = torch.tensor([0, 0, 0, 1, 1, 0]), torch.tensor([0, 0, 0, 0, 1, 1])  # class 2 is not there
    logits = torch.nn.functional.one_hot(said, 3).float()
    assert filled(Accuracy(), logits, targets) == 4 / 6
    assert filled(BalancedAccuracy(num_classes=3), logits, targets) == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert filled(MacroF1(num_classes=3), logits, targets) == pytest.approx((2 * 3 / (4 + 4) + 2 * 1 / (2 + 2)) / 2)


def test_every_test_has_what_accuracy_hides() -> None:
    plain, asked = experiment(), experiment("metrics=[accuracy,balanced_accuracy,macro_f1]", folder="asked")
    found, wanted = (run.result()["metrics"] for run in (plain, asked))
    for name in ("balanced_accuracy", "macro_f1"):
        assert found[f"test/{name}"] == wanted[f"test/{name}"] > 0
        assert f"val/{name}" in wanted
        assert f"val/{name}" not in found


def test_a_class_that_is_predicted_and_never_there_counts_in_macro_f1_alone() -> None:
    logits, targets = torch.eye(3)[[0, 2]], torch.tensor([0, 0])
    assert filled(BalancedAccuracy(num_classes=3), logits, targets) == 1 / 2
    assert filled(MacroF1(num_classes=3), logits, targets) == pytest.approx((2 / 3 + 0) / 2)


def test_metrics_of_nothing_are_nan() -> None:
    for metric in (Accuracy(), BalancedAccuracy(num_classes=3), MacroF1(num_classes=3)):
        assert math.isnan(metric.compute())
