"""The commands, each in a process of its own as a person starts them."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from convarium.run.catalog import conf_dir

TRAIN = Path(__file__).resolve().parents[1] / "train.py"
CONVARIUM = "import sys; sys.argv[0] = 'convarium'; from convarium.cli import main; main()"


def train(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(TRAIN), *words], cwd=cwd, capture_output=True, text=True)


def convarium(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", CONVARIUM, *words], cwd=cwd, capture_output=True, text=True)


def test_help_lists_the_groups_and_leaves_nothing_behind(tmp_path: Path) -> None:
    shown = train("--help", cwd=tmp_path)
    assert shown.returncode == 0
    assert "lenet5_mnist" in shown.stdout
    assert "inception_v1" in shown.stdout
    assert list(tmp_path.iterdir()) == []


def test_flags_may_stand_between_overrides(tmp_path: Path) -> None:
    shown = train("seed=5", "--cfg", "job", "arch=resnet20", "-p", "seed", cwd=tmp_path)
    assert shown.stdout.strip() == "5"
    swept = train("arch=lenet5", "-m", "norm=paper,bach", cwd=tmp_path)
    assert swept.stderr.startswith("error: norm=bach: unknown")


def test_convarium_train_is_train_py(tmp_path: Path) -> None:
    ours = convarium("train", "--cfg", "job", "arch=vgg16", cwd=tmp_path)
    assert ours.stdout == train("--cfg", "job", "arch=vgg16", cwd=tmp_path).stdout


def test_a_folder_of_one_s_own_configs_is_searched(tmp_path: Path) -> None:
    (tmp_path / "mine" / "optimizer").mkdir(parents=True)
    (tmp_path / "mine" / "optimizer" / "quick.yaml").write_text("defaults: [sgd, _self_]\nlr: 7.0\n")
    shown = train("--config-dir", "mine", "optimizer=quick", "--cfg", "job", "-p", "optimizer.lr", cwd=tmp_path)
    assert shown.stdout.strip() == "7.0"
    refused = train("--config-dir", "mine", "optimizer=quik", cwd=tmp_path)
    assert "did you mean 'quick'?" in refused.stderr


def test_the_help_of_convarium_is_short(tmp_path: Path) -> None:
    shown = convarium("--help", cwd=tmp_path)
    assert shown.returncode == 0
    assert len(shown.stdout.splitlines()) < 20
    for verb in ("train", "evaluate", "predict", "export", "list", "data fetch"):
        assert f"convarium {verb}" in shown.stdout


def test_list_prints_the_first_line_of_every_answer(tmp_path: Path) -> None:
    lines = convarium("list", "arch", cwd=tmp_path).stdout.splitlines()
    assert len(lines) == len(list((conf_dir() / "arch").glob("*.yaml")))
    lenet5 = next(line for line in lines if line.startswith("lenet5 "))
    assert "LeCun et al. 1998" in lenet5
    assert "61,706 parameters" in lenet5
    norm = convarium("list", "norm", cwd=tmp_path).stdout
    assert "@package" not in norm


def test_list_alone_prints_the_groups_also_for_programs(tmp_path: Path) -> None:
    text = convarium("list", cwd=tmp_path).stdout
    groups = json.loads(convarium("list", "--json", cwd=tmp_path).stdout)
    assert groups["norm"] == sorted(path.stem for path in (conf_dir() / "norm").glob("*.yaml"))
    assert all(f"{group} " in text for group in groups)
    assert json.loads(convarium("list", "data", "format=json", cwd=tmp_path).stdout)["mnist"].startswith("MNIST")


def test_a_sweep_runs_every_point_in_a_folder_of_its_own_and_reports_failures(tmp_path: Path) -> None:
    quick = ["trainer.accelerator=cpu", "trainer.max_epochs=1", "trainer.limit_train_batches=2", "callbacks=[]"]
    done = train("-m", "seed=1,2", "data.train_size=1500,1499", *quick, cwd=tmp_path)  # the second is a lie
    assert done.returncode == 1, done.stderr
    results = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/*/result.json")]
    assert sorted(result["seed"] for result in results) == [1, 2]
    assert all(result["status"] == "ok" for result in results)
    assert "2 of 4 jobs ended well" in done.stdout
    assert done.stderr.count("exit 2") == 2
    names = {
        path.read_text().partition("sweep.name=")[2].splitlines()[0]
        for path in tmp_path.glob("runs/*/*/overrides.yaml")
    }
    assert len(names) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}


@pytest.mark.slow
@pytest.mark.network
def test_the_wheel_carries_every_yaml(tmp_path: Path) -> None:
    root = TRAIN.parent
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(root)],
        check=True,
        capture_output=True,
    )
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    for path in conf_dir().rglob("*.yaml"):
        assert f"convarium/conf/{path.relative_to(conf_dir()).as_posix()}" in names
    assert "hydra_plugins/convarium/grid.py" in names
    assert "hydra_plugins/__init__.py" not in names
