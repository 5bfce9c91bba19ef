"""Adding is one Python file and one yaml in a folder of one's own, and no edit: one of each kind, and a sweep."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from convarium.config.compose import compose
from convarium.errors import ConfigError
from convarium.run.launch import launch
from convarium.run.prepare import prepare
from processes import convarium, run

TRAIN = Path(__file__).parents[1] / "train.py"
IMAGES = "in_channels: ${data.channels}\nnum_classes: ${data.num_classes}\nimage_size: ${data.image_size}\n"
FACTS = (
    "num_classes: 3\nchannels: 1\nimage_size: 8\nmean: [0.5]\nstd: [0.5]\ntrain_size: 96\ntest_size: 32\n"
    "val_fraction: 0.25\nsplit_seed: 0\nbatch_size: ${batch_size}\neval_batch_size: ${batch_size}\nseed: ${seed}\n"
    "augment: ${augment}\ndrop_last: true\n"
)
FILES = {
    "mynet.py": """
from torch import nn


class Net(nn.Sequential):
    def __init__(self, *, in_channels, num_classes, image_size, width):
        units = in_channels * image_size**2
        super().__init__(nn.Flatten(), nn.Linear(units, width), nn.ReLU(), nn.Linear(width, num_classes))
""",
    "arch/mynet.yaml": f"# Mine\n_target_: mynet.Net\n{IMAGES}width: 16\n",
    "mystep.py": """
import torch


class SignStep(torch.optim.SGD):
    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad.sign_()
        return super().step(closure)
""",
    "optimizer/sign.yaml": "# Equal steps\n_target_: mystep.SignStep\n_partial_: true\nlr: 0.01\nweight_decay: 0.0\n",
    "myloss.py": """
from convarium.learn.losses import CrossEntropy


class Focal(CrossEntropy):
    def __init__(self, *, gamma):
        super().__init__()
        self.gamma = gamma

    def cost(self, logits, targets):
        loss = super().cost(logits, targets)
        return (1 - (-loss).exp()) ** self.gamma * loss
""",
    "loss/focal.yaml": "# Focal loss (Lin et al. 2017)\n_target_: myloss.Focal\ngamma: 2.0\n",
    "mywatch.py": """
import lightning.pytorch as L


class Norms(L.Callback):
    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        self.classes = outputs["logits"].shape[1]

    def on_validation_end(self, trainer, pl_module):
        total = sum(p.detach().norm().item() for p in pl_module.net.parameters())
        pl_module.log_row({"weight_norm": total, "classes_seen": self.classes})
""",
    "callbacks/norms.yaml": "# The norm of the weights\nnorms:\n  _target_: mywatch.Norms\n",
    "mydata.py": """
from dataclasses import dataclass

import torch

from convarium.data.module import ImageData
from convarium.data.sources import InMemory


@dataclass(kw_only=True, eq=False, repr=False)
class Stripes(ImageData):
    def read(self, split):
        if split == "val":
            return None
        size = self.test_size if split == "test" else self.train_size
        targets = torch.arange(size) % self.num_classes
        images = torch.zeros(size, 1, self.image_size, self.image_size, dtype=torch.uint8)
        for image, target in zip(images, targets.tolist()):
            image[:, target :: self.num_classes] = 255
        return InMemory(images, targets)
""",
    "data/stripes.yaml": f"# Stripes\n_target_: mydata.Stripes\n{FACTS}",
    "mychange.py": """
class Dim:
    order = 35

    def __call__(self, images, key):
        return images // 2
""",
    "augment/dim.yaml": "# Half the light\ndim:\n  _target_: mychange.Dim\n",
    "mymetric.py": """
from convarium.learn.metrics import PerClass


class WorstClass(PerClass):
    def compute(self):
        hits, _, there = self.sums
        return (hits / there).min()
