"""The table of keys: what each accepts, that each has a row, and which part it has."""

import re

import pytest
import yaml

from convarium.config.accepts import has_type
from convarium.config.catalog import conf_dir
from convarium.config.compose import Conf
from convarium.config.keys import DERIVED, KEYS, ROWS, accepted, has_part, leaves, row
from convarium.config.targets import RULES
from convarium.errors import ConfigError


@pytest.fixture(scope="module")
def conf() -> Conf:
    return Conf()


@pytest.mark.parametrize(
    "word",
    [
        "optimizer.lr=-0.1",
        "optimizer.lr=nan",
        "optimizer.lr=inf",
        "optimizer.weight_decay=-1",
        "optimizer.betas=[0.9,1.0]",
        "optimizer.eps=0",
        "clip.max_norm=0",
        "schedule.final=1.5",
        "schedule.warmup=soon",
        "average=ema average.decay=1.0",
        "average=ema average.warmup=0.5",
        "average=polyak average.start=late",
        "clip.max_norm=nan",
        "schedule=step schedule.gamma=0",
        "schedule=step schedule.every=0",
        "schedule=multistep schedule.milestones=[0]",
        "schedule=multistep schedule.gamma=1.5",
        "schedule=polynomial schedule.power=0",
        "schedule=onecycle schedule.start=0",
        "schedule=plateau schedule.mode=best",
        "schedule=plateau schedule.patience=-1",
        "schedule=plateau schedule.threshold=2.0",
        "loss.aux_weight=-0.1",
        "loss=hinge loss.margin=0",
        "loss=hinge loss.power=3",
        "loss=map loss.rubbish_distance=0",
        "optimizer=lars optimizer.trust=nan",
        "optimizer=rmsprop_tf optimizer.alpha=1.0",
        "optimizer=muon optimizer.newton_schulz_steps=0",
        "optimizer=muon optimizer.newton_schulz_steps=1000000000",
        "optimizer.betas=[0.9]",
        "optimizer.betas=[0.9,0.99,0.999]",
        "threads=5000",
        "trainer.devices=5000",
        "trainer.num_nodes=1000000",
        "trainer.max_time=00:00:00:00",
        "trainer.max_time=99999999999:00:00:00",
        "data.num_classes=10000000000",
        "data.channels=100000",
        "data.image_size=100000000000",
        "arch=convnet arch.kernel_size=100000",
        "stop=early stop.patience=0",
        "test.dense=true test.scales=[1000000]",
        "sweep.jobs=1000000",
        "sweep.timeout=1e30",
        "data=folder data.num_classes=2 data.image_size=8 data.classes=[a,b] data.num_workers=100000",
        "callbacks.figures.worst=100000",
        "callbacks.figures.dpi=100000",
        "callbacks.progress.refresh_seconds=1e30",
        "norm=lrn norm.n=2147483647",
        "augment=vgg augment.crop.shorter=[256,1000000]",
        "optimizer.betas=null",
        "optimizer.betas=[]",
        "arch=mlp arch.hidden=[]",
        "schedule=multistep schedule.milestones=[]",
        "seed=null",
        "seed={}",
        "norm={}",
        "seed=[1]",
        "optimizer=muon optimizer.adamw_betas=[0.9,1.0]",
        "augment=crop_flip augment.crop.pad=-1",
        "augment=crop_flip augment.crop.mirror=sometimes",
        "augment=random_resized_crop augment.crop.scale=[0.5,0.1]",
        "augment=random_resized_crop augment.crop.scale=[0.5]",
        "augment=random_resized_crop augment.crop.ratio=[0.0,1.0]",
        "augment=random_erasing augment.erase.p=2.0",
        "augment=random_erasing augment.erase.value=grey",
        "augment=mixup augment.mix.alpha=0",
        "augment=mixup augment.mix.alpha=1e-31",
        "optimizer.eps=1e-50",
        "optimizer=muon optimizer.adamw_eps=1e-31",
        "norm=lrn norm.k=0",
        "norm=lrn norm.alpha=-1",
        "norm=lrn norm.beta=2.1",
        "norm=batch norm.eps=1e-13",
        "data.std=[1e-50]",
        "clip.max_norm=-inf",
        "loss.label_smoothing=1.0",
        "schedule.warmup=-1",
        "schedule.warmup=5 parsecs",
        "trainer.devices=0",
        "trainer.devices=some",
        "trainer.num_nodes=0",
        "trainer.max_epochs=-3",
        "trainer.max_epochs=0",
        "trainer.max_steps=0",
        "trainer.max_time=tomorrow",
        "trainer.accelerator=tpu",
        "trainer.strategy=deepspeed",
        "trainer.accumulate_grad_batches=0",
        "trainer.limit_train_batches=1.5",
        "trainer.limit_train_batches=0",
        "trainer.limit_val_batches=-1",
        "trainer.log_every_n_steps=0",
        "data.val_fraction=1",
        "data.val_fraction=-0.1",
        "data.image_size=0",
        "data.std=[0.0]",
        "batch_size=0",
        "seed=-1",
        "dropout=1.0",
        "threads=0",
        "decay=everything",
        "test.weights=first",
        "name=''",
        "callbacks.checkpoint.every_n_steps=0",
        "callbacks.checkpoint.every_n_minutes=0.0",
        "callbacks.checkpoint.mode=most",
        "callbacks.figures.worst=0",
        "callbacks.figures.dpi=0",
        "callbacks.progress.seconds=0",
        "callbacks.throughput.warmup_batches=-1",
        "logger=wandb logger.wandb.mode=on",
        "precision.float32_matmul=low",
        "arch=alexnet arch.towers=3",
        "arch=mlp arch.hidden=[300,0]",
        "arch=resnet50 arch.downsample_in=5x5",
    ],
)
def test_a_value_out_of_range_is_refused_with_what_is_accepted(conf: Conf, word: str) -> None:
    with pytest.raises(ConfigError, match=r"accepted: |expected ") as caught:
        conf.compose(re.split(r" (?=\w[\w.]*=)", word))
    assert str(caught.value).startswith(f"{word.rpartition('=')[0].rpartition(' ')[2]}=")


