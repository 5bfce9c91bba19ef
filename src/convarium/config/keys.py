"""What each key of an experiment accepts, by its name. The type of a key is that of its value in the yaml; this table
adds ranges, words, and the few keys that take more than one type. No torch here.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from convarium.config.identity import leaves
from convarium.errors import ConfigError
from convarium.learn.lengths import ACCEPTED as LENGTHS_ACCEPTED
from convarium.learn.lengths import parse_length


@dataclass(frozen=True)
class Accepts:
    """What a key accepts: `text` says it to a person, `test` decides for one value (or each item of a list)."""

    text: str
    test: Callable[[Any], bool]
    types: tuple[type, ...] = ()  # () means: the type of the yaml's value
    null: bool = False

    def or_null(self) -> "Accepts":
        """The same, and null."""
        return replace(self, text=f"{self.text}, or null", null=True)

    def of(self, *types: type) -> "Accepts":
        """The same, of these types whatever the yaml's value is."""
        return replace(self, types=types)


def at_least(low: float) -> Accepts:
    """Numbers not below `low`."""
    return Accepts(f"at least {low}", lambda value: value >= low)


def above(low: float) -> Accepts:
    """Numbers greater than `low`."""
    return Accepts(f"above {low}", lambda value: value > low)


def below_one() -> Accepts:
    """Shares of which something remains."""
    return Accepts("at least 0 and below 1", lambda value: 0 <= value < 1)


def words(*accepted: str) -> Accepts:
    """One of a few words."""
    return Accepts(" or ".join(accepted), lambda value: value in accepted, (str,))


def matching(pattern: str, text: str) -> Accepts:
    """Text of a given form."""
    compiled = re.compile(pattern)
    return Accepts(text, lambda value: compiled.fullmatch(value) is not None, (str,))


def _share_or_count(value: float) -> bool:
    return value >= 0 if isinstance(value, int) else 0 <= value <= 1


def _is_count(value: object) -> bool:
    return has_type(value, (int,)) and isinstance(value, int) and value >= 1


def _is_length(value: float | str) -> bool:
    try:
        parse_length(value)
    except ValueError:
        return False
    return True


NOT_EMPTY = Accepts("text", lambda value: value != "", (str,))
COUNT = at_least(1)
BATCHES = Accepts(
    "a share from 0.0 to 1.0, or a number of batches (1 is one batch, 1.0 is all)",
    _share_or_count,
    (int, float),
)
SOME_BATCHES = Accepts(
    "a share above 0.0 up to 1.0, or a number of batches (1 is one batch, 1.0 is all)",
    lambda value: value > 0 and _share_or_count(value),
    (int, float),
)
LENGTH = Accepts(LENGTHS_ACCEPTED, _is_length, (int, float, str))

