import hashlib

import pytest
import torch
from torchvision.transforms import v2

from convarium.data.augment import policies
from convarium.data.augment.change import AugmentKey
from convarium.data.augment.policies import AugMix, AutoAugment, RandAugment, TrivialAugment

N = 14_000
MANY = AugmentKey(0, 0, torch.arange(N))
FEW = AugmentKey(0, 0, torch.arange(16))
THEIR_NAMES = {"autocontrast": "AutoContrast"} | {
    f"{name}_{axis}": f"{name.title()}{axis.upper()}" for name in ("shear", "translate") for axis in "xy"
}
POLICIES = {name: v2.AutoAugment(v2.AutoAugmentPolicy(name))._policies for name in ("imagenet", "cifar10", "svhn")}


def theirs(name):
    return THEIR_NAMES.get(name, name.title())


class Recorded:
    """Stands in for `each` and `named`: remembers what was asked for, and does it or not."""

    def __init__(self, monkeypatch, *, working):
        self.steps = []
        each, named = policies.each, policies.named

        def remember(images, which, magnitudes, operations):
            self.steps.append(
                [(self.names[k], size) for k, size in zip(which.tolist(), magnitudes.tolist(), strict=True)]
            )
            return each(images, which, magnitudes, operations) if working else images

        def note(names, **options):
            self.names = names
            return named(names, **options)

        monkeypatch.setattr(policies, "each", remember)
        monkeypatch.setattr(policies, "named", note)


CHANGES = [
    RandAugment(),
    RandAugment(3, 30, interpolation="bilinear"),
    TrivialAugment(fill=99),
    *(AutoAugment(name) for name in POLICIES),
    AugMix(),
    AugMix(severity=10, depth=2, all_ops=True),
]


@pytest.mark.parametrize("change", CHANGES, ids=repr)
def test_the_contract_is_kept(change, images, keeps_the_contract):
    keeps_the_contract(change, images)


@pytest.mark.parametrize("change", CHANGES[:6], ids=repr)
def test_the_result_is_torchvisions_for_the_same_draws(change, images, monkeypatch):
    recorded = Recorded(monkeypatch, working=True)
    result = change(images, FEW)
    mode, level = v2.InterpolationMode(change.interpolation), [float(change.fill)] * images.shape[1]
    expected = images
    for step in recorded.steps:
        expected = torch.stack(
            [
                v2.RandAugment()._apply_image_or_video_transform(
                    image, theirs(name), size, mode, {torch.Tensor: level if change.fill else None}
                )
                for image, (name, size) in zip(expected, step, strict=True)
            ]
        )
    apart = (result.int() - expected.int()).abs()
    assert (apart > 0).float().mean() < 0.02  # a level at times, which equalizing and solarizing may enlarge
    assert (apart > 1).float().mean() < 0.005


@pytest.mark.parametrize(
    ("space", "reference", "levels"),
    [
        (policies.USUAL, v2.RandAugment._AUGMENTATION_SPACE, 31),
        (policies.USUAL, v2.AutoAugment._AUGMENTATION_SPACE, 10),
        (policies.WIDE, v2.TrivialAugmentWide._AUGMENTATION_SPACE, 31),
        (policies.MIXED, v2.AugMix._AUGMENTATION_SPACE, 10),
    ],
    ids=["randaugment", "autoaugment", "trivialaugment", "augmix"],
)
def test_the_operations_and_their_magnitudes_are_torchvisions(space, reference, levels):
    assert {theirs(choice.operation) for choice in space} == set(reference) - {"Identity", "Invert"}
    table = policies._magnitudes(space, levels, 30, 50, torch.device("cpu"))
    for choice, row, signed in zip(space, *table, strict=True):
        make, their_sign = reference[theirs(choice.operation)]
        their_row = make(levels, 30, 50)
        assert signed == their_sign
        assert torch.equal(row, torch.zeros(levels).double() if their_row is None else their_row.double())


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("imagenet", "3561a842f63bea70c52e45d79867a70a"),
        ("cifar10", "2e170da0723b455a06eea9458627b891"),
        ("svhn", "0e3f591ffc1c71cbe7c61689e61ccc37"),
    ],
)
def test_the_policies_are_the_papers(name, digest):
    names = ("identity", *(choice.operation for choice in policies.USUAL), "invert")
    steps = policies._steps(name, names, torch.device("cpu"))
    assert hashlib.md5(repr([part.tolist() for part in steps]).encode()).hexdigest() == digest