@pytest.mark.parametrize(
    "word",
    [
        "optimizer.lr=0",
        "schedule.warmup=500 steps",
        "schedule.warmup=5%",
        "schedule.warmup=2.5",
        "trainer.devices=auto",
        "trainer.max_steps=-1",
        "trainer.max_time=00:12:00:00",
        "trainer.limit_train_batches=10",
        "trainer.limit_val_batches=0",
        "trainer.deterministic=warn",
        "trainer.fast_dev_run=3",
        "dropout=0",
        "threads=2",
        "callbacks.checkpoint.every_n_steps=100",
        "callbacks.checkpoint.every_n_minutes=null",
        "data.val_fraction=0",
    ],
)
def test_a_value_in_range_is_accepted(conf: Conf, word: str) -> None:
    key = word.partition("=")[0]
    assert key in leaves(conf.compose([word]).config)


def keys_of_conf() -> set[str]:
    """Every key of train.yaml and of the answers of its groups."""
    keys = set(leaves(yaml.safe_load((conf_dir() / "train.yaml").read_text())))
    for group in RULES:
        for path in (conf_dir() / group).rglob("*.yaml"):
            node = yaml.safe_load(path.read_text())
            keys |= leaves(node, "" if group in (node or {}) else group).keys() if node else set()
    keys = {key for key in keys if not key.rpartition(".")[2].startswith("_")}
    return {key for key in keys if key.partition(".")[0] not in ("hydra", "parts") and ".defaults" not in f".{key}"}


def test_every_row_of_the_table_is_a_key_of_some_yaml() -> None:
    keys = keys_of_conf()
    groups = {*RULES, *(key.partition(".")[0] for key in keys)}
    used = {known.name for key in keys if (known := row(key)) is not None}
    used |= {"choices", "config_dir"}  # which no yaml has to say
    used |= {"study", "study.size"}  # which enter no experiment
    assert [name for name in KEYS if name not in used and name not in groups] == []


def test_every_key_of_every_yaml_has_a_row_that_says_what_it_means() -> None:
    assert sorted(key for key in keys_of_conf() if row(key) is None) == []
    assert [key.name for key in ROWS if not re.fullmatch(r"\S.{3,}[^.]", key.meaning)] == []
    assert len(KEYS) == len(ROWS)  # none stands there twice