# By dotted key, or `*.name` for a name that means the same in every group.
RANGES: dict[str, Accepts] = {
    "name": NOT_EMPTY,
    "seed": at_least(0),
    "batch_size": COUNT,
    "dropout": below_one().of(int, float).or_null(),
    "decay": words("weights", "all"),
    "threads": COUNT.of(int).or_null(),
    "run_dir": NOT_EMPTY.or_null(),
    "resume": NOT_EMPTY.or_null(),
    "weights": matching(
        r"torchvision:\w+|.+\.(safetensors|pth|th|pt)", "torchvision:NAME, or a file .safetensors, .pth, .th, .pt"
    ).or_null(),
    "test.weights": words("best", "last"),
    "test.views": Accepts("1, 10, 144", lambda value: value in (1, 10, 144)),
    "test.scales": Accepts("a list of whole numbers from 1", _is_count).or_null(),
    "sweep.name": Accepts(
        "the name of a folder, of at most 255 bytes",
        lambda value: value not in ("", ".", "..") and "/" not in value and len(value.encode()) <= 255,
        (str,),
    ).or_null(),
    "sweep.jobs": Accepts('at least 1, or "auto"', lambda value: value == "auto" or value >= 1, (int, str)),
    "sweep.devices_per_job": Accepts(
        '"auto", or above 0 and at most 1', lambda value: value == "auto" or 0 < value <= 1, (int, float, str)
    ),
    "sweep.isolation": words("auto", "fork", "spawn"),
    "sweep.on_error": words("continue", "stop", "retry"),
    "sweep.retries": COUNT,
    "sweep.timeout": above(0).of(int, float).or_null(),
    # where, and until when
    "trainer.accelerator": words("auto", "cpu", "gpu", "cuda", "mps"),
    "trainer.devices": Accepts('at least 1, or "auto"', lambda value: value == "auto" or value >= 1, (int, str)),
    "trainer.num_nodes": COUNT,
    "trainer.strategy": words("auto", "ddp", "ddp_find_unused_parameters_true"),
    "trainer.max_epochs": COUNT,
    "trainer.max_steps": Accepts("at least 1, or -1 for no limit", lambda value: value == -1 or value >= 1),
    "trainer.max_time": matching(r"\d+:\d\d:\d\d:\d\d", '"DD:HH:MM:SS"').or_null(),
    "trainer.accumulate_grad_batches": COUNT,
    "trainer.limit_train_batches": SOME_BATCHES,
    "trainer.limit_val_batches": BATCHES,
    "trainer.limit_test_batches": BATCHES,
    "trainer.overfit_batches": BATCHES,
    "trainer.val_check_interval": SOME_BATCHES,
    "trainer.check_val_every_n_epoch": COUNT,
    "trainer.log_every_n_steps": COUNT,
    "trainer.fast_dev_run": at_least(0).of(bool, int),
    "trainer.deterministic": Accepts("true, false or warn", lambda value: value in (True, False, "warn"), (bool, str)),
    "precision.mode": words("32-true", "bf16-mixed", "16-mixed"),
    "precision.float32_matmul": words("highest", "high", "medium"),
    # what is trained, on what
    "arch.hidden": COUNT,
    "arch.widths": COUNT,
    "arch.kernel_size": COUNT,
    "arch.num_convs": at_least(0),
    "arch.pattern": NOT_EMPTY,
    "data.root": NOT_EMPTY,
    "data.channels": COUNT,
    "data.num_classes": COUNT,
    "data.image_size": COUNT,
    "data.batch_size": COUNT,
    "data.eval_batch_size": COUNT,
    "data.val_fraction": below_one(),
    "data.split_seed": at_least(0),
    "data.std": above(0),
    "data.train_size": COUNT.of(int).or_null(),
    "data.test_size": at_least(0),
    "data.stored_size": COUNT,
    "data.resize": words("bilinear", "pad"),
    "data.crop_share": Accepts("above 0 and at most 1", lambda value: 0 < value <= 1),
    "data.class_order": words("sorted", "devkit"),
    "data.archive": NOT_EMPTY,
    "data.md5": matching("[0-9a-f]{32}", "32 hexadecimal digits"),
    "data.in_memory": Accepts("true or false", lambda value: True, (bool,)).or_null(),
    "data.num_workers": at_least(0).of(int).or_null(),
    "data.reader": words("auto", "turbojpeg", "simplejpeg", "torchcodec", "pillow", "dali"),
    "data.on_bad_file": words("raise", "skip", "replace"),
    "data.cache": NOT_EMPTY.or_null(),
    "data.cache_dir": NOT_EMPTY.or_null(),
    "data.cache_gb": above(0).of(int, float).or_null(),
    "augment.crop.pad": at_least(0),
    "augment.crop.mirror": words("random", "alternating", "none"),
    "augment.flip.mirror": words("random", "alternating", "none"),
    "augment.policy.magnitude": Accepts("0 to 30", lambda value: 0 <= value <= 30),
    "augment.policy.num_ops": COUNT,
    "augment.policy.policy": words("imagenet", "cifar10", "svhn"),
    "augment.erase.size": COUNT,
    "augment.erase.p": Accepts("0 to 1", lambda value: 0 <= value <= 1),
    "augment.mix.alpha": above(0),
    # how
    "loss.label_smoothing": below_one(),
    "loss.aux_weight": at_least(0),
    "loss.margin": above(0),
    "loss.rubbish_distance": above(0),
    "loss.power": Accepts("1 or 2", lambda value: value in (1, 2)),
    "*.lr": at_least(0),
    "*.adamw_lr": at_least(0),
    "*.weight_decay": at_least(0),
    "*.lr_decay": at_least(0),
    "*.initial_accumulator_value": at_least(0),
    "*.momentum": below_one(),
    "*.dampening": below_one(),
    "*.betas": below_one(),
    "*.adamw_betas": below_one(),
    "optimizer.alpha": below_one(),
    "*.eps": above(0),
    "*.adamw_eps": above(0),
    "*.trust": above(0),
    "*.newton_schulz_steps": COUNT,
    "schedule.warmup": LENGTH,
    "schedule.milestones": LENGTH,
    "schedule.every": LENGTH,
    "schedule.gamma": above(0),
    "schedule.power": above(0),
    "schedule.start": at_least(0),
    "schedule.final": at_least(0),
    "schedule.threshold": at_least(0),
    "schedule.cooldown": at_least(0),
    "schedule.min_factor": at_least(0),
    "clip.max_norm": above(0),
    "clip.max_value": above(0),
    "clip.factor": above(0),
    "average.decay": below_one(),
    "average.warmup": at_least(1),
    "average.start": LENGTH,
    "stop.mode": words("min", "max"),
    "schedule.mode": words("min", "max"),
    "*.monitor": NOT_EMPTY,
    "*.patience": at_least(0),
    "*.min_delta": at_least(0),
    # what is written down
    "logger.wandb.mode": words("auto", "online", "offline", "disabled"),
    "*.flush_seconds": above(0),
    "*.every_n_steps": COUNT.of(int).or_null(),
    "*.every_n_minutes": above(0).of(int, float).or_null(),
    "*.seconds": above(0),
    "*.refresh_seconds": above(0),
    "*.warmup_batches": at_least(0),
    "*.worst": at_least(0),
    "*.dpi": above(0),
}


