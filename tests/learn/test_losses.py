"""Losses against torch's own and against their formulas."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from convarium.layers.outputs import Outputs
from convarium.learn.losses import BinaryCrossEntropy, ClassificationLoss, CrossEntropy, Hinge, MeanSquaredError

Make = Callable[..., ClassificationLoss]
MAKERS: list[Make] = [CrossEntropy, MeanSquaredError, Hinge, BinaryCrossEntropy]


def batch(classes: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (12, classes), targets, and their one-hot code."""
    generator = torch.Generator().manual_seed(3)
    targets = torch.arange(12) % max(classes, 2)
    return 2 * torch.randn(12, classes, generator=generator), targets, torch.eye(max(classes, 2))[targets]


def weston_watkins(logits: Tensor, targets: Tensor, margin: float, power: int) -> Tensor:
    """The sum over the wrong classes, class by class."""
    losses = [
        sum(
            max(0.0, margin + row[wrong].item() - row[right].item()) ** power
            for wrong in range(len(row))
            if wrong != right
        )
        for row, right in zip(logits, targets.tolist(), strict=True)
    ]
    return torch.tensor(losses)


def test_cross_entropy_is_torchs_with_label_smoothing() -> None:
    logits, targets, _ = batch()
    loss = CrossEntropy(label_smoothing=0.1)(logits, targets)
    torch.testing.assert_close(loss.mean(), nn.CrossEntropyLoss(label_smoothing=0.1)(logits, targets))
    torch.testing.assert_close(CrossEntropy()(logits, targets), -logits.log_softmax(1)[torch.arange(12), targets])


def test_mse_and_bce_are_torchs_means_over_one_hot_codes() -> None:
    logits, targets, codes = batch()
    torch.testing.assert_close(MeanSquaredError()(logits, targets).mean(), nn.MSELoss()(logits, codes))
    torch.testing.assert_close(BinaryCrossEntropy()(logits, targets).mean(), nn.BCEWithLogitsLoss()(logits, codes))


@pytest.mark.parametrize("power", [1, 2])
def test_hinge_sums_what_each_wrong_class_lacks_of_the_margin(power: int) -> None:
    logits, targets, _ = batch()
    loss = Hinge(margin=1.5, power=power)(logits, targets)
    torch.testing.assert_close(loss, weston_watkins(logits, targets, 1.5, power))


def test_one_logit_is_scored_against_targets_zero_and_one() -> None:
    logits, targets = torch.tensor([[2.0], [2.0], [-0.5], [-0.5]]), torch.tensor([1, 0, 1, 0])
    torch.testing.assert_close(
        BinaryCrossEntropy()(logits, targets), nn.BCEWithLogitsLoss(reduction="none")(logits[:, 0], targets.float())
    )
    assert Hinge()(logits, targets).tolist() == [0.0, 3.0, 1.5, 0.5]
    assert Hinge(power=2)(logits, targets).tolist() == [0.0, 9.0, 2.25, 0.25]
    assert MeanSquaredError()(logits, targets).tolist() == [1.0, 9.0, 2.25, 0.25]


def test_cross_entropy_over_one_logit_is_refused() -> None:
    with pytest.raises(ValueError, match="loss=bce"):
        CrossEntropy()(torch.zeros(2, 1), torch.tensor([0, 1]))


@pytest.mark.parametrize("make", MAKERS)
def test_auxiliary_classifiers_count_by_their_weight(make: Make) -> None:
    logits, targets, _ = batch()
    loss = make(aux_weight=0.3)
    weighed = loss(Outputs(logits, (2 * logits, logits + 1)), targets)
    expected = loss(logits, targets) + 0.3 * (loss(2 * logits, targets) + loss(logits + 1, targets))
    torch.testing.assert_close(weighed, expected)


@pytest.mark.parametrize("make", MAKERS)
def test_a_loss_is_one_float32_per_sample_also_from_half_precision(make: Make) -> None:
    logits, targets, _ = batch()
    half = logits.bfloat16()
    loss = make()(half, targets)
    assert loss.dtype == torch.float32
    assert loss.shape == targets.shape
    assert torch.equal(loss, make()(half.float(), targets))


@pytest.mark.parametrize("make", MAKERS)
def test_the_gradient_of_a_loss_is_that_of_finite_differences(make: Make) -> None:
    logits, targets, _ = batch(5)
    loss = make()
    logits = logits.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(logits, targets).sum(), logits)
    step = 1e-2
    for row, column in [(0, 0), (3, 4), (7, 2)]:
        nudge = torch.zeros_like(logits)
        nudge[row, column] = step
        slope = (loss(logits + nudge, targets).sum() - loss(logits - nudge, targets).sum()) / (2 * step)
        assert gradient[row, column].item() == pytest.approx(slope.item(), abs=2e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CrossEntropy(label_smoothing=1.0), "label_smoothing=1.0: must be at least 0 and less than 1"),
        (lambda: CrossEntropy(label_smoothing=float("nan")), "label_smoothing=nan"),
        (lambda: BinaryCrossEntropy(aux_weight=-0.1), "aux_weight=-0.1: must be a number >= 0"),
        (lambda: Hinge(margin=0), "margin=0: must be a number > 0"),
        (lambda: Hinge(power=3), "power=3: must be 1 or 2"),
    ],
)
def test_a_value_out_of_range_is_refused_when_made(make: Make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
