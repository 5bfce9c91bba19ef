"""No file of somebody else runs, writes or hangs anything: each ends in one line."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image

from config.hostile import Hostile, files
from convarium.config.compose import compose
from convarium.errors import ConfigError, RunError
from convarium.run.directory import RunDirectory
from convarium.run.prepare import prepare
from convarium.run.resume import read_config, resume_config
from convarium.wording import one_line

ALL = list(files())
SHORT = 6  # every so many by default; all of them by `make test-slow`
CASES = [
    pytest.param(
        case, id=case.name, marks=[] if number % SHORT == 0 or case.name.startswith("yaml") else pytest.mark.slow
    )
    for number, case in enumerate(ALL)
]


def test_there_are_three_hundred() -> None:
    assert len(ALL) >= 300


@pytest.mark.parametrize("case", CASES)
def test_a_hostile_file_is_refused_in_one_line_and_nothing_is_run_or_made(case: Hostile, own_directory: Path) -> None:
    theirs = own_directory / "theirs"
    for name, text in case.files.items():
        (theirs / name).parent.mkdir(parents=True, exist_ok=True)
        (theirs / name).write_text(text)
    before = sorted(own_directory.rglob("*"))
    started = time.monotonic()
    with pytest.raises(ConfigError) as refused:
        prepare(compose(case.words, str(theirs)).config)
    assert time.monotonic() - started < 10
    assert one_line(refused.value).isprintable()
    assert len(one_line(refused.value)) < 1_500
    assert sorted(own_directory.rglob("*")) == before


@pytest.mark.parametrize("path", ["os.system", "convarium.observe.wandb.ask", "torch.hub.load"])
@pytest.mark.parametrize("place", ["loss.label_smoothing", "logger.x", "optimizer", "arch.parts.norm", "data.root"])
def test_a_run_of_somebody_else_is_resumed_without_running_its_targets(
    path: str, place: str, own_directory: Path
) -> None:
    run = RunDirectory(own_directory / "run")
    run.make(compose(["run_dir=run"]).config, [])
    config = run.config()
    node = config
    *parents, last = place.split(".")
    for name in parents:
        node = node[name]
    node[last] = {"_target_": path, "args": ["touch", "owned"]}
    run.config_file.write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match=f"{place}._target_={path}: (not allowed|neither a class|is not a)"):
        prepare(resume_config(run.path, [])[0])


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [("trainer", "accelerator", "tpu"), ("trainer", "max_epochs", 10**30), ("optimizer", "lr", "\x1b[31m")],
)
def test_a_value_written_by_hand_into_the_config_of_a_run_is_checked(
    group: str, key: str, value: object, own_directory: Path
) -> None:
    run = RunDirectory(own_directory / "run")
    run.make(compose(["run_dir=run"]).config, [])
    config = run.config()
    config[group][key] = value
    run.config_file.write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match=rf"^{group}\.{key}="):
        read_config(run)


TRACKED = (
    "# @package _global_\ndefaults: [override /logger: mlflow]\nlogger: {mlflow: {tracking_uri: 'http://there'}}\n"
)


def test_where_results_are_sent_is_typed_or_in_one_s_own_folder(
    own_directory: Path, trusting: Callable[[str], None]
) -> None:
    (own_directory / "dir" / "recipe").mkdir(parents=True)
    (own_directory / "dir" / "recipe" / "tracked.yaml").write_text(TRACKED)
    where = "logger.mlflow.tracking_uri=http://there"
    with pytest.raises(ConfigError, match=rf"^{where}: said by {own_directory}/dir/recipe/tracked.yaml; where "):
        compose(["recipe=tracked"], "dir")
    assert compose(["recipe=tracked", where], "dir").config["logger"]["mlflow"]["tracking_uri"] == "http://there"
    local = compose(["recipe=tracked", "logger.mlflow.tracking_uri=null"], "dir").config
    assert local["logger"]["mlflow"]["tracking_uri"] is None
    trusting(str(own_directory / "dir"))
    assert compose(["recipe=tracked"]).config["logger"]["mlflow"]["tracking_uri"] == "http://there"


def test_where_a_run_of_somebody_else_keeps_and_sends_is_not_taken_over(own_directory: Path) -> None:
    run = RunDirectory(own_directory / "run")
    where = "logger.mlflow.tracking_uri=http://there"
    run.make(compose(["run_dir=run", "logger=mlflow", where]).config, ["logger=mlflow", where])
    with pytest.raises(ConfigError, match=rf"^{where}: is what {run.config_file} says; if you mean it, add {where}"):
        resume_config(run.path, [])
    assert resume_config(run.path, [where])[0]["logger"]["mlflow"]["tracking_uri"] == "http://there"
    assert resume_config(run.path, ["logger=none"])[0]["logger"] == {}


def test_what_was_decoded_is_kept_where_this_person_keeps_it(
    own_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cat", "dog"):
        (own_directory / "photos" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(own_directory / "photos" / name / "1.png")
    run = RunDirectory(own_directory / "run")
    run.make(compose(["run_dir=run", "data=folder", "data.root=photos", "data.cache=theirs"]).config, [])
    monkeypatch.setenv("CONVARIUM_CACHE", "mine")
    assert read_config(run)["data"]["cache"] == "mine"
    assert read_config(run, ["data.cache"])["data"]["cache"] == "theirs"


@pytest.mark.parametrize("name", ["bomb", "itself", "deep", "long", "a tag", "a list", "unclosed"])
def test_the_config_of_a_run_is_read_within_limits(name: str, own_directory: Path) -> None:
    from config.hostile import YAML

    run = RunDirectory(own_directory / "run")
    run.make(compose(["run_dir=run"]).config, [])
    for file in (run.config_file, run.overrides_file):
        whole = file.read_text()
        file.write_text(YAML[name])
        with pytest.raises((RunError, ConfigError)) as refused:
            resume_config(run.path, ["trainer.max_epochs=3"])
        assert one_line(refused.value).isprintable()
        file.write_text(whole)