def shares(step):
    """How often each operation was asked for."""
    names = [name for name, _ in step]
    return {name: names.count(name) / len(names) for name in set(names)}


def test_randaugment_asks_for_every_operation_equally_often_and_for_both_signs(monkeypatch):
    recorded = Recorded(monkeypatch, working=False)
    RandAugment(num_ops=2, magnitude=15)(torch.zeros(N, 1, 4, 4, dtype=torch.uint8), MANY)
    for step in recorded.steps:
        assert len(shares(step)) == 14
        assert max(abs(share - 1 / 14) for share in shares(step).values()) < 0.01
        turns = [size for name, size in step if name == "rotate"]
        assert set(turns) == {-15.0, 15.0}
        assert abs(turns.count(15.0) / len(turns) - 0.5) < 0.05
        assert {size for name, size in step if name == "posterize"} == {6.0}
    first, second = ([name for name, _ in step] for step in recorded.steps)
    assert abs(sum(a == b for a, b in zip(first, second, strict=True)) / N - 1 / 14) < 0.01


def test_trivialaugment_asks_for_every_magnitude_equally_often(monkeypatch):
    recorded = Recorded(monkeypatch, working=False)
    TrivialAugment()(torch.zeros(N, 1, 4, 4, dtype=torch.uint8), MANY)
    (step,) = recorded.steps
    assert max(abs(share - 1 / 14) for share in shares(step).values()) < 0.01
    turns = torch.tensor([size for name, size in step if name == "rotate"])
    assert len(turns.unique()) == 61
    assert (torch.histc(turns, 3, -135, 135) / len(turns) - 1 / 3).abs().max() < 0.05


@pytest.mark.parametrize("name", POLICIES)
def test_autoaugment_takes_each_step_with_its_probability(name, monkeypatch):
    recorded = Recorded(monkeypatch, working=False)
    AutoAugment(name)(torch.zeros(N, 1, 4, 4, dtype=torch.uint8), MANY)
    for number, step in enumerate(recorded.steps):
        expected = dict.fromkeys(recorded.names, 0.0)
        for pair in POLICIES[name]:
            operation, probability, _ = pair[number]
            expected[next(name for name in recorded.names if theirs(name) == operation)] += probability / 25
        expected["identity"] = 1 - sum(expected.values())
        found = shares(step)
        assert max(abs(found.get(key, 0) - share) for key, share in expected.items()) < 0.015


def test_augmix_chains_one_to_three_operations_and_leaves_out_the_test_sets_tones(monkeypatch):
    recorded = Recorded(monkeypatch, working=False)
    AugMix(severity=3, width=2)(torch.zeros(N, 1, 30, 30, dtype=torch.uint8), MANY)
    lengths = torch.tensor([[name != "identity" for name, _ in step] for step in recorded.steps]).sum(0)
    assert len(lengths) == 2 * N
    assert (torch.bincount(lengths, minlength=4) / (2 * N) - torch.tensor([0, 1, 1, 1]) / 3).abs().max() < 0.01
    first = [name for name, _ in recorded.steps[0]]
    assert set(first) == {choice.operation for choice in policies.MIXED} - set(policies.TEST_SET_TONES)
    assert abs(first.count("equalize") / len(first) - 1 / 9) < 0.01
    turns = {round(abs(size), 3) for name, size in recorded.steps[0] if name == "rotate"}
    assert turns == {0.0, 3.333, 6.667}  # the weakest three of ten
    assert [first[k] == first[N + k] for k in range(N)].count(True) < 0.2 * N  # each chain draws its own


def test_augmix_keeps_half_of_the_image_on_average_and_shares_the_rest_evenly():
    black, white = (torch.full((N, 1, 1, 1), level, dtype=torch.uint8) for level in (0, 255))
    image = AugMix()._mixed(white, torch.cat((black, black, black)), MANY).flatten().double() / 255
    assert (torch.histc(image, 5, -0.002, 1.002) / N - 1 / 5).abs().max() < 0.015  # Beta(1, 1)
    chain = AugMix()._mixed(black, torch.cat((black, white, black)), MANY).flatten().double() / 255
    assert abs(chain.mean() - 1 / 6) < 0.005
    assert abs((chain**2).mean() - 1 / 3 * 1 / 6) < 0.005  # of a uniform and of Dirichlet(1, 1, 1)
    same = AugMix()._mixed(white, torch.cat((white, white, white)), MANY)
    assert torch.equal(same, white)
