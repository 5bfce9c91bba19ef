"""What a network, a part or this machine cannot do is refused before anything is made, and all else is not."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from convarium.config.compose import compose
from convarium.config.instantiate import build
from convarium.errors import ConfigError
from convarium.run import preflight as module
from convarium.run.devices import Placement, Preflight, check_precision, place
from convarium.run.preflight import REFUSALS, check_net, without_values
from convarium.run.prepare import prepare
from experiments import config_of

CPU = Placement("cpu", 1, 1)
CONF = Path(__file__).parents[2] / "conf"


def look_at(config: dict[str, Any], placement: Placement) -> tuple[int, int, int]:
    return check_net(without_values(config), config, placement)


def preflight(config: dict[str, Any]) -> Preflight:
    return module.preflight(config, build(config["loss"], "loss"))


BIG = ("arch=lenet5", "data.image_size=32")


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine with two CUDA GPUs."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


# the table of parts ---------------------------------------------------------------------------------------------------

# row of the table -> where it refuses, and the nearest that is not refused
BOTH_WAYS = [
    (0, ["norm=batch", "batch_size=1"], CPU, ["norm=batch", "batch_size=2"], CPU),
    (0, ["norm=batch", "batch_size=2"], Placement("cpu", 2, 1), ["norm=batch", "batch_size=4"], Placement("cpu", 2, 1)),
    (
        0,
        ["norm=batch", "batch_size=4", "trainer.accumulate_grad_batches=4"],
        CPU,
        ["norm=batch", "batch_size=4", "trainer.accumulate_grad_batches=2"],
        CPU,
    ),
    (0, [*BIG, "norm=batch", "batch_size=1"], CPU, ["arch=resnet20", "norm=batch", "batch_size=1"], CPU),
    (1, ["norm=sync_batch"], CPU, ["norm=sync_batch"], Placement("cuda", 2, 1)),
    (1, ["norm=sync_batch"], Placement("mps", 1, 1), ["norm=sync_batch"], Placement("cuda", 1, 1)),
    (
        2,
        ["norm=sync_batch", "batch_size=1"],
        Placement("cuda", 1, 1),
        ["norm=sync_batch", "batch_size=2"],
        Placement("cuda", 2, 1),
    ),
    (3, ["norm=instance"], CPU, ["arch=resnet20", "norm=instance"], CPU),
    (3, [*BIG, "norm=instance"], CPU, ["arch=lenet5", "data.image_size=36", "norm=instance"], CPU),
    (4, ["norm=group"], CPU, ["norm=group", "norm.groups=8"], CPU),
    (4, ["norm=group", "norm.groups=64", "arch.hidden=[64]"], CPU, ["norm=group", "arch.hidden=[64]"], CPU),
    (4, ["norm=layer", "arch.hidden=[1]"], CPU, ["norm=layer", "arch.hidden=[2]"], CPU),
]


@pytest.mark.parametrize(("row", "cannot", "there", "can", "here"), BOTH_WAYS)
def test_a_part_is_refused_where_it_cannot_be_and_nowhere_else(
    row: int, cannot: list[str], there: Placement, can: list[str], here: Placement
) -> None:
    with pytest.raises(ConfigError) as caught:
        look_at(config_of(*cannot), there)
    norm = next(word.removeprefix("norm=") for word in cannot if word.startswith("norm="))
    message = str(caught.value)
    assert re.match(rf"norm={norm}: at [\w.]+, \d+x\d+ maps and \d+ images? per device, it ", message)
    assert message.endswith(f"it {REFUSALS[row].why}; accepted: {REFUSALS[row].accepted}")
    look_at(config_of(*can), here)


def test_every_row_of_the_table_is_tried() -> None:
    assert {row for row, *_ in BOTH_WAYS} == set(range(len(REFUSALS)))


@pytest.mark.parametrize(
    ("words", "note"),
    [
        (["norm=group"], "13 of 19 group norms are instance norms: norm.channels_per_group=1"),
        (["norm=group", "norm.groups=16"], "7 of 19 group norms are instance norms: norm.channels_per_group=1"),
        (["norm=group", "norm.channels_per_group=2"], ""),
        (["norm=layer"], ""),
        (["batch_size=1"], "one image at a time: batch norm is instance norm in training"),
        (
            ["batch_size=2", "trainer.accumulate_grad_batches=2"],
            "one image at a time: batch norm is instance norm in training",
        ),
        (["batch_size=2"], ""),
        (["batch_size=1", "norm=none"], ""),
    ],
)
def test_a_norm_that_is_instance_norm_under_another_name_is_noted(words: list[str], note: str) -> None:
    found = preflight(config_of("arch=resnet20", "data.image_size=16", *words)).notes
    assert found == ((note,) if note else ())


def test_the_parameters_of_auxiliary_heads_are_noted() -> None:
    words = ("arch=inception_v3", "data.channels=3", "data.image_size=299", "data.num_classes=1000")
    assert preflight(config_of(*words)).notes == (
        "3,326,696 of the parameters are in auxiliary heads, in training only",
    )
    assert preflight(config_of(*words, "arch.aux_heads=false")).notes == ()


@pytest.mark.parametrize("norm", sorted(path.stem for path in (CONF / "norm").glob("*.yaml")))
def test_every_normalization_is_taken_by_a_network_of_convolutions(norm: str) -> None:
    at = Placement("cuda", 1, 1) if norm == "sync_batch" else CPU
    check_net(
        without_values(config_of("arch=resnet20", "data.image_size=16", f"norm={norm}")),
        config_of("arch=resnet20", "data.image_size=16", f"norm={norm}"),
        at,
    )


def a_network(own_directory: Path, monkeypatch: pytest.MonkeyPatch, name: str, layers: str) -> str:
    """The override that trains a network of one's own, in a module of one's own."""
    (own_directory / f"{name}.py").write_text(
        "from torch import nn\n"
        "class Mine(nn.Sequential):\n"
        "    def __init__(self, in_channels, num_classes, image_size, parts, hidden):\n"
        f"        super().__init__({layers})\n"
    )
    monkeypatch.syspath_prepend(own_directory)
    monkeypatch.setenv("CONVARIUM_TRUST", name)
    return f"arch._target_={name}.Mine"


def test_dropout_without_a_place_is_refused(own_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = a_network(own_directory, monkeypatch, "placeless", "nn.Flatten(), nn.Linear(64, 10)")
    with pytest.raises(ConfigError, match=r"^dropout=0.5: arch=mlp has no place for it; accepted: null$"):
        preflight(config_of(mine, "dropout=0.5"))
    preflight(config_of("dropout=0.5"))
    preflight(config_of(mine, "dropout=0"))


LAST = ("data.train_size=640", "data.drop_last=false", "norm=batch")  # 512 to train on


@pytest.mark.parametrize(
    ("words", "images"),
    [
        (["batch_size=7"], 1),
        (["batch_size=73"], 1),
        ([*BIG, "batch_size=7"], 1),
        (["batch_size=30", "trainer.accumulate_grad_batches=2"], 2),
        (["batch_size=102", "trainer.accumulate_grad_batches=2"], 2),
    ],
)
def test_a_last_batch_of_one_value_per_channel_is_refused_before_the_run(words: list[str], images: int) -> None:
    size = next(word for word in words if word.startswith("batch_size"))
    with pytest.raises(ConfigError) as caught:
        prepare(config_of(*LAST, *words))
    message = str(caught.value)
    assert message.startswith(
        f"{size}: leaves {images} image{'s' * (images > 1)} for the last batch of an epoch; norm="
    )
    assert "1 image per device, it has one value per channel to average over" in message
    assert message.endswith("; accepted: data.drop_last=true or another batch_size")


@pytest.mark.parametrize(
    "words",
    [
        ["batch_size=6"],  # 2 left
        ["batch_size=7", "data.drop_last=true"],
        ["batch_size=7", "norm=layer"],
        ["batch_size=7", "trainer.limit_train_batches=73"],  # the last is never reached
        ["batch_size=7", "trainer.max_steps=20"],
        ["batch_size=7", "arch=resnet20"],
    ],
)
def test_any_other_last_batch_is_taken(words: list[str]) -> None:
    prepare(config_of(*LAST, *words))


# the network and the images -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", ["lenet5", "resnet20", "mlp", "logistic_regression", "vgg16", "resnet50"])
def test_parameters_and_operations_are_those_that_the_yaml_states(arch: str) -> None:
    line = (CONF / "arch" / f"{arch}.yaml").read_text().splitlines()[0].replace(",", "")
    stated = re.search(r"(\d+) parameters at (\d+)x(\d+)x\d+ (\d+) classes (\d+) multiply-adds", line)
    assert stated is not None
    params, channels, size, classes, macs = map(int, stated.groups())
    words = [f"arch={arch}", f"data.channels={channels}", f"data.image_size={size}", f"data.num_classes={classes}"]
    if arch == "mlp":
        words.append("arch.hidden=[300,100]")
    found = preflight(config_of(*words, "data.train_size=1280"))
    assert (found.params, found.macs) == (params, macs)


@pytest.mark.parametrize(
    ("arch", "size", "layer"), [("lenet5", 31, "c5"), ("vgg16", 31, "the last pooling"), ("lenet5", 4, "c5")]
)
def test_an_image_too_small_names_the_layer_that_runs_out(arch: str, size: int, layer: str) -> None:
    with pytest.raises(ConfigError, match=rf"image_size={size}: too small for {layer} of "):
        preflight(config_of(f"arch={arch}", f"data.image_size={size}"))


def test_a_layer_that_nobody_checked_runs_out_by_its_name(own_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = a_network(own_directory, monkeypatch, "shrinking", "nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 7)")
    with pytest.raises(ConfigError, match=r"data.image_size=8: too small for arch=mlp: its layer 1 is left with 6x6"):
        preflight(config_of(mine))


def test_other_channels_than_the_datas_are_refused_at_the_layer_that_gets_them() -> None:
    config = config_of(*BIG)
    config["arch"]["in_channels"] = 3
    says = r"arch=lenet5: does not take 1x32x32 images: layer c1.conv, given 32x32 maps"
    with pytest.raises(ConfigError, match=says):
        preflight(config)


def test_other_classes_than_the_datas_are_refused() -> None:
    config = config_of()
    config["arch"]["num_classes"] = 7
    with pytest.raises(ConfigError, match=r"arch.num_classes=7: data.num_classes=10; they must be equal"):
        preflight(config)


def test_nothing_is_drawn_and_nothing_made(own_directory: Path) -> None:
    before = torch.get_rng_state()
    preflight(config_of(*BIG))
    assert torch.equal(torch.get_rng_state(), before)
    assert list(own_directory.iterdir()) == []


# memory ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            "arch=mlp arch.hidden=[100000000]",
            "arch=mlp: the network, its gradients and optimizer=adamw take at least 4.9 TB",
        ),
        ("arch=mlp arch.hidden=[4000000000,4000000000]", "arch=mlp: Storage size calculation overflowed"),
        ("arch=convnet arch.kernel_size=999", "arch=convnet: the network, .* GB of memory; this machine has"),
        (
            "data.channels=1024 data.image_size=16384 arch=resnet20",
            "batch_size=32: images of 16384 pixels take at least 35.2 TB",
        ),
        (
            "data.train_size=1000000000000",
            "data.train_size=1000000000000: numbers and classes of the images take at least 24",
        ),
        (
            "data.num_classes=1000000 data.image_size=512 arch=resnet20",
            "data.num_classes=1000000: their patterns take at least 3.9",
        ),
    ],
)
def test_what_is_larger_than_the_memory_is_refused_before_it_is_made(
    words: str, says: str, own_directory: Path
) -> None:
    with pytest.raises(ConfigError, match=says):
        prepare(compose(["data=synthetic", *words.split()]).config)
    assert list(own_directory.iterdir()) == []


def test_the_state_of_the_optimizer_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """3.7 GB of weights: SGD without momentum takes twice as much, AdamW four times."""
    words = ["arch=mlp", "arch.hidden=[300000]", "data=synthetic", "trainer.accelerator=cpu"]
    has = 8_000_000_000
    monkeypatch.setattr("convarium.machine.os.sysconf", lambda name: 1 if name == "SC_PAGE_SIZE" else has)
    plain = compose([*words, "optimizer=sgd", "optimizer.momentum=0", "optimizer.nesterov=false"]).config
    assert module.preflight(plain, build(plain["loss"], "loss")).params == 924_900_010
    with pytest.raises(ConfigError, match=r"at least 14\.8 GB"):
        module.preflight(adamw := compose(words).config, build(adamw["loss"], "loss"))


# devices --------------------------------------------------------------------------------------------------------------


def trainer(accelerator: str = "auto", devices: int | str = 1, num_nodes: int = 1) -> dict[str, object]:
    return {"accelerator": accelerator, "devices": devices, "num_nodes": num_nodes}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (trainer(), Placement("cpu", 1, 1)),
        (trainer(devices="auto"), Placement("cpu", 1, 1)),
        (trainer("cpu", 8), Placement("cpu", 8, 1)),
        (trainer("gpu", 8, 2), Placement("cuda", 8, 2)),  # this machine may be none of them
    ],
)
@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_there_is_the_cpu(asked: dict[str, object], found: Placement) -> None:
    assert place(asked) == found


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (trainer(), Placement("cuda", 1, 1)),
        (trainer(devices=2), Placement("cuda", 2, 1)),
        (trainer(devices="auto"), Placement("cuda", 2, 1)),
        (trainer("gpu", "auto"), Placement("cuda", 2, 1)),
        (trainer("cuda", 2), Placement("cuda", 2, 1)),
        (trainer("cpu", 4), Placement("cpu", 4, 1)),
    ],
)
@pytest.mark.usefixtures("gpus")
def test_with_gpus_they_are_taken_unless_the_cpu_is_asked_for(asked: dict[str, object], found: Placement) -> None:
    assert place(asked) == found


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            trainer(devices=4),
            "trainer.devices=4: this machine has no GPUs; for 4 processes on the CPU add trainer.accelerator=cpu",
        ),
        (trainer("gpu"), "trainer.accelerator=gpu: this machine has no GPUs; accepted here: auto, cpu"),
        (trainer("mps"), "trainer.accelerator=mps: this machine has no GPUs; accepted here: auto, cpu"),
        (
            trainer("gpu", "auto", 2),
            "trainer.devices=auto: several machines need a number of devices on each",
        ),
    ],
)
@pytest.mark.usefixtures("no_gpu")
def test_devices_that_are_not_there_are_refused(asked: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        place(asked)
    assert str(caught.value) == message


@pytest.mark.usefixtures("no_gpu")
def test_processes_are_bounded_by_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convarium.run.devices.available_cores", lambda: 2)
    with pytest.raises(ConfigError, match=r"^trainer\.devices=1000: this machine has 2 cores; accepted: up to 16$"):
        place(trainer("cpu", 1000))


@pytest.mark.usefixtures("gpus")
def test_more_devices_than_gpus_propose_the_cpu() -> None:
    with pytest.raises(ConfigError) as caught:
        place(trainer(devices=3))
    assert str(caught.value) == (
        "trainer.devices=3: this machine has 2 GPUs; for 3 processes on the CPU add trainer.accelerator=cpu"
    )


# precision ------------------------------------------------------------------------------------------------------------

FORMATS = {
    "fp32": {"mode": "32-true", "float32_matmul": "highest"},
    "bf16": {"mode": "bf16-mixed", "float32_matmul": "high"},
    "fp16": {"mode": "16-mixed", "float32_matmul": "high"},
    "tf32": {"mode": "32-true", "float32_matmul": "high"},
}


@pytest.mark.parametrize("name", FORMATS)
def test_the_formats_are_those_of_the_yaml_files(name: str) -> None:
    precision = config_of(f"precision={name}")["precision"]
    assert {key: precision[key] for key in FORMATS[name]} == FORMATS[name]


@pytest.mark.parametrize(("name", "kinds"), [("fp32", "cpu mps cuda"), ("bf16", "cpu mps cuda"), ("fp16", "cuda")])
@pytest.mark.parametrize("kind", ["cpu", "mps", "cuda"])
def test_a_format_is_taken_where_the_device_has_it(
    name: str, kinds: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    if kind in kinds.split():
        check_precision(FORMATS[name], Placement(kind, 1, 1))
    else:
        with pytest.raises(ConfigError, match=f"precision={name}: not on {kind}, .*; accepted here: fp32, bf16"):
            check_precision(FORMATS[name], Placement(kind, 1, 1))


@pytest.mark.parametrize(("capability", "bf16", "tf32"), [((7, 0), False, False), ((8, 0), True, True)])
def test_an_old_gpu_has_neither_bfloat16_nor_tf32(
    capability: tuple[int, int], bf16: bool, tf32: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "an old one")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    for name, there in (("fp32", True), ("fp16", True), ("bf16", bf16), ("tf32", tf32)):
        if there:
            check_precision(FORMATS[name], Placement("cuda", 1, 1))
        else:
            with pytest.raises(ConfigError, match=f"precision={name}: an old one cannot; accepted here: fp32, fp16"):
                check_precision(FORMATS[name], Placement("cuda", 1, 1))


def test_the_table_is_read_where_the_network_runs() -> None:
    assert preflight(config_of()) == (CPU, 1210, 8 * 8 * 16 + 16 * 10, (), "")


@pytest.mark.parametrize(
    ("loss", "accepted"), [("cross_entropy", False), ("map", False), ("bce", True), ("hinge", True)]
)
def test_a_loss_that_means_nothing_for_one_logit_is_refused(loss: str, accepted: bool) -> None:
    config = compose(["arch=lenet5", "data=synthetic", "data.num_classes=1", f"loss={loss}"]).config
    if accepted:
        preflight(config)
    else:
        with pytest.raises(ConfigError, match=r"^data.num_classes=1: .*; loss=bce is"):
            preflight(config)


@pytest.mark.parametrize("test", ["test.views=10", "test.dense=true", "test.flip=true"])
@pytest.mark.parametrize(
    ("loss", "accepted"),
    [("cross_entropy", True), ("hinge", True), ("mse", False), ("mse loss.on=probabilities", True)],
)
def test_views_are_for_losses_of_probabilities(test: str, loss: str, accepted: bool) -> None:
    config = compose(["arch=resnet18", "data=imagenet", "data.root=none", *f"loss={loss}".split(), test]).config
    if accepted:
        preflight(config)
    else:
        with pytest.raises(ConfigError, match=rf"^{re.escape(test)}: averages probabilities"):
            preflight(config)


def test_a_metric_of_torchmetrics_is_taken_and_one_of_something_else_refused() -> None:
    config = config_of()
    accuracy = {"_target_": "torchmetrics.classification.MulticlassAUROC", "num_classes": 10}
    preflight({**config, "metrics": {**config["metrics"], "auroc": accuracy}})
    matrix = {"_target_": "torchmetrics.classification.MulticlassConfusionMatrix", "num_classes": 10}
    fewer = {"_target_": "torchmetrics.classification.MulticlassAccuracy", "num_classes": 3}
    ours = {"_target_": "convarium.learn.metrics.MacroF1", "num_classes": 3}
    for metric in (matrix, fewer, ours):
        with pytest.raises(ConfigError, match=r"^metrics.mine: does not measure 10 classes by one number"):
            preflight({**config, "metrics": {"mine": metric}})


def test_losses_for_two_heads_are_for_a_network_of_two() -> None:
    image = ("data=synthetic", "data.image_size=224", "loss=per_head")
    preflight(compose(["arch=inception_v1", *image]).config)
    with pytest.raises(ConfigError, match=r"^loss.heads: 2 losses, but the network has 0 auxiliary classifiers"):
        preflight(compose(["arch=resnet18", *image]).config)


def test_the_keys_of_each_heads_loss_are_checked() -> None:
    loss = "{_target_: convarium.learn.losses.CrossEntropy, label_smoothing: %s}"
    words = ["arch=inception_v1", "data=synthetic", "data.image_size=224", "loss=per_head"]
    compose([*words, f"loss.heads=[{loss % 0.1},{loss % 0.2}]"])
    with pytest.raises(ConfigError, match=r"^loss\.heads\[1\]\.label_smoothing=3\.0: out of range"):
        compose([*words, f"loss.heads=[{loss % 0.1},{loss % 3.0}]"])
    with pytest.raises(ConfigError, match=r"^loss\.main\.label_smoothing=3\.0: out of range"):
        compose([*words, "loss.main.label_smoothing=3.0"])
