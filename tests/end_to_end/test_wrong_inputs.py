"""Wrong inputs at the front door: exit code 2, one line that names the cure, no traceback, nothing left half-made."""

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml
from PIL import Image

from convarium.config.compose import compose
from processes import convarium, run, train

GPUS = torch.cuda.device_count()


def command(name: str, *words: str) -> int:
    """`python train.py WORDS`, or `convarium WORDS`."""
    os.environ.pop("CONVARIUM_DATA", None)
    return train(*words) if name == "train.py" else convarium(*words)


@pytest.fixture(scope="module", autouse=True)
def locks() -> Iterator[None]:
    yield
    for lock in LOCKS:
        lock.close()


# what has to lie in the current folder


def image(path: Path, size: int = 32) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size)).save(path)


def no_classes(cwd: Path) -> None:
    image(cwd / "photos" / "1.png")


def unreadable_image(cwd: Path) -> None:
    image(cwd / "photos" / "train" / "cat" / "1.png")
    image(cwd / "photos" / "train" / "dog" / "1.png")
    (cwd / "photos" / "train" / "dog" / "2.png").write_text("not an image")


def other_classes_in_val(cwd: Path) -> None:
    for split, names in (("train", ("cat", "dog")), ("val", ("cat", "bird"))):
        for name in names:
            image(cwd / "photos" / split / name / "1.png")


def a_foreign_study(cwd: Path) -> None:
    (cwd / "mine" / "study").mkdir(parents=True)
    (cwd / "mine" / "study" / "foreign.yaml").write_text(
        "# @package _global_\nhydra: {callbacks: {x: {_target_: os.system, command: touch owned}}}\n"
    )


def a_file(cwd: Path) -> None:
    (cwd / "occupied").write_text("")


def a_run(cwd: Path) -> None:
    overrides = ["trainer.max_epochs=3"]
    (cwd / "run" / "checkpoints").mkdir(parents=True)
    (cwd / "run" / "config.yaml").write_text(yaml.safe_dump(compose(overrides).config))
    (cwd / "run" / "overrides.yaml").write_text(yaml.safe_dump(overrides))


def a_running_run(cwd: Path) -> None:
    a_run(cwd)
    lock = (cwd / "run" / ".lock").open("a+")
    fcntl.flock(lock, fcntl.LOCK_EX)
    lock.write(str(os.getpid()))
    lock.flush()
    LOCKS.append(lock)


def a_run_with_a_corrupt_config(cwd: Path) -> None:
    a_run(cwd)
    (cwd / "run" / "config.yaml").write_text("arch: [1")


def a_run_with_a_foreign_target(cwd: Path) -> None:
    a_run(cwd)
    text = (cwd / "run" / "config.yaml").read_text().replace("convarium.archs.lenet.LeNet5", "os.system")
    (cwd / "run" / "config.yaml").write_text(text)


def a_run_with_a_corrupt_checkpoint(cwd: Path) -> None:
    a_run(cwd)
    (cwd / "run" / "checkpoints" / "last.ckpt").write_bytes(b"PK\x03\x04 half a file")


def a_run_with_a_foreign_checkpoint(cwd: Path) -> None:
    a_run(cwd)
    torch.save({"state_dict": {"fc.weight": torch.zeros(2)}, "epoch": 3}, cwd / "run" / "checkpoints" / "last.ckpt")


def a_run_with_a_pickled_checkpoint(cwd: Path) -> None:
    a_run(cwd)
    torch.save({"net": Path("/"), "call": os.getcwd}, cwd / "run" / "checkpoints" / "last.ckpt")


LOCKS: list[Any] = []


class Wrong(NamedTuple):
    """A command, what its line must hold, and what lies there before."""

    words: str
    says: str
    before: Callable[[Path], None] | None = None


