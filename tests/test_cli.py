"""The commands: as a person starts them, in a process of its own, where that is the point; else in this one."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

import convarium as package

TRAIN = Path(__file__).resolve().parents[1] / "train.py"
QUICK = ("trainer.accelerator=cpu", "trainer.max_epochs=1", "trainer.limit_train_batches=2", "callbacks=[]")
Command = Callable[..., Any]


def results(where: str = "sweeps/*/jobs/*") -> list[dict[str, Any]]:
    """The records of all runs below a folder, in the order of their names."""
    return [json.loads(path.read_text()) for path in sorted(Path().glob(f"{where}/result.json"))]


def test_help_lists_the_groups_and_leaves_nothing_behind(own_directory: Path) -> None:
    done = subprocess.run([sys.executable, str(TRAIN), "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "lenet5_mnist" in done.stdout
    assert "inception_v1" in done.stdout
    assert re.search(r"\nbatch_size=32 +global: devices x nodes", done.stdout)
    assert list(own_directory.iterdir()) == []


def test_help_shows_the_experiment_as_written_so_far(convarium: Command) -> None:
    shown = convarium("train", "arch=mlp", "--help", "batch_size=7").out
    assert "\narch.hidden=[300,100] " in shown
    assert "\nbatch_size=7 " in shown
    assert "num_classes=${data.num_classes}" in shown
    assert "num_classes=${data.num_classes}" not in convarium("train", "--help", "--resolve").out
    refused = convarium("train", "--help", "arch=mlq")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("error: arch=mlq: unknown; did you mean 'mlp'?")


def test_flags_may_stand_between_overrides(convarium: Command) -> None:
    assert convarium("train", "seed=5", "--cfg", "job", "arch=resnet20", "-p", "seed").out.strip() == "5"
    assert convarium("train", "arch=lenet5", "-m", "norm=paper,bach").err.startswith("error: norm=bach: unknown")


def test_a_folder_of_one_s_own_configs_is_searched(convarium: Command) -> None:
    Path("mine/optimizer").mkdir(parents=True)
    Path("mine/optimizer/quick.yaml").write_text("defaults: [sgd, _self_]\nlr: 7.0\n")
    mine = ("train", "--config-dir", "mine")
    assert convarium(*mine, "optimizer=quick", "--cfg", "job", "-p", "optimizer.lr").out.strip() == "7.0"
    assert "did you mean 'quick'?" in convarium(*mine, "optimizer=quik").err


def test_the_help_of_convarium_is_short(convarium: Command) -> None:
    shown = convarium("--help")
    assert shown.code in (0, None)
    assert len(shown.out.splitlines()) <= 28
    for verb in ("train", "evaluate", "predict", "export", "list", "data fetch"):
        assert f"convarium {verb}" in shown.out


@pytest.mark.parametrize("first", ["data", "sweep"])
def test_the_help_of_verbs_of_two_words_has_an_example_of_each(convarium: Command, first: str) -> None:
    lines = convarium(first, "--help").out.splitlines()
    assert [line.split()[:2] for line in lines[::3]] == [["convarium", first]] * (len(lines) // 3)
    assert all(line.startswith(f"    example: convarium {first} ") for line in lines[2::3])


def test_ctrl_c_before_a_run_begins_is_said(
    convarium: Command, monkeypatch: pytest.MonkeyPatch, own_directory: Path
) -> None:
    def interrupt(config: dict[str, Any], **_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("convarium.run.prepare.prepare", interrupt)
    assert convarium("train", "arch=mlp") == (130, "", "interrupted\n")
    assert list(own_directory.iterdir()) == []


def test_the_version_is_that_of_the_package(convarium: Command) -> None:
    assert convarium("--version").out == f"{version('convarium')}\n"
    assert package.__version__ == version("convarium")
    code = "import sys, convarium; convarium.__version__; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_help_says_of_every_key_what_it_means(convarium: Command) -> None:
    lines = convarium("train", "--help").out.partition("The experiment as written so far")[2].splitlines()[1:-1]
    keys = [line for line in lines if "=" in line]
    assert len(keys) > 90
    assert [line for line in keys if not re.fullmatch(r"[\w.]+=\S+ {2,}\S.*", line)] == []


def test_a_sweep_runs_every_point_in_a_folder_of_its_own_without_a_terminal_of_any_kind(own_directory: Path) -> None:
    words = ["-m", "seed=1,2", "optimizer.lr=1e-3,3e38", "clip=none", "arch=mlp", *QUICK]
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, str(TRAIN), *words]
    assert subprocess.run(command).returncode == 1
    ends = sorted((result["seed"], result["status"]) for result in results())
    assert ends == [(1, "diverged"), (1, "ok"), (2, "diverged"), (2, "ok")]
    [sweep] = Path().glob("sweeps/*")
    assert sweep.name.startswith("mlp-none-lr-seed-")
    names = {yaml.safe_load(path.read_text())[-1] for path in sweep.glob("jobs/*/overrides.yaml")}
    assert names == {f"sweep.name={sweep.name}"}
    assert {path.name for path in sweep.iterdir()} == {
        *(
            ".lock",
            "jobs",
            "sweep.yaml",
            "manifest.jsonl",
            "leaderboard.csv",
            "leaderboard.md",
            "seeds.csv",
            "report.html",
        )
    }
    assert {path.name for path in own_directory.iterdir()} == {"sweeps"}


def test_a_launcher_of_hydras_runs_the_jobs_one_after_the_other_in_one_process(
    convarium: Command, own_directory: Path
) -> None:
    words = ("optimizer.lr=1e-3,3e38", "clip=none", "arch=mlp", "threads=1")
    done = convarium("train", "-m", "hydra/launcher=basic", *words, *QUICK)
    assert done.code == 1, done.err
    found = results("runs/*/*")
    assert sorted(result["status"] for result in found) == ["diverged", "ok"]
    assert len({result["pid"] for result in found}) == 1
    assert "1 of 2 jobs ended well" in done.out
    assert done.err.count("exit 1") == 1
    assert {path.name for path in own_directory.iterdir()} == {"runs"}


@pytest.mark.slow
def test_ctrl_c_ends_the_job_and_the_sweep() -> None:
    command = [sys.executable, str(TRAIN), "-m", "hydra/launcher=basic", "seed=1,2", "trainer.max_epochs=500"]
    with subprocess.Popen(
        [*command, "trainer.accelerator=cpu"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as sweep:
        assert sweep.stdout is not None
        for line in sweep.stdout:
            if line.startswith("epoch"):
                break
        sweep.send_signal(signal.SIGINT)
        _, err = sweep.communicate(timeout=60)
    assert sweep.returncode == 130
    assert "sweep stopped: 0 of 2 jobs had ended" in err
    assert [result["status"] for result in results("runs/*/*")] == ["interrupted"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("resum", "DIR"), "resum: unknown; did you mean 'resume'?"),
        (("resume",), "no sweep given; usage: convarium sweep resume DIR"),
        (("resume", "nowhere"), "nowhere: no such sweep directory"),
        (("status", "."), ".: not a sweep directory (it has no sweep.yaml)"),
    ],
)
def test_the_front_door_of_sweeps_knows_its_words(words: tuple[str, ...], said: str, convarium: Command) -> None:
    done = convarium("sweep", *words)
    assert done.code == 2
    assert done.err.startswith(f"error: {said}")
    assert done.err.count("\n") == 1
