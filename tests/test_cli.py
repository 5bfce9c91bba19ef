"""The commands, each in a process of its own as a person starts them."""

import json
import signal
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

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
    assert re.search(r"\nbatch_size=32 +global: devices x nodes", shown.stdout)
    assert list(tmp_path.iterdir()) == []


def test_help_shows_the_experiment_as_written_so_far(tmp_path: Path) -> None:
    shown = train("arch=mlp", "--help", "batch_size=7", cwd=tmp_path).stdout
    assert "\narch.hidden=[300,100] " in shown
    assert "\nbatch_size=7 " in shown
    assert "num_classes=${data.num_classes}" in shown
    assert "num_classes=${data.num_classes}" not in train("--help", "--resolve", cwd=tmp_path).stdout
    refused = train("--help", "arch=mlq", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("error: arch=mlq: unknown; did you mean 'mlp'?")


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


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    assert convarium("--version", cwd=tmp_path).stdout == f"{version('convarium')}\n"


QUICK = (
    "trainer.accelerator=cpu",
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=2",
    "callbacks=[]",
)


def results(cwd: Path, where: str = "sweeps/*/jobs/*") -> list[dict[str, Any]]:
    """The records of all runs below a folder, in the order of their names."""
    return [json.loads(path.read_text()) for path in sorted(cwd.glob(f"{where}/result.json"))]


def test_a_sweep_runs_every_point_in_a_folder_of_its_own_and_reports_failures(tmp_path: Path) -> None:
    done = train("-m", "seed=1,2", "optimizer.lr=1e-3,3e38", "clip=none", "arch=mlp", *QUICK, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    ends = sorted((result["seed"], result["status"]) for result in results(tmp_path))
    assert ends == [(1, "diverged"), (1, "ok"), (2, "diverged"), (2, "ok")]
    assert "2 of 4 jobs ended well" in done.stdout
    assert done.stderr.count("diverged") == 2
    [sweep] = tmp_path.glob("sweeps/*")
    assert sweep.name.startswith("mlp-none-lr-seed-")
    names = {yaml.safe_load(path.read_text())[-1] for path in tmp_path.glob("sweeps/*/jobs/*/overrides.yaml")}
    assert names == {f"sweep.name={sweep.name}"}
    assert {path.name for path in sweep.iterdir()} == {
        *(".lock", "jobs", "sweep.yaml", "manifest.jsonl", "leaderboard.csv", "leaderboard.md", "seeds.csv")
    }
    assert {path.name for path in tmp_path.iterdir()} == {"sweeps"}


def test_a_sweep_runs_without_a_terminal_of_any_kind(tmp_path: Path) -> None:
    words = ["-m", "seed=1,2", "arch=mlp", *QUICK]
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, str(TRAIN), *words]
    assert subprocess.run(command, cwd=tmp_path).returncode == 0
    assert [result["status"] for result in results(tmp_path)] == ["ok", "ok"]


def test_a_launcher_of_hydras_runs_the_jobs_one_after_the_other_in_one_process(tmp_path: Path) -> None:
    basic = ("-m", "hydra/launcher=basic", "optimizer.lr=1e-3,3e38", "clip=none", "arch=mlp")
    done = train(*basic, *QUICK, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    found = results(tmp_path, "runs/*/*")
    assert sorted(result["status"] for result in found) == ["diverged", "ok"]
    assert len({result["pid"] for result in found}) == 1
    assert "1 of 2 jobs ended well" in done.stdout
    assert done.stderr.count("exit 1") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}


def test_a_sweeper_of_hydras_hands_its_points_to_our_launcher(tmp_path: Path) -> None:
    done = train("-m", "hydra/sweeper=basic", "seed=1,2", "arch=mlp", *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(result["seed"] for result in results(tmp_path)) == [1, 2]
    [table] = tmp_path.glob("sweeps/*/leaderboard.csv")
    assert table.read_text().startswith("seed,status,")


def test_a_study_sweeps_without_m_and_an_axis_can_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine" / "study").mkdir(parents=True)
    (tmp_path / "mine" / "study" / "small.yaml").write_text(
        "# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper: {params: {norm: 'paper,batch', seed: '1,2,3'}}\n"
    )
    done = train("--config-dir", "mine", "study=small", "seed=7", "name=-", "batch_size=0,64", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "error: batch_size=0: out of range; accepted: at least 1 (job 1 of 4: norm=paper batch_size=0)\n"
    )


@pytest.mark.slow
def test_ctrl_c_ends_the_job_and_the_sweep(tmp_path: Path) -> None:
    command = [sys.executable, str(TRAIN), "-m", "hydra/launcher=basic", "seed=1,2", "trainer.max_epochs=500"]
    with subprocess.Popen(
        [*command, "trainer.accelerator=cpu"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as sweep:
        assert sweep.stdout is not None
        for line in sweep.stdout:
            if line.startswith("epoch"):
                break
        sweep.send_signal(signal.SIGINT)
        _, err = sweep.communicate(timeout=60)
    assert sweep.returncode == 130
    assert "sweep stopped: 0 of 2 jobs had ended" in err
    assert [result["status"] for result in results(tmp_path, "runs/*/*")] == ["interrupted"]


def test_the_front_door_of_sweeps_knows_its_words(tmp_path: Path) -> None:
    for words, said in (
        (("resum", "DIR"), "resum: unknown; did you mean 'resume'?"),
        (("resume",), "no sweep given; usage: convarium sweep resume DIR"),
        (("resume", "nowhere"), "nowhere: no such sweep directory"),
        (("status", "."), ".: not a sweep directory (it has no sweep.yaml)"),
    ):
        done = convarium("sweep", *words, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: {said}")
        assert done.stderr.count("\n") == 1
