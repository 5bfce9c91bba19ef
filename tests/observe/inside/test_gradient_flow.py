"""What is logged of the gradients is what autograd computes, watching changes nothing, and faults alone are told."""

import json
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import nn

from convarium.config.instantiate import build
from convarium.learn.checkpoint_file import read_checkpoint
from convarium.learn.optimizers import build_optimizer
from convarium.observe.inside.faults import Faults, Setup, Thresholds
from convarium.observe.inside.gradient_flow import GradientFlow
from convarium.observe.layer_table import Row, read_rows, steps_of
from convarium.run.directory import RunDirectory
from convarium.run.fit import assemble
from convarium.run.launch import launch
from convarium.run.prepare import prepare
from convarium.run.resume import resume_config
from experiments import config_of, experiment

WATCHED = ("callbacks=[checkpoint,gradient_flow]", "callbacks.gradient_flow.every_n_steps=2")
RELU = ("activation=relu", "init=he")
SGD = (
    "optimizer=sgd",
    "optimizer.lr=0.1",
    "optimizer.momentum=0",
    "optimizer.weight_decay=0.01",
    "schedule=constant",
)


def watched(*words: str, folder: str = "run", code: int | None = 0) -> RunDirectory:
    return experiment(*WATCHED, *words, folder=folder, code=code)


def table(run: RunDirectory) -> list[Row]:
    return read_rows(run.path / "gradient_flow.csv")


def column(run: RunDirectory, name: str) -> list[float]:
    return [row.values[name] for row in table(run)]


def notes(run: RunDirectory) -> list[str]:
    return json.loads(run.result_file.read_text())["notes"]


# the numbers


def test_what_is_logged_is_what_autograd_and_the_rule_of_the_optimizer_give() -> None:
    words = (
        *RELU,
        *SGD,
        "trainer.accumulate_grad_batches=2",
        "clip=norm",
        "clip.max_norm=0.05",
        "arch.hidden=[16,8]",
    )
    run = watched(*words, "trainer.max_steps=4")
    prepared = prepare(config_of(*words))
    config, data = prepared.config, prepared.data
    torch.manual_seed(config["seed"])
    net: Any = build(config["arch"], "arch")
    data.setup("fit")
    batches = [data.on_after_batch_transfer(batch, 0) for batch in islice(data.train_dataloader(), 4)]
    layers = {name: module for name, module in net.named_modules() if isinstance(module, nn.Linear)}
    parameters = list(net.parameters())
    expected = []
    for step, batch in enumerate(batches, 1):
        losses, alive = [], {name: [] for name in layers}
        for images, targets in zip(batch.images.split(16), batch.targets.split(16), strict=True):
            hidden = images.flatten(1)
            for place, name in enumerate(layers):
                hidden = layers[name](hidden)
                if place + 1 < len(layers):
                    hidden = hidden.relu()
                    alive[name].append((hidden > 0).any(0).float().mean())
            losses.append(nn.functional.cross_entropy(hidden, targets))
        gradients = torch.autograd.grad(sum(losses) / 2, parameters)
        by_id = {id(parameter): gradient for parameter, gradient in zip(parameters, gradients, strict=True)}
        total = torch.cat([gradient.flatten() for gradient in gradients]).norm()
        kept = min(1.0, float(0.05 / total))
        for name, layer in layers.items():
            weight, gradient = layer.weight.detach().clone(), by_id[id(layer.weight)]
            change = 0.1 * (kept * gradient + 0.01 * weight)
            dead = 1 - float(alive[name][-1]) if alive[name] else float("nan")
            numbers = [gradient.norm(), weight.norm(), change.norm(), change.norm() / weight.norm(), 1 - kept, dead]
            expected.append((step, name, [float(number) for number in numbers]))
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= 0.1 * (kept * gradient + (0.01 * parameter if parameter.ndim > 1 else 0.0))
    observed = [line for line in expected if line[0] in (1, 2, 4)]
    rows = table(run)
    assert [(row.step, row.layer) for row in rows] == [line[:2] for line in observed]
    assert list(rows[0].values) == ["gradient", "weight", "update", "update_to_weight", "clipped", "dead"]
    for row, (_, _, numbers) in zip(rows, observed, strict=True):
        assert [*row.values.values()] == pytest.approx(numbers, rel=1e-4, abs=1e-6, nan_ok=True)
    assert min(column(run, "clipped")) > 0.5


