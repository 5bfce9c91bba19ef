"""What is logged of activations is what torch computes of them, and watching them changes nothing."""

import logging
from itertools import islice
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from torch import nn

from convarium.config.instantiate import build
from convarium.layers.activation import ScaledTanh, Step
from convarium.learn.checkpoint_file import read_checkpoint
from convarium.observe.inside.activations import measured, slope
from convarium.observe.layer_table import BINS, Row, read_rows, steps_of
from convarium.run.directory import RunDirectory
from convarium.run.fit import assemble
from convarium.run.launch import launch
from convarium.run.prepare import prepare
from convarium.run.resume import resume_config
from experiments import config_of, experiment

WATCHED = ("callbacks=[checkpoint,activations]", "callbacks.activations.every_n_steps=2")


def watched(*words: str, folder: str = "run") -> RunDirectory:
    return experiment(*WATCHED, *words, folder=folder)


def table(run: RunDirectory) -> list[Row]:
    return read_rows(run.path / "activations.csv")


def test_what_is_logged_is_what_torch_gives_of_the_inputs_of_each_norm_and_activation() -> None:
    words = ("arch.hidden=[16,8]", "activation=relu", "norm=batch", "optimizer=sgd", "optimizer.lr=1e-30")
    run = watched(*words, "trainer.max_steps=2")
    prepared = prepare(config_of(*words))
    torch.manual_seed(prepared.config["seed"])
    net: Any = build(prepared.config["arch"], "arch")
    prepared.data.setup("fit")
    for step, batch in enumerate(islice(prepared.data.train_dataloader(), 2), 1):
        x = prepared.data.on_after_batch_transfer(batch, 0).images.flatten(1)
        for layer in ("hidden.1", "hidden.2"):
            x = net.get_submodule(layer).linear(x).detach()
            rows = {row.layer: row.values for row in table(run) if row.step == step}
            for name in (f"{layer}.norm.norm", f"{layer}.activation"):
                values = rows[name]
                assert values["mean"] == pytest.approx(float(x.mean()), abs=1e-6)
                assert values["spread"] == pytest.approx(float(x.std(correction=0)), rel=1e-5)
                scores = (x - x.mean()) / x.std(correction=0)
                shares = torch.histc(scores.clamp(-3.99, 3.99), 16, -4, 4) / x.numel()
                assert [values[name] for name in BINS] == pytest.approx(shares.tolist(), abs=0.003)
                if name.endswith("norm"):
                    assert values["saturated"] != values["saturated"]  # blank
                    x = nn.functional.batch_norm(x, None, None, training=True)
                else:
                    assert values["saturated"] == pytest.approx(float((x <= 0).float().mean()), abs=0.003)
                    x = x.relu()
    first, second = ({row.layer: row.values for row in table(run) if row.step == step} for step in (1, 2))
    for name, values in second.items():
        moved = abs(values["mean"] - first[name]["mean"]) / first[name]["spread"]
        assert values["shift"] == pytest.approx(moved, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize(
    ("activation", "saturated"),
    [
        (nn.ReLU(inplace=True), 0.5),
        (nn.Sigmoid(), 0.4),  # sigmoid(x) (1 - sigmoid(x)) <= 0.025 beyond 3.64
        (nn.Tanh(), 0.8),  # 1 - tanh(x)^2 <= 0.1 beyond 1.82
        (ScaledTanh(), 0.5),  # beyond 2.73
        (nn.ReLU6(), 0.5),
        (Step(), 1.0),
        (nn.Identity(), 0.0),
    ],
)
def test_saturated_is_where_the_slope_is_a_tenth_of_the_steepest(activation: nn.Module, saturated: float) -> None:
    inputs = torch.tensor([-5.0, -4.0, -3.0, -2.0, -1.0, 1.0, 2.0, 2.5, 4.0, 5.0])
    before = inputs.clone()
    steepest = float(slope(activation, torch.linspace(-8, 8, 1601)).max())
    numbers = measured(activation, inputs, steepest)
    derivative = torch.autograd.functional.jacobian(lambda x: activation(x.clone()), inputs).diagonal().abs()
    assert torch.equal(slope(activation, inputs), derivative)
    assert torch.equal(inputs, before)
    assert float(numbers[2]) == pytest.approx(saturated)
    assert float(numbers[3:].sum()) == pytest.approx(1)


def test_the_slope_of_a_random_activation_draws_no_numbers_and_keeps_its_mode() -> None:
    activation, generator = nn.RReLU(), torch.get_rng_state()
    assert slope(activation, torch.tensor([-1.0, 1.0])).tolist() == pytest.approx([(1 / 8 + 1 / 3) / 2, 1])
    assert torch.equal(torch.get_rng_state(), generator)
    assert activation.training


@pytest.mark.parametrize(
    "words",
    [
        ("dropout=0.3", "trainer.accumulate_grad_batches=2", "norm=batch", "activation=silu"),
        ("arch=lenet5_1998", "data.image_size=32", "precision=bf16", "trainer.max_steps=5"),
    ],
)
def test_weights_and_metrics_are_bit_equal_with_it_on_or_off(words: tuple[str, ...]) -> None:
    off, on = experiment(*words, folder="off"), watched(*words, folder="on")
    ours, theirs = (read_checkpoint(run.last) for run in (on, off))
    for name, value in theirs["state_dict"].items():
        assert torch.equal(ours["state_dict"][name], value), name
    assert on.metrics_file.read_text() == off.metrics_file.read_text()
    assert len(steps_of(table(on))) > 2


def test_a_module_that_is_called_twice_has_a_row_for_each_call_and_is_observed_in_training_alone() -> None:
    prepared = prepare(config_of(*WATCHED, "arch.hidden=[16,8]", "trainer.max_steps=2"))
    run = RunDirectory(Path("run"))
    run.make(prepared.config, [])
    parts = assemble(run, prepared)
    hidden: Any = parts.learner.net.hidden
    hidden[2].activation = hidden[1].activation
    parts.trainer.fit(parts.learner, datamodule=prepared.data)
    assert [(row.step, row.layer) for row in table(run)] == [
        (step, f"hidden.1.activation{call}") for step in (1, 2) for call in ("", "#2")
    ]
    assert hidden[1].activation._forward_pre_hooks == {}


def test_what_led_to_a_failure_is_written() -> None:
    class Fails(L.Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == 5:
                raise FloatingPointError

    prepared = prepare(config_of(*WATCHED, "callbacks.activations.every_n_steps=2", "trainer.log_every_n_steps=100"))
    run = RunDirectory(Path("run"))
    run.make(prepared.config, [])
    parts = assemble(run, prepared)
    trainer: Any = parts.trainer
    trainer.callbacks.append(Fails())
    with pytest.raises(FloatingPointError):
        trainer.fit(parts.learner, datamodule=prepared.data)
    assert steps_of(table(run)) == [1, 2, 4]


def test_hooks_are_there_on_observed_steps_alone_and_a_resumed_run_has_the_table_of_a_whole_one() -> None:
    words = ("schedule=constant", "callbacks.activations.every_n_steps=5", "trainer.log_every_n_steps=8")
    whole, run = watched(*words, "trainer.max_epochs=2", folder="whole"), watched(*words)
    file = run.path / "activations.csv"
    with file.open("a") as text:
        text.write("20,hidden.1.activation,1,1,1,1\n21,hid")  # of a process that was killed on its way
    config, overrides, _ = resume_config(run.path, ["trainer.max_epochs=2"])
    assert launch(prepare(config), overrides, resume=run.path) == 0
    assert file.read_text() == (whole.path / "activations.csv").read_text()
    assert steps_of(table(whole)) == [1, 2, 4, 5, 10, 15, 20, 25, 30]


def test_tensorboard_shows_numbers_and_histograms_and_the_run_a_figure() -> None:
    from tensorboard.backend.event_processing.event_accumulator import HISTOGRAMS, EventAccumulator

    run = watched("logger=tensorboard", "trainer.max_epochs=2")
    events = EventAccumulator(str(run.path / "tensorboard"), size_guidance={HISTOGRAMS: 0})
    events.Reload()
    first = next(row for row in table(run) if row.layer == "hidden.1.activation").values
    assert events.Scalars("activations/hidden.1.activation/mean")[0].value == pytest.approx(first["mean"])
    histogram = events.Histograms("activations/hidden.1.activation/inputs")[0]
    counts = dict(zip(histogram.histogram_value.bucket_limit, histogram.histogram_value.bucket, strict=True))
    assert [count for count in counts.values() if count] == pytest.approx([first[name] for name in BINS if first[name]])
    assert max(counts) == pytest.approx(first["mean"] + 4 * first["spread"])
    assert not any("bin1" in tag for tag in events.Tags()["scalars"])
    assert (run.path / "figures" / "activations.png").is_file()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # dynamo's own
def test_a_compiled_network_is_not_observed_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    prepared = prepare(config_of(*WATCHED, "callbacks=[activations,gradient_flow]", "trainer.max_steps=4"))
    run = RunDirectory(Path("run"))
    run.make(prepared.config, [])
    parts = assemble(run, prepared)
    parts.learner.net.compile(backend="eager")
    with caplog.at_level(logging.WARNING):
        parts.trainer.fit(parts.learner, datamodule=prepared.data)
    assert caplog.messages == ["activations: nothing is observed of a compiled network, which does not call hooks"]
    assert not (run.path / "activations.csv").exists()
    assert steps_of(read_rows(run.path / "gradient_flow.csv")) == [1, 2, 4]
