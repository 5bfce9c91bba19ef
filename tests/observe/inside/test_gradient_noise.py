"""The noise scale is what autograd gives of single images, and measuring it changes nothing."""

from itertools import islice
from math import isnan
from typing import Any

import pytest
import torch

from convarium.config.instantiate import build
from convarium.observe.inside.gradient_noise import Noise
from convarium.run.prepare import prepare
from experiments import config_of, experiment, rows, weights

WATCHED = ("callbacks=[checkpoint,gradient_noise]", "callbacks.gradient_noise.images=48")


def test_what_is_logged_is_what_autograd_gives_of_single_images() -> None:
    run = experiment(*WATCHED, "loss=brier")
    prepared = prepare(config_of("loss=brier"))
    net: Any = build(prepared.config["arch"], "arch").double()
    net.load_state_dict({name.removeprefix("net."): value for name, value in weights(run).items()})
    data = prepared.data
    data.setup("fit")
    batches = [data.on_after_batch_transfer(batch, 0) for batch in islice(data.train_dataloader(), 14, 16)]
    images, targets = (torch.cat([getattr(batch, name) for batch in batches])[-48:] for name in ("images", "targets"))
    gradients = []
    for image, target in zip(images.double().split(1), targets.split(1), strict=True):
        loss = (net(image).softmax(1) - torch.nn.functional.one_hot(target, 10)).square().mean()
        gradients.append(torch.cat([one.flatten() for one in torch.autograd.grad(loss, list(net.parameters()))]))
    every = torch.stack(gradients)
    variance = float(every.var(0).sum())
    signal = float(every.mean(0).square().sum()) - variance / 48
    found = [rows(run, f"gradient_noise/{name}") for name in ("variance", "signal", "snr", "scale")]
    expected = (variance, signal, signal / variance, variance / signal)
    assert found == [[pytest.approx(number, rel=1e-3)] for number in expected]
    assert run.result()["metrics"]["gradient_noise/scale"] == found[3][0]


def test_where_noise_hides_the_signal_the_scale_is_no_number() -> None:
    assert Noise(6.0, 2.0).scale == 3.0
    assert isnan(Noise(6.0, -0.3).scale)
    assert Noise(6.0, -0.3).snr == pytest.approx(-0.05)
    assert isnan(Noise(0.0, 0.0).snr)


def test_images_of_small_batches_are_gathered_and_an_epoch_of_one_image_measures_nothing() -> None:
    run = experiment(*WATCHED, "batch_size=5", "trainer.max_steps=3")
    assert len(rows(run, "gradient_noise/variance")) == 1
    alone = experiment(*WATCHED, "batch_size=1", "trainer.max_steps=1", folder="alone")
    assert rows(alone, "gradient_noise/variance") == []


def test_measuring_changes_no_weight_no_statistic_and_no_metric() -> None:
    words = (
        *("arch=convnet", "arch.widths=[4]", "arch.hidden=[8]", "norm=batch", "dropout=0.3", "augment=mixup"),
        *("trainer.max_epochs=2", "trainer.limit_train_batches=4"),
    )
    plain, watched = experiment(*words, folder="plain"), experiment(*WATCHED, *words, folder="watched")
    before, after = weights(plain), weights(watched)
    assert any("running_mean" in name for name in before)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert rows(plain, "train/loss") == rows(watched, "train/loss")
    assert len(rows(watched, "gradient_noise/scale")) == 2