def test_adaptive_clipping_takes_its_own_share_of_each_layer() -> None:
    run = watched(*RELU, "clip=adaptive", "clip.factor=0.0001", "trainer.max_steps=2")
    shares = {row.layer: row.values["clipped"] for row in table(run)}
    assert 0.5 < shares["hidden.1.linear"] < 1
    assert shares["classifier"] == 0  # which it leaves alone
    assert set(column(watched("clip=none", "trainer.max_steps=2", folder="free"), "clipped")) == {0.0}


@pytest.mark.parametrize("clip", ["clip=none", "clip=value"])
@pytest.mark.parametrize("fused", ["true", "false"])
def test_gradients_of_scaled_losses_are_logged_unscaled_and_overflows_not_at_all(clip: str, fused: str) -> None:
    prepared = prepare(config_of(*WATCHED, clip, f"optimizer.fused={fused}", "trainer.max_steps=12"))
    run = RunDirectory(Path("run"))
    run.make(prepared.config, [])
    parts = assemble(run, prepared)
    seen: dict[int, float] = {}

    class Unscaled(GradientFlow):
        """Beside the watcher: the norm of the classifier's gradient by its scale, as it was before any clipping."""

        def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
            pass

        def on_train_batch_start(self, *_: Any) -> None:
            pass

        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            scale = scaler.get_scale() if fused == "true" else 1.0
            seen[trainer.global_step + 1] = float(pl_module.net.classifier.weight.grad.norm()) / scale

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            assert not any(module._forward_hooks for module in pl_module.net.modules())  # of a skipped step neither

    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**22)  # too large: the first steps overflow
    trainer: Any = parts.trainer
    trainer.strategy.precision_plugin = MixedPrecision("16-mixed", "cpu", scaler=scaler)
    trainer.callbacks.insert(0, Unscaled())
    trainer.fit(parts.learner, datamodule=prepared.data)
    rows = [row for row in table(run) if row.layer == "classifier"]
    finite = [step for step in (1, 2, 4, 6, 8, 10, 12) if torch.tensor(seen[step]).isfinite()]
    assert 0 < len(finite) < 7
    assert [row.step for row in rows] == finite
    assert [row.values["gradient"] for row in rows] == pytest.approx([seen[step] for step in finite], rel=1e-5)
    assert all(row.values["update"] > 0 for row in rows)


def test_gradients_are_those_before_an_optimizer_that_writes_to_them() -> None:
    class Foreach(L.Callback):
        """SGD by foreach adds Nesterov's momentum to the gradients themselves."""

        def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
            for group in trainer.optimizers[0].param_groups:
                group.update(foreach=True, fused=False)

    tables = []
    for folder, others in {"foreach": [Foreach()], "fused": []}.items():
        words = ("optimizer=nesterov", "optimizer.weight_decay=0", "clip.max_norm=0.05", "trainer.max_steps=6")
        prepared = prepare(config_of(*WATCHED, *words))
        run = RunDirectory(Path(folder))
        run.make(prepared.config, [])
        parts = assemble(run, prepared)
        trainer: Any = parts.trainer
        trainer.callbacks += others
        trainer.fit(parts.learner, datamodule=prepared.data)
        tables.append({name: column(run, name) for name in ("gradient", "clipped")})
    assert tables[0]["gradient"] == pytest.approx(tables[1]["gradient"], rel=1e-4)
    assert tables[0]["clipped"] == pytest.approx(tables[1]["clipped"], abs=1e-4)
    assert 0 < max(tables[0]["clipped"]) < 1


