"""Losses against torch's own and against their formulas."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from convarium.layers.outputs import Outputs
from convarium.learn.losses import (
    BinaryCrossEntropy,
    ClassificationLoss,
    CrossEntropy,
    Hinge,
    MaximumAPosteriori,
    MeanSquaredError,
    Perceptron,
    PerHead,
)

Make = Callable[..., ClassificationLoss]


def brier(**options: float) -> MeanSquaredError:
    return MeanSquaredError(on="probabilities", **options)


MAKERS: list[Make] = [CrossEntropy, MeanSquaredError, brier, Hinge, Perceptron, MaximumAPosteriori, BinaryCrossEntropy]


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


def test_mse_on_probabilities_is_that_of_the_softmax_or_of_the_sigmoid() -> None:
    logits, targets, codes = batch()
    torch.testing.assert_close(brier()(logits, targets).mean(), nn.MSELoss()(logits.softmax(1), codes))
    one = logits[:, :1]
    expected = (one.sigmoid()[:, 0] - (targets % 2)).square()
    torch.testing.assert_close(brier()(one, targets % 2), expected)


def test_from_a_millionth_to_a_thousandth_cross_entropy_halves_and_squared_error_hardly_moves() -> None:
    """Of the probability of the right class; and so do the gradients: 1 - p against 2 p (1 - p)^2."""
    p = torch.tensor([[1e-6], [1e-3]])
    scores, right = p.logit().requires_grad_(), torch.ones(2, dtype=torch.long)
    entropy, squares = BinaryCrossEntropy()(scores, right), brier()(scores, right)
    assert entropy.tolist() == pytest.approx([13.816, 6.908], abs=1e-3)
    assert squares.tolist() == pytest.approx([0.999998, 0.998001], abs=1e-6)
    (steep,), (flat,) = (torch.autograd.grad(loss.sum(), scores) for loss in (entropy, squares))
    torch.testing.assert_close(-steep, 1 - p)
    torch.testing.assert_close(-flat, 2 * p * (1 - p) ** 2)


def test_mse_is_on_scores_or_on_probabilities() -> None:
    with pytest.raises(ValueError, match="on=logits: accepted are scores, probabilities"):
        MeanSquaredError(on="logits")


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
    assert Perceptron()(logits, targets).tolist() == [0.0, 2.0, 0.5, 0.0]


def test_the_perceptron_criterion_sums_the_scores_on_the_wrong_side() -> None:
    scores = torch.tensor([[2.0, -1.0, 0.5], [-2.0, 1.0, -0.5]])
    assert Perceptron()(scores, torch.tensor([0, 0])).tolist() == [0.5, 3.0]


@pytest.mark.parametrize(("target", "gradient"), [(0, [-1.0, 1.0, 1.0]), (2, [1.0, 1.0, -1.0])])
def test_the_perceptron_criterion_takes_a_score_of_zero_for_wrong(target: int, gradient: list[float]) -> None:
    scores = torch.zeros(1, 3, requires_grad=True)
    loss = Perceptron()(scores, torch.tensor([target]))
    loss.sum().backward()
    assert loss.tolist() == [0.0]
    assert scores.grad is not None
    assert scores.grad.tolist() == [gradient]


def test_the_perceptron_criterion_leaves_units_alone_that_are_right() -> None:
    scores = torch.tensor([[1.5, -0.5]], requires_grad=True)
    Perceptron()(scores, torch.tensor([0])).sum().backward()
    assert scores.grad is not None
    assert scores.grad.tolist() == [[0.0, 0.0]]


def test_map_is_equation_9_of_lecun_1998() -> None:
    _, targets, _ = batch()
    distances = 3 * torch.rand(12, 7)
    j = 0.7
    expected = distances[torch.arange(12), targets] + torch.log(math.exp(-j) + torch.exp(-distances).sum(1))
    torch.testing.assert_close(MaximumAPosteriori(rubbish_distance=j)(-distances, targets), expected)


def test_map_without_a_rubbish_class_is_cross_entropy() -> None:
    logits, targets, _ = batch()
    torch.testing.assert_close(
        MaximumAPosteriori(rubbish_distance=1e9)(logits, targets), CrossEntropy()(logits, targets)
    )


def test_map_pulls_in_an_image_that_is_far_from_every_class() -> None:
    """Cross-entropy, of which the softmax is the same everywhere, has nothing to say there."""
    logits = torch.full((1, 4), -50.0, requires_grad=True)
    MaximumAPosteriori()(logits, torch.tensor([2])).sum().backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.tensor([[0.0, 0.0, -1.0, 0.0]]))


@pytest.mark.parametrize("make", [CrossEntropy, MaximumAPosteriori])
def test_one_logit_is_no_posterior_of_classes(make: Make) -> None:
    with pytest.raises(ValueError, match="loss=bce"):
        make()(torch.zeros(2, 1), torch.tensor([0, 1]))


@pytest.mark.parametrize("make", MAKERS)
def test_auxiliary_classifiers_count_by_their_weight(make: Make) -> None:
    logits, targets, _ = batch()
    loss = make(aux_weight=0.3)
    weighted = loss(Outputs(logits, (2 * logits, logits + 1)), targets)
    expected = loss(logits, targets) + 0.3 * (loss(2 * logits, targets) + loss(logits + 1, targets))
    torch.testing.assert_close(weighted, expected)


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


def test_each_head_has_a_loss_and_a_weight_of_its_own() -> None:
    logits, targets, _ = batch()
    first, second = logits.flip(0), logits.flip(1)
    loss = PerHead(main=CrossEntropy(), heads=[CrossEntropy(label_smoothing=0.1), Hinge()], weights=[0.5, 0.25])
    expected = (
        CrossEntropy()(logits, targets)
        + 0.5 * CrossEntropy(label_smoothing=0.1)(first, targets)
        + 0.25 * Hinge()(second, targets)
    )
    torch.testing.assert_close(loss(Outputs(logits, (first, second)), targets), expected)
    torch.testing.assert_close(loss(logits, targets), CrossEntropy()(logits, targets))  # as in evaluation


def test_a_loss_per_head_is_for_that_number_of_heads() -> None:
    loss = PerHead(main=CrossEntropy(), heads=[CrossEntropy()], weights=[0.3])
    loss.check_heads(1)
    with pytest.raises(ValueError, match=r"1 losses, but the network has 2 auxiliary classifiers"):
        loss.check_heads(2)
    with pytest.raises(ValueError, match=r"2 for 1 heads; accepted: one for each"):
        PerHead(main=CrossEntropy(), heads=[CrossEntropy()], weights=[0.3, 0.3])


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_a_loss_says_truly_whether_it_is_one_of_probabilities(make: Make) -> None:
    logits, targets, _ = batch()
    loss = make()
    same = torch.allclose(loss(logits.log_softmax(1), targets), loss(logits, targets), atol=1e-5)
    assert loss.is_of_probabilities(7) == same


# weights of classes


def test_weights_of_classes_are_those_of_torch_but_for_what_a_mean_is_over() -> None:
    logits, targets, _ = batch()
    weights = [0.0, 0.5, 1.0, 2.0, 1.5, 1.0, 3.0]
    loss = CrossEntropy(class_weights=weights)
    loss.balance(torch.ones(7, dtype=torch.long))
    peer = nn.functional.cross_entropy(logits, targets, weight=torch.tensor(weights), reduction="none")
    torch.testing.assert_close(loss(logits, targets), peer)


@pytest.mark.parametrize("make", [make for make in MAKERS if make is not Perceptron])  # whose rule has no weights
def test_balanced_classes_count_alike_and_a_sample_1_on_the_average(make: Make) -> None:
    counts = torch.tensor([1, 9, 0, 20])
    loss = make(class_weights="balanced")
    loss.balance(counts)
    assert loss.weights is not None
    assert loss.weights[2] == 0
    torch.testing.assert_close((loss.weights * counts)[[0, 1, 3]], torch.full((3,), 10.0))
    logits, targets = torch.randn(8, 4), torch.tensor([0, 1, 3, 0, 1, 3, 1, 0])
    plain = make()
    torch.testing.assert_close(loss(logits, targets), plain(logits, targets) * loss.weights[targets])
    loss.eval()  # validation and test count as ever
    torch.testing.assert_close(loss(logits, targets), plain(logits, targets))


def test_the_loss_of_every_head_is_weighted() -> None:
    logits, targets, _ = batch()
    outputs = Outputs(logits, (logits.flip(1),))
    loss = PerHead(main=CrossEntropy(class_weights="balanced"), heads=[CrossEntropy()], weights=[0.5])
    loss.balance(torch.arange(1, 8))
    main, head = CrossEntropy(class_weights="balanced"), CrossEntropy()
    main.balance(torch.arange(1, 8))
    torch.testing.assert_close(loss(outputs, targets), main(logits, targets) + 0.5 * head(logits.flip(1), targets))


@pytest.mark.parametrize("weights", [[1.0, 2.0], [0.0, 0.0, 0.0], 2.0])
def test_weights_that_are_not_one_for_each_class_are_refused(weights: object) -> None:
    with pytest.raises(ValueError, match="accepted: balanced, or a number for each of 3 classes, not all of them 0"):
        CrossEntropy(class_weights=weights).balance(torch.tensor([1, 2, 3]))  # type: ignore[arg-type]
