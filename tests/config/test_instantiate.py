"""Building by allow-list: a config from somebody else is data."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from convarium.config.instantiate import build
from convarium.config.targets import check_targets
from convarium.errors import ConfigError
from convarium.learn.losses import CrossEntropy, Hinge


def target(path: object, **arguments: Any) -> dict[str, Any]:
    return {"_target_": path, **arguments}


def test_a_node_becomes_the_object_it_names() -> None:
    layer = build(target("torch.nn.Conv2d", in_channels=1, out_channels=2, kernel_size=3), "norm")
    assert isinstance(layer, nn.Conv2d)
    assert layer.out_channels == 2


def test_a_partial_is_functools_own() -> None:
    factory = build(target("torch.optim.AdamW", _partial_=True, lr=0.1, betas=[0.9, 0.99]), "optimizer")
    assert type(factory) is functools.partial
    assert factory.func is torch.optim.AdamW
    assert factory.keywords == {"lr": 0.1, "betas": [0.9, 0.99]}


def test_entries_lists_and_plain_values_are_built_through() -> None:
    heads = {
        "main": target("convarium.learn.losses.CrossEntropy"),
        "heads": [target("convarium.learn.losses.Hinge"), 3],
        "c": None,
    }
    built = build(heads, "loss")
    assert isinstance(built["main"], CrossEntropy)
    assert isinstance(built["heads"][0], Hinge)
    assert built["heads"][1] == 3
    assert built["c"] is None


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("os.system", "arch"),
        ("builtins.eval", "arch"),
        ("builtins.open", "callbacks.progress"),
        ("subprocess.run", "logger.wandb"),
        ("torch.load", "arch"),
        ("torch.hub.load", "norm"),
        ("torch.nn", "norm"),
        ("torch.nnx.ReLU", "norm"),
        ("convarium", "arch"),
        ("convarium.cli.train", "arch"),
        ("convarium.archs.__init__.__globals__", "arch"),
        ("convarium.archs.lenet.LeNet5", "optimizer"),
        ("torch.optim.SGD", "arch"),
        ("lightning.pytorch.callbacks.LambdaCallback", "logger.wandb"),
        ("torch.nn.ReLU", "unknown_group"),
        ("torch.nn. ReLU", "norm"),
        (3, "arch"),
        (None, "arch"),
        (["torch.nn.ReLU"], "norm"),
    ],
)
def test_a_name_outside_the_prefixes_of_its_group_is_refused_before_any_import(path: object, key: str) -> None:
    group, _, entry = key.partition(".")
    config = {group: {entry: target(path)} if entry else target(path)}
    with pytest.raises(ConfigError, match="not allowed there"):
        check_targets(config)
    with pytest.raises(ConfigError, match="not allowed there"):
        build(target(path), key)


@pytest.mark.parametrize("special", ["_args_", "_recursive_", "_convert_", "_mode_"])
def test_hydras_other_special_keys_are_refused(special: str) -> None:
    with pytest.raises(ConfigError, match=f"norm.{special}: not allowed"):
        check_targets({"norm": target("torch.nn.ReLU", **{special: [1]})})


def test_a_target_nested_in_a_list_is_found() -> None:
    nested = {"arch": target("convarium.archs.lenet.LeNet5", stages=[[{"pool": target("os.system", _partial_=True)}]])}
    with pytest.raises(ConfigError, match=r"arch.stages\[0\]\[0\].pool._target_=os.system: not allowed"):
        check_targets(nested)


@pytest.mark.parametrize(
    ("path", "key", "why"),
    [
        ("torch.nn.utils.clip_grad_norm_", "norm", "is not a torch.nn.Module"),
        ("torch.nn.Module.load_state_dict", "norm", "not found"),
        ("torch.nn.NoSuchLayer", "norm", "not found"),
        ("torch.nn.functional", "norm", "neither a class nor a function"),
        ("torch.nn.modules.module.torch", "norm", "neither a class nor a function"),
        ("torch.nn.modules.activation.Tensor", "norm", "is really torch.Tensor"),
        ("torch.nn.parallel.distributed.dataclass", "norm", "is really dataclasses.dataclass"),
        ("torch.optim.lr_scheduler.StepLR", "optimizer", "is not a torch.optim.Optimizer"),
        ("convarium.archs.bn_inception.NamedTuple", "arch", "is really typing.NamedTuple"),
        ("convarium.layers.Parts", "arch", "is not a torch.nn.Module"),
        ("convarium.observe.progress.time", "callbacks.progress", "neither a class nor a function"),
        ("lightning.pytorch.trainer.connectors.data_connector._DataConnector", "trainer", "not allowed there"),
        ("lightning.pytorch.callbacks.early_stopping.Callable", "stop", "neither a class nor a function"),
    ],
)
def test_what_a_name_leads_to_must_be_at_home_there_and_of_its_kind(path: str, key: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        build(target(path), key)


def test_one_s_own_package_is_admitted_by_the_environment_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusting: Callable[[str], None]
) -> None:
    (tmp_path / "mylab_layers.py").write_text(
        "import os\nfrom torch import nn\nclass Mine(nn.Module): ...\ndef run(): ...\nsystem = os.system\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="CONVARIUM_TRUST"):
        build(target("mylab_layers.Mine"), "arch")
    trusting("other, mylab_layers")
    assert type(build(target("mylab_layers.Mine"), "arch")).__name__ == "Mine"
    with pytest.raises(ConfigError, match=r"returned a NoneType, not a torch\.nn\.Module"):
        build(target("mylab_layers.run"), "arch")
    with pytest.raises(ConfigError, match="neither a class nor a function"):  # builtin, and not at home here
        build(target("mylab_layers.system"), "norm")


def test_a_wrong_argument_is_found_when_built_also_of_a_partial() -> None:
    with pytest.raises(ConfigError) as caught:
        build(target("torch.optim.SGD", _partial_=True, momentun=0.9), "optimizer")
    assert str(caught.value).startswith(
        "optimizer.momentun: SGD has no such argument; did you mean 'momentum'? Accepted:"
    )
    with pytest.raises(ConfigError, match="stop: EarlyStopping: missing a required argument: 'monitor'"):
        build(target("lightning.pytorch.callbacks.EarlyStopping"), "stop")


def test_a_constructors_objection_names_the_key() -> None:
    with pytest.raises(ConfigError, match=r"norm: dropout probability"):
        build(target("torch.nn.Dropout", p=2.0), "norm")