TRAIN = [
    # names
    Wrong("norm=bach", "norm=bach: unknown; did you mean 'batch'? One of: batch"),
    Wrong("arch=resnet19", "arch=resnet19: unknown; did you mean"),
    Wrong("callbacks=[progress,figurs]", "callbacks=figurs: unknown; did you mean 'figures'?"),
    Wrong("recipe=lenet_mnist", "recipe=lenet_mnist: unknown; did you mean 'lenet5_mnist'?"),
    Wrong("norm=null", "norm=null: not an answer. One of: batch"),
    Wrong("optimizer.lrr=1", "optimizer.lrr: no such key in optimizer=adamw; did you mean 'lr'? Accepted: lr"),
    Wrong("lr=0.1", "lr: is called otherwise here; write optimizer.lr=..."),
    Wrong("+foo=1", "foo: no such key"),
    Wrong("+optimizer.nesterov=true", "optimizer.nesterov: no such key in optimizer=adamw"),
    Wrong("~optimizer.lr", "optimizer.lr: cannot be removed"),
    Wrong(
        "arch=alexnet arch.stem=smal",
        "arch.stem=smal: out of range; accepted: auto or paper or small; did you mean 'small'?",
    ),
    Wrong("arch=resnet18 arch.shortcut=b", "arch.shortcut=b: accepted are none, A, B, C; did you mean 'B'?"),
    Wrong("arch=perceptron norm=batch", "error: norm: a perceptron has one layer"),
    Wrong(
        "data=synthetic data.num_classes=1", "data.num_classes=1: cross-entropy of a softmax over one logit is always 0"
    ),
    Wrong("arch=vgg16 init=recipe/vgg_from_a_2014", "init.weights: must be given; accepted: the weights.safetensors"),
    Wrong("arch=vgg16 init=recipe/vgg_from_a_2014 init.weights=a.safetensors", "a.safetensors: no such file; accepted"),
    Wrong("norm.groups=3", "norm.groups: norm=paper takes no such key"),
    Wrong("augment.policy.magnitude=5", "augment.policy: not chosen; brought by augment=augmix or autoaugment or"),
    Wrong("logger.wandb.project=x", "logger.wandb: 'wandb' is not chosen; add logger=wandb"),
    Wrong("lenet5", "did you mean arch=lenet5?"),
    Wrong("--multirn", "--multirn: unknown option; did you mean '--multirun'?"),
    Wrong("--experimental-rerun x.pickle", "--experimental-rerun: unpickles a file"),
    # types
    Wrong("seed=abc", "seed=abc: expected int, got str"),
    Wrong("batch_size=2.5", "batch_size=2.5: expected int, got float"),
    Wrong("optimizer.betas=[0.9,x]", "expected float in the list, got x"),
    Wrong("optimizer={lr:[1]}", "optimizer.lr=[1]: expected float, got list"),
    # ranges
    Wrong("optimizer.lr=-0.1", "optimizer.lr=-0.1: out of range; accepted: at least 0"),
    Wrong("optimizer.lr=nan", "optimizer.lr=nan: not a finite number"),
    Wrong("clip.max_norm=inf", "clip.max_norm=inf: not a finite number; accepted: above 0"),
    Wrong("trainer.devices=0", 'trainer.devices=0: out of range; accepted: 1 to 1024, or "auto"'),
    Wrong("trainer.max_epochs=-3", "trainer.max_epochs=-3: out of range; accepted: at least 1"),
    Wrong("data.val_fraction=1.0", "data.val_fraction=1.0: out of range; accepted: at least 0 and below 1"),
    Wrong("schedule.warmup=5parsecs", "schedule.warmup=5parsecs: out of range; accepted: a number of epochs"),
    Wrong("test.weights=first", "test.weights=first: out of range; accepted: best or last"),
    # several keys together
    Wrong(
        "batch_size=127 trainer.devices=2", "batch_size=127: does not divide by trainer.devices=2; nearest that does:"
    ),
    Wrong("batch_size=5000", "batch_size=5000: more than the 1350 training images"),
    Wrong("trainer.limit_train_batches=3 trainer.accumulate_grad_batches=2", "nearest that does: 4"),
    Wrong("stop=early trainer.limit_val_batches=0", "stop.monitor=val/acc1: is not measured"),
    Wrong("logger=[wandb,none]", "logger=[wandb,none]: 'none' cannot stand beside others"),
    Wrong("optimizer=[sgd,adam]", "optimizer has one answer; to try several, sweep: -m optimizer=sgd,adam"),
    # sweeps
    Wrong("optimizer.lr=1,2", "several values are a sweep: add -m"),
    Wrong("-m arch=lenet5,resnet19", "arch=resnet19: unknown"),
    Wrong(
        "-m norm=paper,batch batch_size=64,127 trainer=cpu trainer.devices=2", "(job 2 of 4: norm=paper batch_size=127)"
    ),
    Wrong("-m study=none,none", "study: cannot be swept"),
    Wrong("-m seed=1,2 run_dir=out", "run_dir="),
    Wrong("-m arch=lenet5,vgg16 data.image_size=8", "image_size=8: too small for"),
    Wrong("+study=none", "+study=none: write study=none"),
    # what is ours
    Wrong("hydra.run.dir=out", "hydra.run.dir: is set by the platform; write run_dir=FOLDER"),
    Wrong("run_dir=occupied", "exists already", a_file),
    Wrong("run_dir=occupied/run", "cannot be written", a_file),
    # targets
    Wrong("arch._target_=os.system", "arch._target_=os.system: not allowed there; accepted: convarium.archs.*"),
    Wrong("callbacks.progress._target_=subprocess.run", "callbacks.progress._target_=subprocess.run: not allowed"),
    Wrong("optimizer._target_=torch.optim.lr_scheduler.StepLR", "is not a torch.optim.Optimizer"),
    Wrong("+hydra.callbacks.x._target_=os.system", "hydra.callbacks.x: not accepted"),
    Wrong(
        "+hydra.job_logging.handlers.x.class=os.system", "hydra.job_logging.handlers.x.class=os.system: not accepted"
    ),
    Wrong("--config-dir mine study=foreign", "hydra.callbacks.x: not accepted", a_foreign_study),
    Wrong("--config-path mine", "--config-path: would hide our own groups"),
    # data
    Wrong("data=mnist", "convarium data fetch mnist"),
    Wrong("data=folder data.root=nowhere", "nowhere: no such folder"),
    Wrong("data=folder data.root=photos", "no class folders", no_classes),
    Wrong("data=folder data.root=photos batch_size=1", "2.png", unreadable_image),
    Wrong("data=folder data.root=photos batch_size=1", "bird", other_classes_in_val),
    # networks, parts, devices
    Wrong("arch=vgg16 data=synthetic data.image_size=16", "image_size=16: too small for the last pooling of VGG"),
    Wrong("norm=sync_batch", "norm="),
    Wrong("arch=logistic_regression norm=batch", "norm="),
    Wrong("precision=fp16 trainer=cpu", "precision=fp16: not on cpu"),
    Wrong("precision=tf32 trainer=cpu", "precision=tf32: not on cpu"),
    Wrong("trainer.devices=32", f"trainer.devices=32: this machine has {GPUS or 'no'} GPU"),
    Wrong("trainer=mps", "trainer.accelerator=mps: this machine has"),
    # resume
    Wrong("resume=nowhere", "resume=nowhere: no run; accepted: the folder of a run"),
    Wrong("resume=.", "resume=.: no run; accepted"),
    Wrong("resume=run optimizer.lr=0.5", "optimizer.lr=0.5: cannot change on resume, the run has 0.001", a_run),
    Wrong("resume=run trainer.max_epochs=2", "trainer.max_epochs=2: cannot become less", a_run),
    Wrong("resume=run norm=bach", "norm=bach: unknown; did you mean 'batch'?", a_run),
    Wrong("-m resume=run seed=1,2", "goes on with one run; without -m", a_run),
    Wrong("resume=run", "is running", a_running_run),
    Wrong("resume=run", "config.yaml: cannot be read", a_run_with_a_corrupt_config),
    Wrong("resume=run", "arch._target_=os.system: not allowed", a_run_with_a_foreign_target),
    Wrong("resume=run", "last.ckpt", a_run_with_a_corrupt_checkpoint),
    Wrong("resume=run", "last.ckpt", a_run_with_a_foreign_checkpoint),
    Wrong("resume=run", "last.ckpt", a_run_with_a_pickled_checkpoint),
]
VERBS = [
    Wrong("evalute run", "evalute: unknown verb; did you mean 'evaluate'?"),
    Wrong("evaluate", "no run given; usage: convarium evaluate RUN"),
    Wrong("evaluate nowhere", "nowhere: no such run"),
    Wrong("evaluate run", "run:", lambda cwd: (cwd / "run").mkdir()),
    Wrong("predict run", "no images given", a_run),
    Wrong("predict run nothing.png", "nothing.png: no such image", a_run),
    Wrong("export run --fast", "--fast: unknown option. Accepted: --normalize, --help", a_run),
    Wrong("list archs", "archs: unknown group; did you mean 'arch'?"),
    Wrong("data fetch mnits", "mnits: unknown dataset; did you mean 'mnist'?"),
    Wrong("data", "usage: convarium data fetch|check|show|pack"),
    Wrong("data shwo data=mnist", "shwo: unknown; did you mean 'show'?"),
    Wrong("data show data=digits images=0", "images=0: accepted are whole numbers from 1 to 100"),
    Wrong("data show data=digits to=sheet.doc", "to=sheet.doc: accepted are files ending in .png"),
    Wrong("data show data=digits augment=crop_flop", "augment=crop_flop: unknown; did you mean 'crop_flip'?"),
    Wrong("data pack data=digits", "to must be given; usage: convarium data pack"),
    Wrong("data pack data=digits to=packed format=jpg", "format=jpg: unknown; did you mean 'jpeg'?"),
    Wrong("data check nowhere", "nowhere: no such folder or dataset"),
]


def tree(cwd: Path) -> list[str]:
    """Everything below a folder, by name; the files in which processes note who holds a lock aside."""
    return sorted(str(path.relative_to(cwd)) for path in cwd.rglob("*") if path.name != ".lock")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("train.py", wrong) for wrong in TRAIN] + [("convarium", wrong) for wrong in VERBS],
    ids=lambda value: value if isinstance(value, str) else value.words.replace("/", "|"),
)
def test_a_wrong_input_ends_in_one_line(tmp_path: Path, name: str, wrong: Wrong) -> None:
    if wrong.before is not None:
        wrong.before(tmp_path)
    before = tree(tmp_path)
    printed, errors = Path(f"{tmp_path}.out"), Path(f"{tmp_path}.err")
    code = run(command, name, *wrong.words.split(" "), log=printed, errors=errors)
    said = errors.read_text()
    assert code == 2, said
    assert said.startswith("error: ")
    assert said.count("\n") == 1, said
    assert wrong.says in said
    assert "Traceback" not in printed.read_text()
    assert tree(tmp_path) == before