@pytest.mark.parametrize("callback", ["gradient_flow", "activations"])
def test_what_is_observed_is_written_at_the_next_step_that_is_logged(callback: str) -> None:
    written: dict[int, int] = {}

    class Rows(L.Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            written[trainer.global_step] = len({row.step for row in read_rows(Path("run") / f"{callback}.csv")})

    words = (f"callbacks=[{callback}]", f"callbacks.{callback}.every_n_steps=3", "trainer.log_every_n_steps=4")
    prepared = prepare(config_of(*words, "trainer.max_steps=9"))
    run = RunDirectory(Path("run"))
    run.make(prepared.config, [])
    parts = assemble(run, prepared)
    trainer: Any = parts.trainer
    trainer.callbacks.append(Rows())
    trainer.fit(parts.learner, datamodule=prepared.data)
    assert [written[step] for step in (3, 4, 7, 8)] == [2, 3, 3, 4]


def test_a_frozen_layer_has_no_row_and_an_unused_one_no_units() -> None:
    prepared = prepare(config_of(*WATCHED, *RELU, "arch.hidden=[16,8]", "trainer.max_steps=2"))
    run = RunDirectory(Path("run"))
    run.make(prepared.config, [])
    parts = assemble(run, prepared)
    net: Any = parts.learner.net
    net.hidden[1].requires_grad_(False)
    parts.trainer.fit(parts.learner, datamodule=prepared.data)
    assert {row.layer for row in table(run)} == {"hidden.2.linear", "classifier"}


# what watching costs


@pytest.mark.parametrize(
    "words",
    [
        (*RELU, "dropout=0.3", "trainer.accumulate_grad_batches=2", "average=ema"),
        ("arch=lenet5", "data.image_size=32", "optimizer=muon", "clip=adaptive", "norm=batch", "trainer.max_steps=5"),
    ],
)
def test_weights_and_metrics_are_bit_equal_with_it_on_or_off(words: tuple[str, ...]) -> None:
    off, on = experiment(*words, folder="off"), watched(*words, folder="on")
    ours, theirs = (read_checkpoint(run.last) for run in (on, off))
    for name, value in theirs["state_dict"].items():
        assert torch.equal(ours["state_dict"][name], value), name
    assert on.metrics_file.read_text() == off.metrics_file.read_text()
    assert len(steps_of(table(on))) > 2
    assert not (off.path / "gradient_flow.csv").exists()


def test_a_run_of_few_observed_steps_has_a_table_and_no_figure() -> None:
    run = watched()
    assert steps_of(table(run)) == [1, *range(2, 17, 2)]
    assert not (run.path / "figures").exists()


def test_trackers_get_every_number_under_its_layer() -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = watched("logger=tensorboard", "trainer.max_steps=4")
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    shown = [(event.step, event.value) for event in events.Scalars("gradient_flow/classifier/gradient")]
    logged = [(row.step, row.values["gradient"]) for row in table(run) if row.layer == "classifier"]
    assert [step for step, _ in shown] == [step for step, _ in logged] == [1, 2, 4]
    assert [value for _, value in shown] == pytest.approx([value for _, value in logged])


# resuming


def test_a_resumed_run_has_the_table_of_one_that_was_not_stopped() -> None:
    words = ("schedule=constant", "callbacks.gradient_flow.every_n_steps=5", "trainer.log_every_n_steps=8")
    whole = watched(*words, "trainer.max_epochs=2", folder="whole")
    run = watched(*words, folder="run")
    file = run.path / "gradient_flow.csv"
    with file.open("a") as text:
        text.write("20,classifier,1,1,1,1,1,\n21,classif")  # of a process that was killed on its way
    config, overrides, _ = resume_config(run.path, ["trainer.max_epochs=2"])
    assert launch(prepare(config), overrides, resume=run.path) == 0
    assert file.read_text() == (whole.path / "gradient_flow.csv").read_text()


# faults

DIGITS = ("data=digits", "data.image_size=8", "trainer.max_epochs=2", "trainer.log_every_n_steps=50", "init=he")
DIGITS = (*DIGITS, "callbacks.gradient_flow.every_n_steps=50", "trainer.limit_val_batches=0", "threads=1")


def of_digits(*words: str, depth: int, width: int, folder: str, code: int | None = 0) -> RunDirectory:
    hidden = f"arch.hidden=[{','.join([str(width)] * (depth - 1))}]"
    return watched(*DIGITS, hidden, *words, folder=folder, code=code)


def loss(run: RunDirectory) -> float:
    return run.result()["metrics"]["train/loss"]


def typed(*words: str) -> list[str]:
    """Words of which a later one replaces what an earlier one says of the same key."""
    return [f"{key}={value}" for key, value in dict(word.split("=", 1) for word in words).items()]


def remedies(note: str) -> list[list[str]]:
    """The words of each remedy that a note names, but for what has to be measured first."""
    named = note.partition("; try ")[2].split(" or ")
    return [remedy.split(" with ") for remedy in named if "lr-find" not in remedy]


def test_twenty_layers_of_sigmoids_are_told_as_vanishing_and_each_remedy_that_is_named_trains(
    capsys: pytest.CaptureFixture[str],
) -> None:
    deep = {"depth": 20, "width": 32}
    run = of_digits("activation=sigmoid", "trainer.max_steps=8", **deep, folder="sigmoid")
    [note] = notes(run)
    assert note.startswith("gradients fall 10^")
    assert note.endswith("from layer 20 (classifier) to layer 1 (hidden.1.linear): vanishing; try activation=relu")
    assert capsys.readouterr().out.count(note) == 1
    assert (run.path / "figures" / "gradient_flow.png").is_file()
    assert loss(run) > 2.29
    [words] = remedies(note)
    cured = of_digits(*words, "trainer.max_steps=60", **deep, folder="cured")
    assert (notes(cured), loss(cured) < 2.1) == ([], True)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["activation=sigmoid"], "activation=relu with norm=batch or activation=relu with init=he"),
        (["activation=tanh"], "activation=relu with norm=batch or activation=relu with init=he"),
        (["activation=relu"], "norm=batch or init=he"),
    ],
)
def test_small_weights_are_told_too_and_each_remedy_that_is_named_trains(words: list[str], named: str) -> None:
    deep, small = {"depth": 20, "width": 32}, ("init=paper", "optimizer.lr=0.01")
    [note] = notes(of_digits(*words, *small, "trainer.max_steps=8", **deep, folder="small"))
    assert note.endswith(f": vanishing; try {named}")
    for remedy in remedies(note):
        cured = of_digits(*typed(*words, *small, *remedy), "trainer.max_steps=80", **deep, folder="-".join(remedy))
        assert (notes(cured), loss(cured) < 2.1) == ([], True), remedy


