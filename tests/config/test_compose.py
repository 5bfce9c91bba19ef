"""From overrides to one config: what Hydra composes, held against what the yaml files say."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.types import RunMode
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from PIL import Image

from convarium.config.compose import Conf, compose
from convarium.config.instantiate import build
from convarium.config.overrides import readable
from convarium.errors import ConfigError, RunError
from convarium.run.directory import RunDirectory
from convarium.run.resume import resume_config


@pytest.fixture(scope="module")
def conf() -> Conf:
    return Conf()


def refused(conf: Conf, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        conf.compose(overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("seed=" + "9" * 5000, r"^seed=9+\.\.\.: a number of too many digits$"),
        ("~seed=" + "9" * 5000, r"^~seed=9+\.\.\.: a number of too many digits$"),
        ("name=" + 3000 * "[" + 3000 * "]", r"^name=\[+\.\.\.: brackets nested too deep$"),
        ("+" + "a" * 3000 + "=1", r"^\+a+\.\.\.: no such key; the longest have 200 characters$"),
        ("norm=" + "x/" * 3000, r"^norm=x\S+: not an answer\. One of: "),
        ("norm=[[1]]", r"^norm=\[\[1\]\]: not an answer\. One of: "),
        ("logger=[0.5]", r"^logger=\[0\.5\]: not an answer\. One of: "),
        ("trainer=[]", r"^trainer=\[\]: trainer has one answer\. One of: "),
    ],
    ids=lambda value: value[:12],
)
def test_a_word_that_hydra_fails_at_is_refused_in_one_line(word: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Conf().compose([word])


def test_a_list_of_one_answer_is_that_answer(conf: Conf) -> None:
    plain = {"arch": "mlp", "data": "digits", "norm": "batch", "augment": "flip", "logger": "tensorboard"}
    listed = conf.compose([f"{group}=[{name}]" for group, name in plain.items()])
    assert listed.config == conf.compose([f"{group}={name}" for group, name in plain.items()]).config
    assert listed.config["name"] == "mlp-digits-batch-flip"


def test_a_long_value_of_hydras_own_is_no_answer(conf: Conf) -> None:
    assert conf.compose(["hydra.job.name=" + 210 * "x"]).config == conf.compose([]).config


def test_the_defaults_compose_to_a_plain_resolved_config(conf: Conf) -> None:
    composed = conf.compose([])
    assert composed.config["name"] == "lenet5-digits"
    assert composed.config["data"]["batch_size"] == composed.config["batch_size"]
    assert type(composed.config["arch"]) is dict
    assert "hydra" not in composed.config
    assert composed.choices["arch"] == "lenet5"
    assert composed.choices["callbacks"] == ["checkpoint", "progress", "throughput", "figures", "gradient_flow"]


def test_torch_is_not_imported_by_composing_and_checking() -> None:
    code = (
        "import sys, convarium, convarium.cli, convarium.run.resume\n"
        "import hydra_plugins.convarium.sweeping, convarium.sweep.hydra_launch, convarium.sweep.resume\n"
        "from convarium.config.compose import compose\n"
        "compose(['arch=resnet20', 'norm=batch', 'recipe=lenet5_mnist'])\n"
        "print([name for name in ('torch', 'lightning', 'numpy', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_composing_here_equals_composing_by_hydra(conf: Conf) -> None:
    """The merged groups are cached and the values applied to a copy: Hydra's own way gives the same."""
    from hydra.types import RunMode

    words = ["arch=resnet20", "optimizer.lr=0.3", "+callbacks=progress", "seed=7", "logger=[wandb,tensorboard]"]
    for _ in range(2):  # the second time from the cache
        ours = conf.merge(words)
    theirs = conf.loader.load_configuration("train", words, RunMode.RUN)
    ours_plain, theirs_plain = OmegaConf.to_container(ours), OmegaConf.to_container(theirs)
    assert isinstance(ours_plain, dict)
    assert isinstance(theirs_plain, dict)
    assert ours_plain["hydra"]["runtime"]["choices"] == theirs_plain["hydra"]["runtime"]["choices"]
    assert ours_plain | {"hydra": None} == theirs_plain | {"hydra": None}


