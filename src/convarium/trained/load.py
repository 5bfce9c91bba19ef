"""A trained network out of its run directory. Torch and our own layers are all this needs: no Hydra, no Lightning."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from convarium.config.instantiate import build
from convarium.errors import ConfigError, RunError
from convarium.learn.checkpoint_file import net_state, read_checkpoint
from convarium.run.directory import RunDirectory
from convarium.trained import WEIGHTS
from convarium.wording import unknown


def load_run(path: Path | str, *, weights: str = "final") -> nn.Module:
    """The network of a run, on the CPU, in evaluation mode; it takes images normalized as `data` in config.yaml says.

    weights: "final", those that the run tested and left in weights.safetensors; "best", those of the best validation;
    "last", those of the newest checkpoint, also of a run that did not end. Where a run averages its weights, best and
    last are averaged ones.
    Raises RunError for a folder that is no run, weights that are missing, corrupt or another network's; ValueError for
    a word that names no weights.
    """
    if weights not in WEIGHTS:
        raise ValueError(unknown(f"weights={weights}", weights, WEIGHTS))
    run = RunDirectory.open(path)
    file, state = _read_weights(run, weights)
    arch = run.config().get("arch")
    if isinstance(arch, dict) and arch.get("parts"):
        arch["parts"]["init"] = None  # the weights it draws are not kept, and a file that it takes may be gone
    try:
        with torch.random.fork_rng(devices=[]):
            net = build(arch, "arch")
    except ConfigError as error:
        raise RunError(f"{run.config_file}: {error}") from error
    if not isinstance(net, nn.Module):
        raise RunError(f"{run.config_file}: not the config of a run")
    _require_fit(file, state, net)
    net.load_state_dict(state)
    return net.eval()


def _read_weights(run: RunDirectory, weights: str) -> tuple[Path, dict[str, Tensor]]:
    """The file that holds these weights, and the tensors in it by the names of the network's state_dict."""
    file = {"final": run.weights, "best": run.best, "last": run.last}[weights]
    if not file.is_file():
        there = [name for name, other in (("best", run.best), ("last", run.last)) if other.is_file() and other != file]
        hint = f"; there is weights={' and weights='.join(there)}" if there else ""
        status = run.result().get("status", "queued").replace("queued", "not started")
        raise RunError(f"{file}: not there, the run is {status}{hint}")
    if weights != "final":
        return file, net_state(read_checkpoint(file))
    try:
        return file, load_file(file)
    except (SafetensorError, OSError) as error:
        raise RunError(f"{file}: not weights that can be read ({type(error).__name__})") from error


def _require_fit(file: Path, state: dict[str, Tensor], net: nn.Module) -> None:
    """Raises RunError for the first tensor that the weights and the network do not share, by name and shape."""
    expected = {name: _shape(value) for name, value in net.state_dict().items()}
    given = {name: _shape(value) for name, value in state.items()}
    for name in [*expected, *given]:
        ours, theirs = expected.get(name, "nothing"), given.get(name, "nothing")
        if ours != theirs:
            raise RunError(f"{file}: not the weights of this network: {name} is {theirs} instead of {ours}")


def _shape(value: Any) -> str:
    return "x".join(map(str, value.shape)) or "a number" if isinstance(value, Tensor) else type(value).__name__
