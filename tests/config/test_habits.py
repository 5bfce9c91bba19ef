"""What people type from habit is answered by what it is called here."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from convarium.cli import VERBS, find_verb
from convarium.config.catalog import groups, members
from convarium.config.compose import Conf, compose
from convarium.config.habits import ANSWERS, KEYS, WORDS, undashed
from convarium.config.habits import VERBS as VERBS_ELSEWHERE
from convarium.config.keys import row
from convarium.errors import ConfigError


@pytest.mark.parametrize("key", sorted({*KEYS.values()}))
def test_a_key_that_is_named_is_one_of_ours(key: str) -> None:
    assert key in groups() or row(key) is not None


@pytest.mark.parametrize("text", sorted({*WORDS.values()}))
def test_what_is_to_be_written_instead_begins_with_a_key_of_ours(text: str) -> None:
    for key in re.findall(r"([a-z][\w.]*)=", text.replace("+experiment=", "")):
        assert key in (*groups(), "recipe", "weights") or row(key) is not None, key


@pytest.mark.parametrize(("group", "habit"), [(group, habit) for group, names in ANSWERS.items() for habit in names])
def test_a_group_s_answer_elsewhere_leads_to_ours(group: str, habit: str) -> None:
    assert habit not in members(group)
    assert ANSWERS[group][habit] in members(group)
    with pytest.raises(ConfigError) as refused:
        compose([f"{group}={habit}"])
    assert re.match(
        f"{group}={habit}: (unknown|not an answer); did you mean '{ANSWERS[group][habit]}'", str(refused.value)
    )


@pytest.fixture(scope="module")
def conf() -> Conf:
    return Conf()


@pytest.mark.parametrize("key", sorted({*KEYS, *WORDS} - {"data.batch_size", "arch.pretrained"}))
def test_a_key_from_elsewhere_is_answered_in_one_line(conf: Conf, key: str) -> None:
    answer = WORDS.get(key) or f"{KEYS[key]}=..."
    with pytest.raises(ConfigError) as refused:
        conf.compose([f"{key}=1"])
    assert str(refused.value) == f"{key}: is called otherwise here; write {answer}"


@pytest.mark.parametrize(
    ("word", "means"),
    [
        ("--lr=0.1", "optimizer.lr=0.1"),
        ("--optimizer.lr=0.1", "optimizer.lr=0.1"),
        ("--batch-size=64", "batch_size=64"),
        ("--learning-rate=1e-3", "optimizer.lr=1e-3"),
        ("--config-dir=mine", "--config-dir=mine"),
        ("--multirun", "--multirun"),
        ("-m", "-m"),
        ("seed=1", "seed=1"),
    ],
)
def test_a_dashed_word_of_an_agent_is_a_key_and_a_value(word: str, means: str) -> None:
    assert undashed(word) == means


@pytest.mark.parametrize(("verb", "ours"), VERBS_ELSEWHERE.items())
def test_a_verb_from_elsewhere_leads_to_ours(verb: str, ours: str) -> None:
    assert ours.split()[0] in VERBS
    with pytest.raises(ConfigError, match=f"{verb}: unknown verb; did you mean '{ours}'"):
        find_verb([verb, "x"])


# what was typed, what is said
WORDS_TYPED = {
    "pretrained=true": "write weights=torchvision:NAME, weights=FILE or weights=RUN",
    "learning_rate=0.1": "learning_rate: is called otherwise here; write optimizer.lr=...",
    "num_workers=4": "write data.num_workers=N, of data=folder and others of image files: threads that decode",
    "data.num_workers=4": "data.num_workers: no such key in data=digits; brought by data=folder or",
    "data=/mine/photos": "data=/mine/photos: an answer is a name, not a path; write data=folder data.root=/mine/photos",
    "data=somewhere/mnist": "data=somewhere/mnist: unknown; did you mean 'mnist'? One of: cifar10,",
    "arch=./mynet.py": "arch=./mynet.py: an answer is a name, not a path; write arch=NAME; docs/architecture.md",
    "arch=conf/arch/resnet18.yaml": "unknown; did you mean 'resnet18'?",
    "norm=../batch": "norm=../batch: unknown; did you mean 'batch'? One of: batch,",
    "data.root=photos": "data.root: no such key in data=digits; write data=folder data.root=FOLDER. Accepted:",
    "optimizer.momentum=0.9": "optimizer.momentum: no such key in optimizer=adamw; brought by optimizer=",
    "norm.groups=4": "norm.groups: norm=paper takes no such key; brought by norm=group",
    "data.val_split=0.2": "data.val_split: no such key in data=digits; write data.val_fraction=SHARE.",
    "model.lr=0.1": "model.lr: is called otherwise here; write optimizer.lr=...",
    "model.depth=20": "model.depth: is called otherwise here; write arch.depth=...",
    "backbone=ResNet-18": "backbone: is called otherwise here; write arch=resnet18",
    "opt=adam_w": "opt: is called otherwise here; write optimizer=adamw",
    "~norm": "~norm: cannot be removed; write norm=paper or norm=none",
    "~parts": "~parts: cannot be removed",
    "arch": "arch: not of the form key=value; write arch=..., without spaces around '='",
    "lr": "lr: not of the form key=value; write optimizer.lr=..., without spaces around '='",
    "optimizer.lr=1e-3x": "optimizer.lr=1e-3x: expected float, got str; accepted: at least 0",
    "weights=runs/nope": "weights=runs/nope: no such file; accepted: torchvision:NAME, or",
    "norm=bn": "norm=bn: unknown; did you mean 'batch'?",
    "init=kaiming": "init=kaiming: unknown; did you mean 'he'?",
    "arch=googlenet": "did you mean 'inception_v1'? All ",
    "arch=ResNet-18": "did you mean 'resnet18'?",
    "schedule=CosineAnnealingLR": "did you mean 'cosine'?",
    "trainer.precision=bf16": "trainer.precision: is called otherwise here; write precision=fp32, bf16,",
    "gradient_clip_val=1.0": "write clip=norm clip.max_norm=NUMBER",
    "trainer.gradient_clip_val=1.0": "write clip=norm clip.max_norm=NUMBER",
    "trainer.sync_batchnorm=true": "write norm=sync_batch",
    "trainer.callbacks=[]": "write callbacks=[checkpoint,progress,throughput,figures,gradient_flow], or fewer of them",
    "trainer.default_root_dir=out": "write run_dir=...",
    "trainer.logger=wandb": "write logger=wandb, tensorboard or mlflow",
    "ckpt_path=run/last.ckpt": "ckpt_path: is called otherwise here; write resume=...",
    "profiler=simple": "profiler: is called otherwise here; write trainer.profiler=...",
    "experiment=foo": "write recipe=NAME; a group of your own, of --config-dir, is added by +experiment=NAME",
    "data.batch_size=4": "data.batch_size=4: follows batch_size; set batch_size in its place",
    "callbacks=[early_stopping]": "callbacks=early_stopping: unknown; write stop=early stop.patience=NUMBER.",
    "callbacks.early_stopping.patience=3": "write stop=early stop.patience=NUMBER",
    "logger=tb": "logger=tb: unknown; did you mean 'tensorboard'?",
    "logger.project=mine": "write logger=wandb logger.wandb.project=NAME",
    "wandb=true": "write logger=wandb, tensorboard or mlflow",
    "data=CIFAR-10": "did you mean 'cifar10'?",
    "optimizer.wd=0.1": "optimizer.wd: is called otherwise here; write optimizer.weight_decay=...",
    "warmup_epochs=5": "warmup_epochs: is called otherwise here; write schedule.warmup=...",
    "ema_decay=0.99": "write average=ema average.decay=NUMBER",
    "deterministic=true": "deterministic: no such key; did you mean 'trainer.deterministic'?",
    "print_freq=10": "print_freq: is called otherwise here; write trainer.log_every_n_steps=...",
    "early_stopping=true": "write stop=early stop.patience=NUMBER",
    "seed_everything=1": "seed_everything: is called otherwise here; write seed=...",
    "weights=imagenet": "accepted: torchvision:NAME, or a file .safetensors, .pth, .th, .pt, or the folder of",
    "trainer.devices=-1": 'trainer.devices=-1: out of range; accepted: 1 to 1024, or "auto"',
    "arch=vgg16,resnet50": "several values are a sweep: add -m",
}
RUNS = ("runs/1/c/config.yaml", "runs/2/a/config.yaml", "runs/2/b/config.yaml")
LINES_TYPED = {
    "train model=resnet18": "model: is called otherwise here; write arch=resnet18\n",
    "train precision=16": "precision=16: not an answer; did you mean 'fp16'?",
    "train augment=mixup augment.alpha=0.2": "augment.alpha: no such key; did you mean 'augment.mix.alpha'?",
    "train arch = lenet5": "arch: not of the form key=value; write arch=..., without spaces around '='",
    "train train arch=lenet5": "train: a verb, and these words train; leave it out",
    "train test run": "test: a verb, and these words train; write convarium evaluate run",
    "train --config mine.yaml": "--config: no option here, but a key; write recipe=NAME; a folder of your own yaml",
    "train --config-name foo": "--config-name foo: no such config. One of: train",
    "train resume=last": "resume=last: no run; accepted: the folder of a run; the newest below runs/: resume=runs/2/b",
    "train weights=mine": "weights=mine: no weights.safetensors in this folder; accepted: ",
    "train resnet18": "resnet18: not of the form key=value; did you mean arch=resnet18?",
    "train --epochs 5": "--epochs: no option here, but a key; write trainer.max_epochs=...",
    "train --batch-size 64": "--batch-size: no option here, but a key; write batch_size=...",
    "train --resume run": "--resume: no option here, but a key; write resume=...",
    "train --gpus=2 --lr=x": "optimizer.lr=x: expected float, got str",
    "train run_dir=occupied": "occupied: exists already; a run is never overwritten\n",
    "train --config-dir mine experiment=foo": "experiment: a group of your own, which conf/train.yaml does not have;",
    "fit arch=lenet5": "fit: unknown verb; did you mean 'train'?",
    "sweep arch=vgg16,resnet50": "a sweep begins with: convarium train -m arch=vgg16,resnet50",
    "test run": "test: unknown verb; did you mean 'evaluate'?",
    "evaluate run/checkpoints/best.ckpt": "a file of a run, whose folder is asked for: ",
}


@pytest.mark.parametrize(("word", "says"), WORDS_TYPED.items())
def test_a_word_typed_from_habit_is_answered_in_one_line(conf: Conf, word: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        conf.compose([word])
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("line", "says"), LINES_TYPED.items())
def test_a_line_typed_from_habit_is_answered_in_one_line_with_nothing_made(
    convarium: Callable[..., Any], own_directory: Path, line: str, says: str
) -> None:
    for name in ("occupied", "run/config.yaml", "run/checkpoints/best.ckpt", "mine/experiment/foo.yaml", *RUNS):
        (own_directory / name).parent.mkdir(parents=True, exist_ok=True)
        (own_directory / name).touch()
    before = sorted(own_directory.rglob("*"))
    code, out, err = convarium(*line.split())
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err
    assert sorted(own_directory.rglob("*")) == before


def test_a_group_of_one_s_own_is_added(convarium: Callable[..., Any]) -> None:
    Path("mine/experiment").mkdir(parents=True)
    Path("mine/experiment/foo.yaml").write_text("# @package _global_\nseed: 7\n")
    words = ("train", "--config-dir", "mine", "+experiment=foo", "--cfg", "job", "-p", "seed")
    assert convarium(*words).out == "7\n"