@pytest.mark.parametrize(
    ("word", "near", "among"),
    [
        ("norm=bach", "'batch'", "One of: batch, group"),
        ("optimizer.lrr=1", "'lr'", "Accepted: lr, betas"),
        ("lr=1", "optimizer.lr", "lr"),
        ("max_epoch=3", "'trainer.max_epochs'", "max_epoch"),
        ("optimiser=adam", "'optimizer'", "optimiser"),
        ("+optimizer.momentun=1", "", "Accepted: lr"),
        ("callbacks=[progress,figurs]", "'figures'", "One of: activations, checkpoint"),
        ("lenet5", "arch=lenet5", "key=value"),
    ],
)
def test_a_misspelling_is_answered_with_the_nearest_spelling(conf: Conf, word: str, near: str, among: str) -> None:
    line = refused(conf, word)
    assert near in line
    assert among in line


def test_a_key_of_an_entry_that_is_not_chosen_says_how_to_add_it(conf: Conf) -> None:
    assert "add logger=wandb" in refused(conf, "logger.wandb.project=x")
    assert "add +callbacks=figures" in refused(conf, "callbacks=[checkpoint,progress]", "callbacks.figures.worst=3")


@pytest.mark.parametrize(
    ("word", "wanted", "got"),
    [
        ("seed=abc", "int", "str"),
        ("seed=true", "int", "bool"),
        ("seed=1.5", "int", "float"),
        ("optimizer.lr=fast", "float", "str"),
        ("optimizer.lr=null", "float", "null"),
        ("optimizer.betas=0.9", "list", "float"),
        ("optimizer.betas=[0.9,x]", "float", "x"),
        ("optimizer.fused=1", "bool", "int"),
    ],
)
def test_a_value_keeps_the_type_its_yaml_has(conf: Conf, word: str, wanted: str, got: str) -> None:
    line = refused(conf, word)
    assert f"expected {wanted}" in line
    assert f", got {got}" in line


def test_keys_are_compared_both_ways(conf: Conf) -> None:
    assert refused(conf, "~optimizer.lr") == "optimizer.lr: cannot be removed"
    assert refused(conf, "~optimizer") == "optimizer: cannot be removed"
    assert "no such key" in refused(conf, "+foo=1")
    assert "takes no such key" in refused(conf, "+norm.groups=3")
    assert "takes no such key" in refused(conf, "norm={groups: 3}")
    assert "progress" not in conf.compose(["~callbacks.progress"]).config["callbacks"]
    assert conf.compose(["callbacks=[]", "logger=[]"]).config["callbacks"] == {}


def test_an_int_given_for_a_float_is_the_same_experiment_as_the_float(conf: Conf) -> None:
    lr = conf.compose(["optimizer.lr=1"]).config["optimizer"]["lr"]
    assert type(lr) is float
    limit = conf.compose(["trainer.limit_train_batches=1"]).config["trainer"]["limit_train_batches"]
    assert type(limit) is int  # one batch, where 1.0 is all of them


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="$,"), min_size=1)


@settings(max_examples=30, deadline=None)
@given(lr=st.floats(0, 1e6, width=32, allow_subnormal=False), seed=st.integers(0, 2**31), name=TEXT)
def test_values_come_back_as_they_were_written(conf: Conf, lr: float, seed: int, name: str) -> None:
    config = conf.compose([f"optimizer.lr={lr!r}", f"seed={seed}", f"run_dir=/{name}"]).config
    assert config["optimizer"]["lr"] == lr
    assert config["seed"] == seed
    assert config["run_dir"] == os.path.abspath(f"/{name}")


@pytest.mark.parametrize("folder", ["my runs/a=b", "größe/ü", "a#b", "~x", "(a)", "2024", "it's", "null=x", "tab\tin"])
def test_paths_with_spaces_equals_signs_and_unicode_are_read(conf: Conf, folder: str) -> None:
    config = conf.compose([f"run_dir={folder}"]).config
    assert config["run_dir"] == os.path.abspath(os.path.expanduser(folder))


