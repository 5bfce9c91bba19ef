"""Weight files are read as tensors and nothing else, whatever a training script has wrapped around them."""

import datetime
import shlex
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from convarium.archs.weights import read_file, tensors


class Stranger:
    """An object that only running its code would bring back."""


STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2)}
PREFIXED = {f"module.{key}": value for key, value in STATE.items()}


def same(found: dict[str, torch.Tensor]) -> bool:
    return found.keys() == STATE.keys() and all(torch.equal(found[key], STATE[key]) for key in STATE)


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        OrderedDict(STATE),
        PREFIXED,
        {"state_dict": STATE},
        {"state_dict": OrderedDict(PREFIXED), "best_prec1": 91.7, "epoch": 200},
        {"model": STATE, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}, "args": None},
        {"model": {"state_dict": PREFIXED}},
        {"epoch": 90, "arch": "resnet50", "state_dict": PREFIXED, "best_acc1": torch.tensor(76.1), "optimizer": {}},
        {"net": PREFIXED, "acc": 95.5, "epoch": 199},
        {"model_state_dict": {f"module._orig_mod.{key}": value for key, value in STATE.items()}},
        {"state_dict": {f"model.{key}": value for key, value in STATE.items()}, "pytorch-lightning_version": "2.6.6"},
        {key: nn.Parameter(value) for key, value in STATE.items()},
    ],
)
@pytest.mark.parametrize(("ending", "zipped"), [("pth", True), ("th", False)])
def test_wrappers_and_prefixes_are_understood(content: dict[str, Any], ending: str, zipped: bool) -> None:
    torch.save(content, f"weights.{ending}", _use_new_zipfile_serialization=zipped)
    assert same(read_file(Path(f"weights.{ending}")))


def test_safetensors_are_read() -> None:
    save_file(PREFIXED, "weights.safetensors")
    assert same(read_file(Path("weights.safetensors")))


@pytest.mark.parametrize(
    ("content", "culprit"),
    [
        ({"state_dict": STATE, "when": datetime.datetime(2020, 1, 1)}, "datetime.datetime"),
        ({"model": nn.Linear(3, 2)}, "torch.nn.modules.linear.Linear"),
    ],
)
def test_a_file_that_needs_unpickling_is_refused_with_a_command_that_converts_it(
    monkeypatch: pytest.MonkeyPatch, content: dict[str, Any], culprit: str
) -> None:
    torch.save(content, "it's old.pth")
    with pytest.raises(ValueError, match=f"holds more than tensors .{culprit}") as refused:
        read_file(Path("it's old.pth"))
    message = str(refused.value)
    assert "\n" not in message
    python, option, code, *arguments = shlex.split(message.partition("convert it once: ")[2])
    assert (python, option) == ("python", "-c")
    monkeypatch.setattr(sys, "argv", ["-c", *arguments])
    exec(code)
    converted = read_file(Path("it's old.tensors.pth"))
    assert list(converted) == (list(STATE) if "state_dict" in content else ["weight", "bias"])


def test_an_object_of_anybody_is_never_made() -> None:
    torch.save({"state_dict": STATE, "more": Stranger()}, "weights.pth")
    with pytest.raises(ValueError, match=r"holds more than tensors \(\S*Stranger\)"):
        read_file(Path("weights.pth"))


@pytest.mark.parametrize("content", [b"", b"hello there", b"PK\x03\x04", b"\x80\x02}q\x00.", bytes(range(256))])
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_a_broken_file_is_refused(content: bytes, ending: str) -> None:
    Path(f"weights.{ending}").write_bytes(content)
    with pytest.raises(ValueError, match=r"not a (safetensors )?file (of torch )?that can be read"):
        read_file(Path(f"weights.{ending}"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({}, "holds nothing; accepted: named tensors, or these under 'state_dict' or 'model' or"),
        ([1, 2], "holds an object of type list; accepted: named tensors"),
        (torch.ones(3), "holds an object of type Tensor; accepted"),
        ({"weights": STATE}, "'weights' holds an object of type dict; accepted"),
        ({**STATE, "epoch": 3}, "'epoch' holds an object of type int; accepted"),
        ({0: torch.ones(2)}, "0 holds an object of type Tensor; accepted"),
    ],
)
def test_anything_but_named_tensors_is_refused(content: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        tensors(content)


def test_a_compressed_archive_is_refused_unread() -> None:
    torch.save({"a": torch.zeros(1000)}, "stored.pth")
    with zipfile.ZipFile("stored.pth") as stored, zipfile.ZipFile("bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb:
        for entry in stored.infolist():
            bomb.writestr(entry.filename, stored.read(entry))
    assert read_file(Path("stored.pth"))["a"].shape == (1000,)
    with pytest.raises(ValueError, match="a compressed or damaged archive"):
        read_file(Path("bomb.pth"))
