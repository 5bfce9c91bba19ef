"""What the Tab key completes: asked of a real bash, and of the verb."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from convarium import cli
from convarium.commands.completion import candidates

PROGRAM = Path(sys.executable).with_name("convarium")
PRESSED = """
eval "$({program} completion bash)"
line={line!r}
IFS=' ' read -ra COMP_WORDS <<< "${{line//=/ = }}"
COMP_WORDS[0]={program}
COMP_LINE=$line COMP_POINT=${{#line}} COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
COMP_WORDBREAKS=$' \\t\\n"><=;|&(:'
_convarium
printf '%s|' "${{COMPREPLY[@]}}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("line", "becomes"),
    [
        ("convarium train arch=resnet5", "resnet50 |resnet56 |"),
        ("convarium train optimizer=sgd optimizer.mom", "optimizer.momentum=|"),
        ("convarium data sh", "show |"),
    ],
)
def test_bash_completes_at_the_tab_key(line: str, becomes: str) -> None:
    script = PRESSED.format(program=PROGRAM, line=line)
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == (becomes, "")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("convarium ", sorted({verb.split()[0] for verb in cli.VERBS})),
        ("", sorted({verb.split()[0] for verb in cli.VERBS})),
        ("convarium data ", ["check", "fetch", "pack", "show"]),
        ("convarium train op", ["optimizer=", "optimizer."]),
        ("convarium train arch=lenet", ["arch=lenet5", "arch=lenet5_1998"]),
        ("convarium train optimizer=recipe/v", ["optimizer=recipe/vgg_2014"]),
        ("convarium train -m arch=vgg16,resnet5", ["arch=vgg16,resnet50", "arch=vgg16,resnet56"]),
        ("convarium train augment=[flip,cut", ["augment=[flip,cutmix", "augment=[flip,cutout"]),
        ("convarium train -m arch=vgg16,vgg19 clip=adaptive clip.", ["clip.factor=", "clip.eps="]),
        ("convarium train norm=bacth norm.mo clip.max", ["clip.max_norm="]),  # those of the defaults
        ("convarium train augment=mixup augment.mix.al", ["augment.mix.alpha="]),
        ("convarium train test.dense=", ["test.dense=true", "test.dense=false"]),
        ("convarium train decay=", ["decay=weights", "decay=all"]),
        ("convarium train --cfg ", ["job", "hydra", "all"]),
        ("convarium evaluate runs/a split=", ["split=test", "split=val"]),
        ("convarium evaluate data.test_", ["data.test_size="]),
        ("convarium evaluate trainer.d", ["trainer.devices=", "trainer.deterministic="]),
        ("convarium evaluate trainer.max", []),  # has a part in training only
        ("convarium evaluate trainer.detect_anomaly=", []),
        *((f"convarium evaluate {word}", []) for word in ("optim", "init", "drop")),  # no keys of an evaluation
        ("convarium data fetch cifar", ["cifar10", "cifar100"]),
        ("convarium anatomy arch=vgg16,resnet5", ["arch=vgg16,resnet50", "arch=vgg16,resnet56"]),
        ("convarium anatomy eff", ["effective="]),
        ("convarium list trainer.max_e", ["trainer.max_epochs"]),
        ("convarium completion f", ["fish"]),
        ("convarium nonsense ", []),
    ],
)
def test_a_word_becomes_what_may_stand_there(line: str, offered: list[str]) -> None:
    assert [word for word in candidates(line) if not word.startswith("-")] == offered


def test_every_verb_is_completed() -> None:
    assert {verb.split()[0] for verb in cli.VERBS} == {word for word in candidates("convarium ") if word[0] != "-"}
    for verb in cli.VERBS:
        assert "--help" in candidates(f"convarium {verb} --")


def test_a_folder_of_configs_is_completed_too(tmp_path: Path) -> None:
    (tmp_path / "mine" / "optimizer").mkdir(parents=True)
    (tmp_path / "mine" / "optimizer" / "quick.yaml").write_text("# Mine\ndefaults: [sgd, _self_]\nspeed: 7.0\n")
    assert candidates("convarium train --config-dir mine optimizer=quick optimizer.sp") == ["optimizer.speed="]


def test_completion_imports_neither_torch_nor_for_a_group_hydra() -> None:
    code = (
        "import sys; from convarium.commands.completion import candidates;"
        "candidates('convarium train arch=r'); assert 'hydra' not in sys.modules;"
        "candidates('convarium train trainer.'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "for which shell? One of: bash, zsh, fish; usage: convarium completion bash|zsh|fish [LINE]"),
        (("bsh",), "bsh: unknown; did you mean 'bash'? One of: bash, zsh, fish; usage: convarium completion bash"),
    ],
)
def test_another_shell_is_refused(convarium: Callable[..., Any], words: tuple[str, ...], says: str) -> None:
    code, out, err = convarium("completion", *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: {says}")


def test_hydras_own_completion_leads_to_ours(convarium: Callable[..., Any]) -> None:
    code, out, err = convarium("train", "-sc", "install=bash")
    assert (code, out) == (2, "")
    assert err == 'error: --shell-completion: write eval "$(convarium completion bash)", or zsh, or fish\n'