def test_paths_become_absolute_once(conf: Conf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = conf.compose(["data=mnist", "data.root=somewhere/data", "run_dir=out"]).config
    assert config["data"]["root"] == str(tmp_path / "somewhere/data")
    assert config["run_dir"] == str(tmp_path / "out")


def test_the_file_that_an_init_takes_is_absolute_wherever_it_is_written(conf: Conf, own_directory: Path) -> None:
    Path("a.safetensors").touch()
    config = conf.compose(["arch=vgg16", "init=recipe/vgg_from_a_2014", "init.weights=a.safetensors"]).config
    inits = (config["init"], config["parts"]["init"], config["arch"]["parts"]["init"])
    assert [init["weights"] for init in inits] == [str(own_directory / "a.safetensors")] * 3


def test_what_hydra_reads_as_it_stands_is_not_quoted() -> None:
    words = [
        "optimizer.lr=0.1",
        "callbacks=[progress,figures]",
        "arch=a,b",
        "~optimizer.lr",
        "seed=range(1,4)",
        "x='a b'",
    ]
    assert readable(words) == words


def test_a_recipe_does_not_leak_into_another_optimizer(conf: Conf) -> None:
    recipe = conf.compose(["recipe=lenet5_mnist"]).config["optimizer"]
    assert (recipe["lr"], recipe["weight_decay"]) == (0.002, 0.1)
    plain = conf.compose(["optimizer=adam"]).config["optimizer"]
    assert conf.compose(["recipe=lenet5_mnist", "optimizer=adam"]).config["optimizer"] == plain
    assert conf.compose(["recipe=lenet5_mnist", "optimizer.lr=0.2"]).config["optimizer"]["lr"] == 0.2


def test_a_recipe_that_writes_a_key_its_group_lacks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "stray.yaml").write_text("# @package _global_\noptimizer: {momentum: 0.9}\n")
    line = refused(Conf(str(tmp_path)), "recipe=stray", "optimizer=adamw")
    assert line.startswith("optimizer.momentum: no such key in optimizer=adamw")


def test_a_word_that_yaml_takes_for_a_truth_value_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "recipe").mkdir()
    written = "# @package _global_\ndefaults:\n  - override /loss: mse\nloss:\n  {}: probabilities\n"
    (tmp_path / "recipe" / "bare.yaml").write_text(written.format("on"))
    (tmp_path / "recipe" / "quoted.yaml").write_text(written.format("'on'"))
    conf = Conf(str(tmp_path))
    assert refused(conf, "recipe=bare").endswith("write it in quotes: 'on'")
    assert conf.compose(["recipe=quoted"]).config["loss"]["on"] == "probabilities"


