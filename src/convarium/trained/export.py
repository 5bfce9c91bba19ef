"""A trained network as a file for other programs; for ONNX this needs the extra `export`.

Whatever the format, the file's metadata say which run it is, what goes in and comes out, and what the classes are.
"""

import io
import json
import os
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from convarium.config.identity import config_hash
from convarium.config.instantiate import build
from convarium.errors import ConfigError, RunError
from convarium.run.directory import RunDirectory
from convarium.run.resume import read_config
from convarium.trained import FORMATS
from convarium.trained.load import load_run
from convarium.wording import first_line

ONE_FILE_LIMIT = 2_000_000_000  # bytes; the weights of a larger network lie in MODEL.onnx.data beside the ONNX file
TOLERANCE = 1e-3  # of the largest logit, or of 1: by how much an exported network may differ

Metadata = dict[str, str]
Run = Callable[[Tensor], Tensor]


class Exported(NamedTuple):
    """A file that was written, and how it was checked."""

    path: Path
    metadata: Metadata
    difference: float | None  # the largest between its logits and the network's own; None: it was not run


class PixelsToLogits(nn.Module):
    """A network with its normalization in front: images as they are, uint8 (N, C, H, W) -> logits (N, classes)."""

    scale: Tensor
    shift: Tensor

    def __init__(self, net: nn.Module, *, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.net = net
        means, stds = (torch.tensor(values).view(1, -1, 1, 1) for values in (mean, std))
        self.register_buffer("scale", 1 / (255 * stds))  # in the order of ImageData.normalize: equal to the bit
        self.register_buffer("shift", -means / stds)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images.to(torch.float32) * self.scale + self.shift)
        return logits


def export(
    run: RunDirectory,
    *,
    format: str = "onnx",
    output: Path | None = None,
    weights: str = "final",
    normalize: bool | None = None,
) -> Exported:
    """Write the network of a run to `output` (None: RUN/export/model.*), run the file, and compare.

    format: "onnx"; "torch_export", for torch.export.load; "safetensors", the weights alone.
    normalize: whether the network normalizes by itself and takes images as they are, uint8 (N, C, H, W); else it takes
    float32 images normalized as in training. None: it does. N is free, the size is that of training, what comes out
    are logits.
    Raises ConfigError for a format that lacks its packages, and where `output` cannot be written; RunError for a
    network that cannot be exported, or computes something else when it is.
    """
    if format == "safetensors" and normalize is not None:
        raise ConfigError("normalize: has no part in format=safetensors, which holds the weights alone")
    if format == "onnx" and (missing := [name for name in ("onnx", "onnxscript") if find_spec(name) is None]):
        raise ConfigError(f"format={format}: needs {' and '.join(missing)}; pip install convarium[export]")
    config = read_config(run)
    data = config["data"]
    net = load_run(run.path, weights=weights)
    pixels = normalize is not False and format != "safetensors"
    model = PixelsToLogits(net, mean=data["mean"], std=data["std"]).eval() if pixels else net
    metadata = describe(run, config, weights=weights, pixels=pixels)
    path = (output or run.path / "export" / f"model{FORMATS[format]}").expanduser().absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
            file = Path(folder) / path.name
            images = example(config, pixels=pixels)
            difference = compare(model, WRITERS[format](model, images, file, metadata), images)
            for written in Path(folder).iterdir():
                os.replace(written, path.parent / written.name)
    except OSError as error:
        raise ConfigError(f"output={path}: cannot be written ({error.strerror or error})") from error
    return Exported(path, metadata, difference)


def describe(run: RunDirectory, config: dict[str, Any], *, weights: str, pixels: bool) -> Metadata:
    """What a user of the file has to know, as text; lists as JSON."""
    data = config["data"]
    size, classes = data["image_size"], data["num_classes"]
    values = "uint8, pixels from 0 to 255" if pixels else "float32, (pixels / 255 - mean) / std"
    return {
        "convarium": version("convarium"),
        "run": run.path.name,
        "name": config["name"],
        "config_hash": config_hash(config),
        "weights": weights,
        "input": f"images (N, {data['channels']}, {size}, {size}): {values}",
        "output": f"logits (N, {classes}): float32, {'softmax' if classes > 1 else 'sigmoid'} gives probabilities",
        "classes": json.dumps(build(data, "data").class_names, ensure_ascii=False),
        "mean": json.dumps(data["mean"]),
        "std": json.dumps(data["std"]),
    }


def example(config: dict[str, Any], *, pixels: bool) -> Tensor:
    """Three images of noise, as the exported network takes them."""
    size = config["data"]["image_size"]
    shape = (3, config["data"]["channels"], size, size)
    noise = torch.Generator().manual_seed(0)
    if pixels:
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=noise)
    return torch.randn(shape, generator=noise)


def compare(model: nn.Module, exported: Run | None, images: Tensor) -> float | None:
    """The largest difference between logits, for all images and for the first alone; RunError if it is too large."""
    if exported is None:
        return None
    worst = 0.0
    for some in (images, images[:1]):
        with torch.inference_mode():
            expected = model(some)
        difference = (exported(some) - expected).abs().max().item()
        if not difference <= TOLERANCE * max(1.0, expected.abs().max().item()):
            raise RunError(f"the exported network computes something else: its logits differ by {difference:.2g}")
        worst = max(worst, difference)
    return worst


def write_onnx(model: nn.Module, images: Tensor, path: Path, metadata: Metadata) -> Run | None:
    """An ONNX file (and its weights beside it, if they are too many for one); returns how onnxruntime runs it."""
    names = {"input_names": ["images"], "output_names": ["logits"], "dynamic_shapes": ({0: "batch"},)}
    try:
        program = torch.onnx.export(model, (images,), dynamo=True, verbose=False, **names)  # type: ignore[arg-type]
    except torch.onnx.errors.OnnxExporterError as error:
        raise RunError(f"format=onnx: this network cannot be exported ({first_line(error)})") from error
    assert program is not None
    program.model.metadata_props.update(metadata)
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    program.save(path, external_data=weights > ONE_FILE_LIMIT)
    if find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda batch: torch.from_numpy(session.run(None, {"images": batch.numpy()})[0])


def write_torch_export(model: nn.Module, images: Tensor, path: Path, metadata: Metadata) -> Run:
    """A file for torch.export.load, its metadata in the extra file metadata.json; returns how torch runs it."""
    program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    whole = io.BytesIO()  # torch's own writer ends a full disk with a RuntimeError, and by terminate()
    torch.export.save(program, whole, extra_files={"metadata.json": json.dumps(metadata, ensure_ascii=False)})
    path.write_bytes(whole.getbuffer())
    loaded: Run = torch.export.load(path).module()
    return lambda batch: loaded(batch).detach()


def write_safetensors(model: nn.Module, images: Tensor, path: Path, metadata: Metadata) -> None:
    """The weights by their names in the state_dict; nothing that could be run."""
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, path, {"format": "pt", **metadata})


WRITERS = {"onnx": write_onnx, "torch_export": write_torch_export, "safetensors": write_safetensors}
