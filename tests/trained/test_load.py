"""A network comes back out of its run directory: the right weights, and nothing else imported."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import convarium
from convarium.errors import RunError
from convarium.learn.checkpoint_file import net_state, read_checkpoint, write_checkpoint
from convarium.run.directory import RunDirectory
from convarium.trained.load import load_run

HEAVY = ("torch", "lightning", "hydra", "omegaconf", "wandb", "torchmetrics", "torchvision", "matplotlib")
ASK = f"""
import sys, convarium
print([name for name in {HEAVY} if name in sys.modules])
print(convarium.load_run(sys.argv[1])(__import__("torch").zeros(2, 1, 32, 32)).shape)
print([name for name in {HEAVY} if name in sys.modules])
"""


@pytest.fixture
def run(digits_run: RunDirectory, tmp_path: Path) -> RunDirectory:
    """A copy to break."""
    return RunDirectory.open(shutil.copytree(digits_run.path, tmp_path / "run"))


def assert_state(net: torch.nn.Module, expected: dict[str, torch.Tensor]) -> None:
    state = net.state_dict()
    assert state.keys() == expected.keys()
    for name, value in state.items():
        assert torch.equal(value, expected[name]), name


def test_only_torch_is_imported_and_only_when_asked_for(digits_run: RunDirectory) -> None:
    done = subprocess.run([sys.executable, "-c", ASK, str(digits_run.path)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "torch.Size([2, 10])", "['torch']"]


def test_the_package_offers_it_and_nothing_that_it_does_not_have() -> None:
    assert convarium.load_run is load_run
    with pytest.raises(AttributeError, match="has no attribute 'load_rum'"):
        convarium.load_rum  # noqa: B018


def test_the_tested_weights_come_back_ready_to_be_used(averaged_run: RunDirectory) -> None:
    net = load_run(averaged_run.path)
    assert not net.training
    assert_state(net, load_file(averaged_run.weights))
    assert_state(net, net_state(read_checkpoint(averaged_run.best)))


@pytest.mark.parametrize("weights", ["best", "last"])
def test_the_averaged_weights_of_a_checkpoint_come_back(averaged_run: RunDirectory, weights: str) -> None:
    checkpoint = read_checkpoint(averaged_run.path / "checkpoints" / f"{weights}.ckpt")
    net = load_run(str(averaged_run.path), weights=weights)
    assert_state(net, checkpoint["averaged"])
    assert not torch.equal(next(net.parameters()), next(iter(net_state(checkpoint, averaged=False).values())))


def test_drawing_weights_that_are_not_kept_leaves_the_random_state_alone(digits_run: RunDirectory) -> None:
    before = torch.random.get_rng_state()
    load_run(digits_run.path)
    assert torch.equal(torch.random.get_rng_state(), before)


def no_config(run: RunDirectory) -> None:
    run.config_file.unlink()


def corrupt_config(run: RunDirectory) -> None:
    run.config_file.write_text("arch: [1")


def no_network(run: RunDirectory) -> None:
    run.config_file.write_text("arch: 3\ndata: {}")


def foreign_target(run: RunDirectory) -> None:
    run.config_file.write_text(run.config_file.read_text().replace("convarium.archs.lenet.LeNet5", "os.system"))


def no_weights(run: RunDirectory) -> None:
    run.weights.unlink()


def no_weights_at_all(run: RunDirectory) -> None:
    no_weights(run)
    shutil.rmtree(run.path / "checkpoints")
    run.result_file.unlink()


def half_the_weights(run: RunDirectory) -> None:
    run.weights.write_bytes(run.weights.read_bytes()[:1000])


def weights_of_another_shape(run: RunDirectory) -> None:
    save_file({**load_file(run.weights), "output.weight": torch.zeros(7, 84)}, run.weights)


def weights_too_few(run: RunDirectory) -> None:
    save_file({k: v for k, v in load_file(run.weights).items() if k != "output.bias"}, run.weights)


def weights_too_many(run: RunDirectory) -> None:
    save_file({**load_file(run.weights), "extra": torch.zeros(())}, run.weights)


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (no_config, "not a run directory"),
        (corrupt_config, "config.yaml: cannot be read"),
        (no_network, "config.yaml: not the config of a run"),
        (foreign_target, "arch._target_=os.system: not allowed"),
        (no_weights, "weights.safetensors: not there, the run is ok; there is weights=best and weights=last"),
        (no_weights_at_all, "weights.safetensors: not there, the run is not started$"),
        (half_the_weights, "weights.safetensors: not weights that can be read"),
        (weights_of_another_shape, "not the weights of this network: output.weight is 7x84 instead of 10x84"),
        (weights_too_few, "not the weights of this network: output.bias is nothing instead of 10"),
        (weights_too_many, "not the weights of this network: extra is a number instead of nothing"),
    ],
)
def test_a_broken_run_is_refused_in_one_line(
    run: RunDirectory, broken: Callable[[RunDirectory], None], says: str
) -> None:
    broken(run)
    with pytest.raises(RunError, match=says) as refused:
        load_run(run.path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"PK\x03\x04 half a file", "last.ckpt: not a checkpoint that can be read"),
        ({"state_dict": {}, "epoch": 3}, "last.ckpt: not a checkpoint of Convarium"),
        ({"state_dict": [1], "config_hash": "0"}, "last.ckpt: not a checkpoint of Convarium"),
        ({"state_dict": {}, "averaged": 3, "config_hash": "0"}, "last.ckpt: not a checkpoint of Convarium"),
        ({"state_dict": {"net.c1.conv.weight": 3}, "config_hash": "0"}, "c1.conv.weight is int instead of 6x1x5x5"),
        ({"state_dict": Path(), "config_hash": "0"}, "last.ckpt: not a checkpoint that can be read"),
    ],
    ids=["half", "foreign", "list", "number", "no tensors", "pickled"],
)
def test_a_corrupt_or_foreign_checkpoint_is_refused(run: RunDirectory, content: bytes | dict, says: str) -> None:
    if isinstance(content, bytes):
        run.last.write_bytes(content)
    else:
        write_checkpoint(run.last, content)
    with pytest.raises(RunError, match=says):
        load_run(run.path, weights="last")


def test_a_folder_that_is_not_there_is_refused() -> None:
    with pytest.raises(RunError, match="nowhere: no such run directory"):
        load_run("nowhere")


def test_a_word_that_names_no_weights_is_refused(digits_run: RunDirectory) -> None:
    with pytest.raises(ValueError, match=r"weights=bets: unknown; did you mean 'best'. One of: final, best, last"):
        load_run(digits_run.path, weights="bets")