def test_a_deep_plain_net_at_a_high_rate_is_told_as_exploding_before_it_diverges_and_each_remedy_cures_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    deep = {"depth": 11, "width": 64}
    for seed in range(1, 13):  # how fast it explodes hangs on the last bits, which are not those of every processor
        words = ("activation=relu", "optimizer=sgd", "optimizer.lr=0.3", f"seed={seed}")
        run = of_digits(*words, "clip=none", **deep, folder=f"free-{seed}", code=None)
        note, *others = [*notes(run), ""]
        if run.result()["status"] == "diverged" and note.startswith("gradients have grown "):
            break
    assert note.startswith("gradients have grown ")
    assert others == [""]
    assert " the weights: exploding; try clip=norm or optimizer.lr=" in note
    asks = note.partition("`")[2].removesuffix("` suggests")
    assert asks.startswith("convarium lr-find ")
    assert {"data=digits", "activation=relu", "optimizer=sgd"} <= {*asks.split()}
    assert "optimizer.lr" not in asks
    assert asks.count("data=") == 1
    assert run.result()["status"] == "diverged"
    assert int(note.partition(" by step ")[2].partition(",")[0]) < run.result()["steps"]  # it was said in time
    assert note in capsys.readouterr().out
    assert [remedy[0].partition("=")[0] for remedy in remedies(note)] == ["clip", "optimizer.lr"]
    for remedy in remedies(note):
        cured = of_digits(*typed(*words, "clip=none", *remedy), "trainer.max_epochs=8", **deep, folder=remedy[0])
        assert (notes(cured), loss(cured) < 1.5) == ([], True), remedy


