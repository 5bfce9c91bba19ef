"""An exported file computes what the network computes, and says what it takes and gives."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from convarium.config.instantiate import build
from convarium.data.datasets.digits import FILE
from convarium.errors import ConfigError, RunError
from convarium.run.directory import RunDirectory
from convarium.trained import export as module
from convarium.trained.export import compare, export
from convarium.trained.load import load_run
from runs import untrained


@pytest.fixture
def images(digits_run: RunDirectory) -> Tensor:
    """Seven digits of the test split as the network is shown them, uint8 (7, 1, 32, 32)."""
    with np.load(FILE) as stored:
        counts = torch.from_numpy(stored["images"][stored["test"]][:7])
    return build(digits_run.config()["data"], "data").fit((counts.float() * (255 / 16)).round().byte()[:, None])


@pytest.fixture
def expected(digits_run: RunDirectory, images: Tensor) -> Tensor:
    """The logits of these images by the network itself."""
    data = build(digits_run.config()["data"], "data")
    with torch.no_grad():
        return load_run(digits_run.path)(data.normalize(images))


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_onnx_takes_images_as_they_are_in_any_number(
    digits_run: RunDirectory, images: Tensor, expected: Tensor, tmp_path: Path
) -> None:
    exported = export(digits_run, output=tmp_path / "exports" / "digits.onnx")
    assert exported.path == tmp_path / "exports" / "digits.onnx"
    assert [path.name for path in exported.path.parent.iterdir()] == ["digits.onnx"]
    assert exported.difference is not None
    assert exported.difference < 1e-4
    onnx.checker.check_model(exported.path, full_check=True)
    [taken], [given] = session(exported.path).get_inputs(), session(exported.path).get_outputs()
    assert (taken.name, taken.type, taken.shape) == ("images", "tensor(uint8)", ["batch", 1, 32, 32])
    assert (given.name, given.type, given.shape) == ("logits", "tensor(float)", ["batch", 10])
    for number in (1, 7):
        [logits] = session(exported.path).run(["logits"], {"images": images[:number].numpy()})
        np.testing.assert_allclose(logits, expected[:number], rtol=1e-5, atol=1e-5)


def test_onnx_says_what_it_is(digits_run: RunDirectory, tmp_path: Path) -> None:
    exported = export(digits_run, output=tmp_path / "a.onnx", weights="last")
    told = session(exported.path).get_modelmeta().custom_metadata_map
    assert told == exported.metadata
    assert json.loads(told["classes"]) == list("0123456789")
    assert json.loads(told["mean"]) == digits_run.config()["data"]["mean"]
    assert told["config_hash"] == digits_run.result()["config_hash"]
    assert (told["run"], told["name"], told["weights"]) == (digits_run.path.name, "lenet5-digits", "last")
    assert told["input"] == "images (N, 1, 32, 32): uint8, pixels from 0 to 255"
    assert told["output"] == "logits (N, 10): float32, softmax gives probabilities"


def test_without_normalization_the_network_takes_what_training_gave_it(
    digits_run: RunDirectory, images: Tensor, expected: Tensor, tmp_path: Path
) -> None:
    exported = export(digits_run, output=tmp_path / "a.onnx", normalize=False)
    assert exported.metadata["input"] == "images (N, 1, 32, 32): float32, (pixels / 255 - mean) / std"
    normalized = build(digits_run.config()["data"], "data").normalize(images)
    [logits] = session(exported.path).run(None, {"images": normalized.numpy()})
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


def test_weights_too_many_for_one_file_lie_beside_it(
    digits_run: RunDirectory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, images: Tensor, expected: Tensor
) -> None:
    monkeypatch.setattr(module, "ONE_FILE_LIMIT", 0)
    exported = export(digits_run, output=tmp_path / "exports" / "a.onnx")
    assert sorted(path.name for path in exported.path.parent.iterdir()) == ["a.onnx", "a.onnx.data"]
    [logits] = session(exported.path).run(None, {"images": images.numpy()})
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


def test_torch_reads_its_own_format_back(
    digits_run: RunDirectory, images: Tensor, expected: Tensor, tmp_path: Path
) -> None:
    exported = export(digits_run, format="torch_export", output=tmp_path / "a.pt2")
    extra = {"metadata.json": ""}
    loaded = torch.export.load(exported.path, extra_files=extra).module()
    assert torch.equal(loaded(images), expected)
    assert exported.difference == 0
    assert json.loads(extra["metadata.json"]) == exported.metadata


def test_safetensors_holds_the_weights(digits_run: RunDirectory, tmp_path: Path) -> None:
    exported = export(digits_run, format="safetensors", output=tmp_path / "a.safetensors")
    assert exported.difference is None
    with safe_open(exported.path, "pt") as file:
        assert file.metadata() == {"format": "pt", **exported.metadata}
        state = load_run(digits_run.path).state_dict()
        assert set(file.keys()) == set(state)
        assert all(torch.equal(file.get_tensor(name), state[name]) for name in state)


def test_one_logit_gives_two_classes(tmp_path: Path) -> None:
    run = untrained(tmp_path / "run", "arch=mlp", "loss=bce", "data=synthetic", "data.num_classes=1")
    exported = export(run, format="torch_export")
    assert exported.path == run.path / "export" / "model.pt2"
    assert exported.metadata["output"] == "logits (N, 1): float32, sigmoid gives probabilities"
    assert json.loads(exported.metadata["classes"]) == ["0", "1"]


def test_without_onnxruntime_it_is_written_and_not_run(
    digits_run: RunDirectory, tmp_path: Path, without: Callable[[str], None]
) -> None:
    without("onnxruntime")
    exported = export(digits_run, output=tmp_path / "a.onnx")
    assert exported.path.is_file()
    assert exported.difference is None


def test_a_missing_extra_is_named(digits_run: RunDirectory, tmp_path: Path, without: Callable[[str], None]) -> None:
    without("onnxscript")
    with pytest.raises(ConfigError, match=r"format=onnx: needs onnxscript; pip install convarium\[export\]"):
        export(digits_run, output=tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """As if a package were not installed."""

    def hide(package: str) -> None:
        monkeypatch.setattr(module, "find_spec", lambda name: None if name == package else find_spec(name))

    return hide


def test_normalization_has_no_part_in_weights_alone(digits_run: RunDirectory) -> None:
    with pytest.raises(ConfigError, match="normalize: has no part in format=safetensors"):
        export(digits_run, format="safetensors", normalize=True)


@pytest.mark.parametrize("output", ["folder", "file/a.safetensors"])
def test_an_output_that_cannot_be_written_is_refused_and_leaves_nothing(digits_run: RunDirectory, output: str) -> None:
    Path("folder").mkdir()
    Path("file").touch()
    with pytest.raises(ConfigError, match=r"output=.*: cannot be written \("):
        export(digits_run, format="safetensors", output=Path(output))
    assert sorted(str(path) for path in Path().rglob("*")) == ["file", "folder"]


class AddsWhenAlone(nn.Module):
    """A network that a tracer could take for the identity."""

    def forward(self, images: Tensor) -> Tensor:
        return images + (len(images) == 1)


def test_a_file_that_computes_something_else_is_refused() -> None:
    images = torch.zeros(3, 2)
    assert compare(AddsWhenAlone(), AddsWhenAlone(), images) == 0
    with pytest.raises(RunError, match="computes something else: its logits differ by 1"):
        compare(AddsWhenAlone(), nn.Identity(), images)
    with pytest.raises(RunError, match="computes something else: its logits differ by nan"):
        compare(nn.Identity(), lambda batch: batch * torch.nan, images)