def test_an_architecture_is_one_python_file_and_one_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusting: Callable[[str], None]
) -> None:
    (tmp_path / "conf" / "arch").mkdir(parents=True)
    (tmp_path / "conf" / "arch" / "mine.yaml").write_text(
        "# Mine\n_target_: mylab_nets.Mine\nin_channels: ${data.channels}\nnum_classes: ${data.num_classes}\nwidth: 4\n"
    )
    (tmp_path / "mylab_nets.py").write_text(
        "from torch import nn\n"
        "class Mine(nn.Sequential):\n"
        "    def __init__(self, *, in_channels, num_classes, width):\n"
        "        super().__init__(nn.Conv2d(in_channels, width, 3), nn.Flatten(), nn.LazyLinear(num_classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="CONVARIUM_TRUST"):
        compose(["arch=mine"], str(tmp_path / "conf"))
    trusting("mylab_nets")
    config = compose(["arch=mine", "arch.width=5"], str(tmp_path / "conf")).config
    assert build(config["arch"], "arch")[0].out_channels == 5


@pytest.fixture
def run(conf: Conf, tmp_path: Path) -> RunDirectory:
    """A run directory as a run of three epochs leaves it, without checkpoints."""
    overrides = ["trainer.max_epochs=3", "optimizer.lr=0.01"]
    path = tmp_path / "run"
    path.mkdir()
    directory = RunDirectory(path)
    directory.save_config(conf.compose(overrides).config, overrides)
    return directory


def test_a_run_resumed_without_overrides_has_its_own_config(run: RunDirectory) -> None:
    config, _, changed = resume_config(run.path, [])
    assert config == {**run.config(), "run_dir": str(run.path)}
    assert changed == []


def test_devices_logger_callbacks_and_a_longer_training_may_change(run: RunDirectory) -> None:
    words = ["trainer.devices=2", "trainer.max_epochs=5", "logger=tensorboard", "callbacks=[checkpoint]"]
    config, _, changed = resume_config(run.path, words)
    assert config["trainer"]["devices"] == 2
    assert config["trainer"]["max_epochs"] == 5
    assert list(config["logger"]) == ["tensorboard"]
    assert list(config["callbacks"]) == ["checkpoint"]
    assert config["optimizer"]["lr"] == 0.01
    assert "trainer.max_epochs: 3 -> 5" in changed
    assert resume_config(run.path, ["logger=none"])[0]["logger"] == {}


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("optimizer.lr=0.02", "optimizer.lr=0.02: cannot change on resume, the run has 0.01"),
        ("trainer.max_epochs=2", "trainer.max_epochs=2: cannot become less on resume, the run has 3"),
        ("seed=2", "seed=2: cannot change on resume, the run has 1"),
        ("run_dir=elsewhere", "run_dir=elsewhere: a run goes on in its own folder; leave it out"),
    ],
)
def test_another_change_is_refused_with_both_values(run: RunDirectory, word: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resume_config(run.path, [word])
    assert str(caught.value) == line


def test_a_changed_group_is_refused_and_the_same_one_is_not(run: RunDirectory) -> None:
    with pytest.raises(ConfigError, match="cannot change on resume"):
        resume_config(run.path, ["optimizer=sgd"])
    assert resume_config(run.path, ["optimizer=adamw"])[2] == []


def test_a_value_named_now_is_compared_with_the_run_and_not_with_todays_yaml(run: RunDirectory) -> None:
    config = run.config()
    config["clip"]["max_norm"] = 5.0  # as an older yaml had it
    run.save_config(config, ["trainer.max_epochs=3", "optimizer.lr=0.01"])
    assert resume_config(run.path, ["trainer.devices=2"])[0]["clip"]["max_norm"] == 5.0
    with pytest.raises(ConfigError, match=r"clip.max_norm=1.0: cannot change on resume, the run has 5.0"):
        resume_config(run.path, ["clip.max_norm=1.0"])


def test_a_run_on_a_folder_resumes_from_another_current_folder(
    conf: Conf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my photos" / "cat").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "my photos" / "cat" / "1.png")
    overrides = ["data=folder", "data.root=my photos", "batch_size=1"]
    run = RunDirectory(tmp_path / "run")
    run.make(conf.compose(overrides).config, overrides)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    config, _, changed = resume_config(run.path, ["trainer.max_epochs=40"])
    assert config["data"]["root"] == str(tmp_path / "my photos")
    assert changed == ["trainer.max_epochs: 30 -> 40"]


def test_what_is_no_run_is_refused(run: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such run"):
        resume_config(tmp_path / "missing", [])
    with pytest.raises(RunError, match="not a run directory"):
        resume_config(tmp_path, [])
    run.config_file.write_text("a: [1")
    with pytest.raises(RunError, match="cannot be read"):
        resume_config(run.path, [])
    run.config_file.write_text("arch: {}\ndata: {}\n")
    with pytest.raises(RunError, match="lacks"):
        resume_config(run.path, [])


@pytest.mark.parametrize("word", ["+hydra.job.env_set.CONVARIUM_TRUST=os", "hydra.job.env_copy=[HOME]"])
def test_no_config_changes_the_environment(conf: Conf, word: str) -> None:
    with pytest.raises(ConfigError, match=r"^hydra\.job\.env_(set|copy): not accepted"):
        conf.compose([word])


def test_a_list_may_take_the_place_of_one_that_is_interpolated(conf: Conf) -> None:
    assert conf.compose(["augment=cutout", "augment.erase.value=[0.3]"]).config["augment"]["erase"]["value"] == [0.3]
    with pytest.raises(ConfigError, match=r"^augment\.erase\.value="):
        conf.compose(["augment=cutout", "augment.erase.value=[grey]"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["loss=mse,brier", "loss.on=probabilities"], ["loss=mse,brier", "loss.on=choice(probabilities)"]),
        (["study=loss", "init.std=0.5"], ["study=loss", "init.std=choice(0.5)"]),  # the study has init=normal
        (["optimizer=sgd,adamw", "optimizer.lr=0.1"], None),  # the defaults have it
        (["optimizer=sgd", "optimizer.momentum=0.5", "seed=1,2"], None),
        (["study=loss", "trainer.max_epochs=1", "seed=1"], None),
    ],
)
def test_what_only_some_points_of_a_sweep_have_is_an_axis_of_one_value(
    words: list[str], expected: list[str] | None
) -> None:
    assert Conf().below_what_is_swept(words) == (expected or words)


def test_what_no_point_of_a_sweep_has_is_said_without_composing_its_values() -> None:
    conf, words = Conf(), ["loss=mse,brier", "loss.onn=x"]
    with (
        pytest.raises(ConfigError, match=r"^loss\.onn: no such key in loss=mse; did you mean 'on'"),
        conf.explained(words),
    ):
        conf.loader.load_configuration("train", words, RunMode.MULTIRUN)