""",
    "metrics/worst_class.yaml": "# The accuracy of the worst class\nworst_class:\n  _target_: mymetric.WorstClass\n"
    "  num_classes: ${data.num_classes}\n",
    "arch/squeezenet.yaml": "# A network of torchvision's own\n_target_: torchvision.models.squeezenet1_1\n"
    "num_classes: ${data.num_classes}\n",
}
MINE = [
    *("arch=mynet", "optimizer=sign", "loss=focal", "callbacks=[checkpoint,norms]", "data=stripes"),
    *("augment=[dim,flip]", "metrics=[accuracy,worst_class]"),
]
SHORT = ["batch_size=24", "trainer.max_epochs=8", "trainer.accelerator=cpu", "threads=1"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    own = tmp_path / "mylab"
    for name, text in FILES.items():
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_text(text)
    return own


def command(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "CONVARIUM_TRUST": str(folder), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True)


def test_one_of_each_is_added_from_a_folder_of_one_s_own_and_swept(folder: Path, own_directory: Path) -> None:
    alone = command(folder, str(TRAIN), *MINE, *SHORT, "run_dir=run", "test.views=1", "arch.width=24")
    assert alone.returncode == 0, alone.stderr
    result = json.loads(Path("run/result.json").read_text())
    assert result["metrics"]["test/worst_class"] == 1.0
    assert {"val/worst_class", "weight_norm"} <= result["metrics"].keys()
    assert result["metrics"]["classes_seen"] == 3
    assert "Flip, Dim" in alone.stdout
    assert "worst_class" in alone.stdout
    swept = command(
        folder, str(TRAIN), "-m", *MINE, *SHORT, "optimizer=sign,adamw", "sweep.name=mine", "loss=focal,hinge"
    )
    assert swept.returncode == 0, swept.stderr
    with Path("sweeps/mine/leaderboard.csv").open(newline="") as file:
        board = list(csv.DictReader(file))
    assert {(row["optimizer"], row["loss"], row["status"]) for row in board} == {
        (optimizer, loss, "ok") for optimizer in ("sign", "adamw") for loss in ("focal", "hinge")
    }
    assert all(float(row["test/worst_class"]) >= 0 for row in board)


def one_after_the_other(folder: str, *commands: tuple[str, ...]) -> int:
    """`convarium WORDS` for each, in this process; the first exit code that is not 0."""
    os.environ["CONVARIUM_TRUST"] = folder
    return next((code for words in commands if (code := convarium(*words))), 0)


def test_a_run_with_one_s_own_parts_goes_on_and_is_evaluated_and_they_are_listed(
    folder: Path, own_directory: Path
) -> None:
    commands = (
        ("train", *MINE, *SHORT, "trainer.max_epochs=1", "run_dir=run"),
        ("train", "resume=run", "trainer.max_epochs=2"),
        ("evaluate", "run"),
        ("list", "metrics"),
        ("evaluate", "run", "metrics=[accuracy,macro_f1]"),
    )
    log = own_directory / "log"
    code = run(one_after_the_other, str(folder), *commands, log=log)
    printed = log.read_text()
    assert code == 0, printed
    assert "worst_class        The accuracy of the worst class" in printed
    assert "macro_f1" in printed


def test_a_network_of_torchvision_is_one_yaml(folder: Path, trusting: Callable[[str], None]) -> None:
    trusting(str(folder))
    words = ["arch=squeezenet", "data=synthetic", "data.num_classes=3", "data.train_size=32", "data.test_size=8"]
    words += ["data.image_size=32", "batch_size=8", "trainer.max_steps=2", "trainer.accelerator=cpu", "threads=1"]
    assert launch(prepare(compose([*words, "callbacks=[]", "run_dir=run"]).config), words) == 0
    with pytest.raises(ConfigError, match="norm=batch: arch=squeezenet takes no parts; accepted: paper"):
        compose([*words, "norm=batch"])


def test_a_folder_that_is_not_there_is_named(own_directory: Path) -> None:
    done = command(own_directory / "nowhere", str(TRAIN), "arch=mlp")
    assert (done.returncode, done.stderr) == (2, f"error: CONVARIUM_TRUST={own_directory}/nowhere: no such folder\n")


def test_a_run_of_a_config_dir_goes_on_and_is_evaluated_from_elsewhere_without_its_being_named_again(
    own_directory: Path, convarium: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_directory / "mine" / "optimizer").mkdir(parents=True)
    (own_directory / "mine" / "optimizer" / "quick.yaml").write_text("# Mine\ndefaults: [sgd, _self_]\nlr: 0.5\n")
    quick = ("arch=mlp", "optimizer=quick", "trainer.max_epochs=1", "trainer.accelerator=cpu", "callbacks=[checkpoint]")
    assert convarium("train", "--config-dir", "mine", *quick, "run_dir=run").code == 0
    (own_directory / "elsewhere").mkdir()
    monkeypatch.chdir(own_directory / "elsewhere")
    gone_on = convarium("train", "resume=../run", "trainer.max_epochs=2")
    assert (gone_on.code, gone_on.err) == (0, "")
    assert convarium("evaluate", "../run", "trainer.limit_test_batches=1", "threads=1").code == 0
    (own_directory / "mine").rename(own_directory / "gone")
    assert (
        f"--config-dir {own_directory}/mine: no such folder"
        in convarium("train", "resume=../run", "trainer.max_epochs=3").err
    )