@pytest.mark.parametrize(("value", "types", "good"), [(True, (int,), False), (1, (float,), True), (1.0, (int,), False)])
def test_an_int_may_stand_for_a_float_and_a_bool_for_no_number(value: object, types: tuple[type], good: bool) -> None:
    assert has_type(value, types) is good


def test_a_row_is_found_by_its_dotted_key_before_its_name() -> None:
    assert accepted("optimizer.momentum") is KEYS["*.momentum"].accepts
    assert accepted("average.decay") is KEYS["average.decay"].accepts
    assert accepted("arch.depth") is None


@pytest.mark.parametrize(
    ("word", "source"),
    [
        ("data.batch_size=8", "batch_size"),
        ("data.seed=3", "seed"),
        ("data.augment=null", "augment"),
        ("arch.in_channels=3", "data.channels"),
        ("arch.num_classes=7", "data.num_classes"),
        ("arch.image_size=16", "data.image_size"),
        ("arch.parts=null", "parts"),
        ("parts.dropout=0.5", "dropout"),
        ("parts.norm=null", "norm"),
    ],
)
def test_a_key_that_follows_another_is_set_there(conf: Conf, word: str, source: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"^{re.escape(word.partition('=')[0])}=\S+: follows {source}; set {source} "
    ):
        conf.compose([word])


def test_every_key_that_follows_another_says_so_or_is_only_a_default() -> None:
    defaults = {"data.eval_batch_size", "augment.erase.value", "logger.wandb.group", "logger.mlflow.group"}
    for path in conf_dir().glob("*/*.yaml"):
        group = path.parent.name
        if group in ("recipe", "study", "hydra"):
            continue
        for key, value in leaves(yaml.safe_load(path.read_text()) or {}, group).items():
            if isinstance(value, str) and re.fullmatch(r"\$\{[\w.]+\}", value):
                assert has_part(key, DERIVED) or key in defaults, key


@pytest.mark.parametrize(
    "word", ["seed=18446744073709551616", "batch_size=99999999999999999999", "trainer.max_steps=1" + "0" * 30]
)
def test_a_whole_number_is_one_that_torch_can_count_with(word: str) -> None:
    with pytest.raises(ConfigError, match="too large; accepted are whole numbers up to 9,223,372,036,854,775,807"):
        Conf().compose([word])


@pytest.mark.parametrize(
    "word", ["optimizer.lr=1e300", "optimizer.eps=1e-46", "data.std=[1e-300]", "clip.max_norm=1e39"]
)
def test_a_number_is_one_that_float32_tells_from_0_and_from_infinity(word: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{word.partition('=')[0]}=.*: no number of float32"):
        Conf().compose([word])


def test_a_list_of_numbers_has_at_most_a_thousand() -> None:
    with pytest.raises(ConfigError, match=r"^arch\.hidden: a list of 1,001 values; accepted are up to 1,000"):
        Conf().compose(["arch=mlp", f"arch.hidden=[{','.join(['5'] * 1001)}]"])


def test_the_key_that_was_typed_is_named_before_those_that_follow_it() -> None:
    with pytest.raises(ConfigError, match=r"^data\.num_classes="):
        Conf().compose(["data=synthetic", "data.num_classes=1" + "0" * 25])


@pytest.mark.parametrize("key", ["run_dir", "weights", "data=mnist data.root"])
def test_a_path_is_one_that_the_system_takes(key: str) -> None:
    for path in ("x" * 300 + ".pt", "x/" * 2000 + "x.pt"):
        with pytest.raises(ConfigError, match=rf"{key.rpartition(' ')[2]}=x.*: too long; a name has up to 255 bytes"):
            Conf().compose(f"{key}={path}".split())


@pytest.mark.parametrize("word", ["name='a\x1b[31mb'", "logger.wandb.project='x\ay'"])
def test_a_text_holds_no_control_character(word: str) -> None:
    with pytest.raises(ConfigError, match="control characters are not accepted"):
        Conf().compose(["logger=wandb", word])