def test_where_clipping_is_not_enough_a_rate_alone_is_named_and_trains() -> None:
    words, shape = ("activation=relu", "optimizer=sgd", "optimizer.lr=100", "clip=none"), {"depth": 3, "width": 64}
    note, *_ = notes(of_digits(*words, **shape, folder="free", code=1))
    assert " times the weights: exploding; try optimizer.lr=" in note
    [[rate]] = remedies(note)
    cured = of_digits(*typed(*words, rate), **shape, folder="cured")
    assert (notes(cured), loss(cured) < 1.5) == ([], True), rate


@pytest.mark.parametrize(("rate", "step"), [(50.0, 2), (2.0, 3)])
def test_gradients_that_overflow_are_told_at_an_observed_step_or_at_the_end(rate: float, step: int) -> None:
    words = ("activation=relu", "optimizer=sgd", f"optimizer.lr={rate}", "clip=none", "trainer.limit_train_batches=3")
    run = of_digits(*words, "callbacks.gradient_flow.exploding=1e30", depth=20, width=32, folder="run", code=1)
    [note] = notes(run)
    assert note.startswith(f"gradients are not finite any more by step {step}: exploding; try ")
    [*_, [slower]] = remedies(note)
    assert 0 < float(slower.removeprefix("optimizer.lr=")) <= rate / 10


def test_dead_units_are_told_and_either_remedy_keeps_them_alive() -> None:
    words, shape = ("optimizer.lr=0.3", "callbacks.gradient_flow.every_n_steps=10"), {"depth": 4, "width": 64}
    run = of_digits("activation=relu", *words, **shape, folder="relu")
    [note] = notes(run)
    assert " are dead; try activation=leaky_relu or optimizer.lr=" in note
    leaky, slower = remedies(note)
    assert notes(of_digits(*typed("activation=relu", *words, *leaky), **shape, folder="leaky")) == []
    cured = of_digits(*typed("activation=relu", *words, *slower), **shape, folder="slower")
    assert (notes(cured), loss(cured) < 1.0) == ([], True)


SETUP = Setup(squashes=True, normed=False, clipped=False, adaptive=False, replaceable=True, rate=0.1)
LIMITS = Thresholds(vanishing=1e4, exploding=0.5, dead=0.95)


def said(setup: Setup, *steps: list[float], update: float = 0.001, dead: float = 0.0, weight: float = 1.0) -> list[str]:
    """What is said of three layers with these gradients at step after step."""
    faults = Faults(dict.fromkeys("abc", 1.0), LIMITS, setup)
    ratio = {"weight": weight, "clipped": 0.0, "update_to_weight": update, "dead": dead}
    rows = [
        Row(step, layer, {"gradient": gradient, **ratio})
        for step, gradients in enumerate(steps, 1)
        for layer, gradient in zip("abc", gradients, strict=True)
    ]
    return faults.look(rows)


