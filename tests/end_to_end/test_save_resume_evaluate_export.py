"""Save, resume, evaluate, export: every architecture and every optimizer goes the whole way."""

import json
from pathlib import Path

import onnxruntime
import pytest
import torch

from archs.catalog import EACH_EXPERIMENT, asked
from convarium import load_run
from convarium.config.catalog import members
from processes import convarium, run, train

IMAGES = ("data=synthetic", "data.channels=1", "data.train_size=40", "data.test_size=7", "data.val_fraction=0.1")
STEPS = ("batch_size=4", "trainer.limit_train_batches=2", "trainer.max_epochs=1", "schedule.warmup=0")
OF_EACH_KIND = ("adamw", "muon", "rmsprop_tf", "sgd_2012")  # optimizers of torch, of ours with two states, with one
QUICK = ("trainer.accelerator=cpu", "callbacks=[checkpoint]", "threads=1")


def go_the_whole_way(folder: Path, *choices: str, format: str) -> Path:
    """Train an epoch, go on for another, evaluate, and export; the exported file."""
    log = folder / "log"
    place = folder / "run"

    def succeed(function: object, *words: str) -> str:
        log.write_text("")
        assert run(function, *words, log=log) == 0, log.read_text()
        return log.read_text()

    succeed(train, *IMAGES, *STEPS, *QUICK, *choices, f"run_dir={place}")
    succeed(train, f"resume={place}", "trainer.max_epochs=2")
    result = json.loads((place / "result.json").read_text())
    assert (result["status"], result["epochs"], result["steps"]) == ("ok", 2, 4)
    measured = json.loads(succeed(convarium, "evaluate", str(place), "--json"))["metrics"]
    assert measured == {name: value for name, value in result["metrics"].items() if name.startswith("test/")}
    file = folder / "exported"
    assert "its logits differ" in succeed(convarium, "export", str(place), f"format={format}", f"output={file}")
    return file


@pytest.mark.parametrize("arch", EACH_EXPERIMENT)
def test_an_architecture_goes_the_whole_way(arch: str, own_directory: Path) -> None:
    file = go_the_whole_way(own_directory, f"arch={arch}", "optimizer=sgd", format="onnx")
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map
    images = torch.randint(0, 256, (5, 1, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        net = load_run(own_directory / "run")
        expected = net((images / 255 - torch.tensor(json.loads(told["mean"]))) / torch.tensor(json.loads(told["std"])))
    [logits] = session.run(None, {"images": images.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


@pytest.mark.parametrize("optimizer", asked(members("optimizer"), OF_EACH_KIND))
def test_an_optimizer_goes_the_whole_way(optimizer: str, own_directory: Path) -> None:
    go_the_whole_way(own_directory, "arch=mlp", "arch.hidden=[16]", f"optimizer={optimizer}", format="torch_export")