def accepted(key: str) -> Accepts | None:
    """The entry for a dotted key, if it has one."""
    return RANGES.get(key) or RANGES.get(f"*.{key.rpartition('.')[2]}")


def check_ranges(config: dict[str, Any]) -> None:
    """Check every value of a resolved config; the shallower of two keys that hold the same wrong value is named.

    Raises ConfigError for a number that is not finite and for a value outside its range.
    """
    for key, value in sorted(leaves(config).items(), key=lambda pair: pair[0].count(".")):
        entry = accepted(key)
        for item in value if isinstance(value, list) else [value]:
            wrong = _objection(item, entry)
            if wrong is not None:
                raise ConfigError(f"{key}={shown(value)}: {wrong}")


def _objection(value: Any, entry: Accepts | None) -> str | None:
    """What is wrong with one value (of a list: one item); types are looked at too where the table has them."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"not a finite number{f'; accepted: {entry.text}' if entry else ''}"
    if entry is None or (value is None and entry.null):
        return None
    if entry.types and not has_type(value, entry.types):
        return f"expected {entry.text}"
    try:
        good = isinstance(value, (bool, int, float, str)) and entry.test(value)
    except TypeError:  # text where numbers are compared
        good = False
    return None if good else f"out of range; accepted: {entry.text}"


def has_type(value: Any, types: tuple[type, ...]) -> bool:
    """isinstance, but a bool is no number and an int may stand for a float."""
    if isinstance(value, bool):
        return bool in types
    return isinstance(value, types) or (isinstance(value, int) and float in types)


def shown(value: Any) -> str:
    """A value as one writes it on the command line."""
    if value is None:
        return "null"
    if isinstance(value, list):
        return f"[{','.join(map(shown, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