def test_each_threshold_parts_health_from_fault() -> None:
    assert said(SETUP, *[[1e-4, 1.0, 0.5]] * 3)[0].startswith("gradients fall 10^4-fold from layer 2 (b) to layer 1")
    assert said(SETUP, *[[2e-4, 1.0, 0.5]] * 9) == []
    assert said(SETUP, *[[1e-4, 1.0, 0.5]] * 2, [1.0, 1.0, 1.0], [1e-4, 1.0, 0.5]) == []  # not three in a row
    assert said(SETUP, *[[1.0, 0.5, 1e-4]] * 3)[0].startswith("gradients grow 10^4-fold from layer 3 (c) to layer 1")
    assert said(SETUP, *[[1.0, 0.5, 2e-4]] * 3) == []
    growing = [[0.1, 0.1, 0.1], [1.0, 1.1, 1.0]]
    assert said(SETUP, *growing, update=0.5) == [
        "gradients have grown 10-fold by step 2, and an update is 50 % of the weights: exploding; "
        "try clip=norm or optimizer.lr=0.002 or what `convarium lr-find` suggests"
    ]
    assert said(SETUP, *growing, update=0.49) == said(SETUP, *[[0.1, 0.1, 0.1]] * 3, update=0.9) == []
    assert said(SETUP, *[[1.0, 1.0, 1.0]] * 3, dead=0.95)[0].startswith("95 % of the units of layer 1 (a) are dead;")
    assert said(SETUP, *[[1.0, 1.0, 1.0]] * 3, dead=0.94) == []
    assert len(said(SETUP, *[[0.0, 1.0, 1.0]] * 9)) == 1  # each kind once


def test_he_is_named_to_weights_of_another_size_alone() -> None:
    relu = SETUP._replace(squashes=False)
    for weight, falls, grows in ((0.7, " or init=he", ""), (1.0, "", ""), (1.4, "", " or init=he")):
        assert said(relu, *[[1e-9, 1.0, 1.0]] * 3, weight=weight)[0].endswith(f"vanishing; try norm=batch{falls}")
        assert said(relu, *[[1.0, 1.0, 1e-9]] * 3, weight=weight)[0].endswith(f"exploding; try norm=batch{grows}")


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({}, "activation=relu"),
        ({"normed": True}, "activation=relu"),
        ({"squashes": False}, "norm=batch"),
        ({"squashes": False, "normed": True}, "a network with shortcuts, as arch=resnet20 is"),
        ({"replaceable": False}, "a network with shortcuts, as arch=resnet20 is"),
    ],
)
def test_no_remedy_is_named_that_the_run_has_or_cannot_have(changed: dict[str, bool], named: str) -> None:
    setup = SETUP._replace(**changed)
    assert said(setup, *[[1e-9, 1.0, 1.0]] * 3)[0].endswith(f": vanishing; try {named}")
    for has in ({"clipped": True}, {"adaptive": True}):
        [note] = said(SETUP._replace(**has), [0.1] * 3, [9.0] * 3, update=1.0)
        assert note.endswith("exploding; try optimizer.lr=0.001 or what `convarium lr-find` suggests")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["activation=tanh", "clip=none", "optimizer=sgd"], SETUP._replace(rate=0.05, momentum=0.9)),
        (["norm=layer", "activation=relu", "optimizer=lars"], Setup(False, True, True, True, True, 0.3, 0.9)),
        (["arch=lenet5_1998", "data.image_size=32"], Setup(True, False, True, True, True, 0.001)),
        (["arch=efficientnet_b0", "data.image_size=32"], Setup(False, True, True, True, True, 0.001)),
    ],
)
def test_what_a_run_has_is_seen_in_its_network_and_optimizer(words: list[str], expected: Setup) -> None:
    config = config_of(*words)
    with torch.device("meta"):
        net = build(config["arch"], "arch")
    optimizer = build_optimizer(build(config["optimizer"], "optimizer"), net)
    learner = SimpleNamespace(net=net, clip=build(config["clip"], "clip"))
    assert Setup.of(learner, optimizer) == expected
