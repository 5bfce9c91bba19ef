"""The group `augment` through Hydra: several answers make one augmentation, whose every key can be set."""

from pathlib import Path
from typing import Any

import pytest
import torch

from convarium.config.compose import compose
from convarium.config.instantiate import build
from convarium.data.augment.crop import CropFlip
from convarium.data.augment.erase import Cutout
from convarium.data.augment.flip import Flip
from convarium.data.augment.mix import MixUp
from convarium.data.augment.policies import RandAugment
from convarium.data.module import ImageData
from convarium.errors import ConfigError
from experiments import config_of, experiment, rows, weights

FOUR = "augment=[crop_flip,randaugment,cutout,mixup]"


def data_of(*overrides: str) -> ImageData:
    data: ImageData = build(config_of(*overrides)["data"], "data")
    return data


def test_several_answers_are_one_augmentation_in_the_order_of_its_parts() -> None:
    data = data_of("augment=[mixup,cutout,randaugment,crop_flip]", "data.mean=[0.2]")
    assert [type(part) for part in data.pipeline.changes] == [CropFlip, RandAugment, Cutout]
    assert data.pipeline.mixer == MixUp(alpha=0.2)
    assert data_of(FOUR, "data.mean=[0.2]").pipeline.changes == data.pipeline.changes


@pytest.mark.parametrize(
    ("override", "part", "key", "value"),
    [
        ("augment.policy.magnitude=5", "policy", "magnitude", 5),
        ("augment.crop.pad=2", "crop", "pad", 2),
        ("augment.erase.size=3", "erase", "size", 3),
        ("augment.mix.alpha=0.7", "mix", "alpha", 0.7),
    ],
)
def test_a_key_reaches_its_object(override: str, part: str, key: str, value: float) -> None:
    assert getattr(data_of(FOUR, override).augment[part], key) == value


def test_a_key_of_one_answer_is_changed_without_naming_it_in_a_list() -> None:
    data = data_of("augment=flip", "augment.flip.mirror=alternating")
    assert data.augment == {"flip": Flip(mirror="alternating")}


def test_the_answer_none_is_no_augmentation() -> None:
    assert not data_of("augment=none").pipeline
    assert not data_of().pipeline


def test_a_part_of_ones_own_is_a_python_file_and_a_yaml(own_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own_directory / "invert.py").write_text(
        "class Invert:\n"
        "    order = 5\n"
        "    def __init__(self, top=255):\n"
        "        self.top = top\n"
        "    def __call__(self, images, key):\n"
        "        return self.top - images\n"
    )
    (own_directory / "conf" / "augment").mkdir(parents=True)
    yaml = "# Negatives\nnegative:\n  _target_: invert.Invert\n  top: 200\n"
    (own_directory / "conf" / "augment" / "invert.yaml").write_text(yaml)
    monkeypatch.syspath_prepend(own_directory)
    monkeypatch.setenv("CONVARIUM_TRUST", "invert")
    words = ["augment=[flip,invert,crop_flip]", "augment.negative.top=255"]
    config = compose(words, config_dir=str(own_directory / "conf")).config
    pipeline = build(config["data"], "data").pipeline
    assert str(pipeline) == "CropFlip, Invert, Flip"
    assert pipeline.changes[1].top == 255


def test_cutout_takes_the_mean_of_the_data() -> None:
    erase: Any = data_of("augment=cutout", "data.mean=[0.125]").augment["erase"]
    assert list(erase.value) == [0.125]


def test_what_is_composed_trains_by_its_parts() -> None:
    run = experiment(FOUR, "augment.policy.magnitude=5", "augment.erase.size=3", "trainer.max_steps=1")
    assert run.result()["steps"] == 1
    assert set(run.config()["augment"]) == {"crop", "policy", "erase", "mix"}
    assert run.config()["augment"]["policy"]["magnitude"] == 5
    plain = experiment("trainer.max_steps=1", folder="plain")
    assert rows(run, "train/loss_step") != rows(plain, "train/loss_step")
    assert any(not torch.equal(value, weights(plain)[name]) for name, value in weights(run).items())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["augment=[none,mixup]"], r"augment=\[none,mixup\]: 'none' cannot stand beside others"),
        (["augment=[crop_flip,none]"], r"augment=\[crop_flip,none\]: 'none' cannot stand beside others"),
        (["augment=[crop_flip,mixp]"], r"augment=mixp: unknown; did you mean 'mixup'\?"),
        (
            ["augment=randaugment", "augment.policy.magnitud=5"],
            r"augment.policy.magnitud: .* did you mean 'magnitude'\?",
        ),
        (["augment=mixup", "augment.mix.alpha=abc"], r"augment.mix.alpha=abc: expected float, got str"),
    ],
)
def test_a_wrong_answer_or_key_is_refused_by_one_line(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refusal:
        compose(words)
    assert "\n" not in str(refusal.value)


def test_a_value_out_of_range_is_refused_by_one_line() -> None:
    with pytest.raises(ConfigError, match=r"alpha=-1") as refusal:
        data_of("augment=mixup", "augment.mix.alpha=-1")
    assert "\n" not in str(refusal.value)
