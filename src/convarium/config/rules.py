"""What no single key can show: the conditions between the keys of one experiment. No torch here."""

from typing import Any

from convarium.config.accepts import shown
from convarium.config.catalog import entries
from convarium.config.groups import Choices
from convarium.config.targets import PARTS, RULES, find_target
from convarium.data.facts import carved_size, fold_size
from convarium.errors import ConfigError
from convarium.wording import nearest

OURS = "convarium.learn.metrics."
COUNTED_IN_TRAINING = f"{OURS}Accuracy"
OF = {"min": "the lower", "max": "the higher"}


def check_choices(choices: Choices) -> None:
    """Refuse several answers where a group has one; raises ConfigError."""
    for group, chosen in choices.items():
        if isinstance(chosen, str):
            continue
        together = f"{group}=[{','.join(chosen)}]"
        if group not in RULES or not RULES[group].entries:
            raise ConfigError(
                f"{together}: {group} has one answer; to try several, sweep: -m {group}={','.join(chosen)}"
            )
        if "none" in chosen and len(chosen) > 1:
            raise ConfigError(f"{together}: 'none' cannot stand beside others")
        brought: dict[str, str] = {}
        for name in chosen:
            for entry in entries(group, name):
                if entry in brought:
                    raise ConfigError(f"{together}: {brought[entry]} and {name} both bring {group}.{entry}; choose one")
                brought[entry] = name


def check_not_searched(choices: Choices) -> None:
    """Refuse a space where nothing is searched: it would have no effect; raises ConfigError."""
    if (space := choices.get("search", "none")) != "none":
        raise ConfigError(f"search={space}: has a part in a search only, -m hydra/sweeper=optuna; accepted: none")


def check_parts(config: dict[str, Any], choices: Choices) -> None:
    """Refuse parts for an architecture that takes none: they would have no effect; raises ConfigError."""
    if "parts" in config["arch"]:
        return
    for group in (*PARTS, "dropout"):
        if config[group] is not None:
            chosen = choices.get(group, shown(config[group]))
            accepted = "null" if group == "dropout" else "paper"
            raise ConfigError(f"{group}={chosen}: arch={choices.get('arch')} takes no parts; accepted: {accepted}")


def check_test(config: dict[str, Any]) -> None:
    """Refuse what cannot be shown in a test, or has no effect there; raises ConfigError."""
    test, data = config["test"], config["data"]
    views, dense, scales, flip = test.get("views", 1), test.get("dense"), test.get("scales"), test.get("flip")
    size, share = data["image_size"], data.get("crop_share", 1.0)
    if (shift := test.get("shift") or 0) >= size:
        raise ConfigError(f"test.shift={shift}: moves images of {size} pixels out of sight; accepted: 1 to {size - 1}")
    if dense and views != 1:
        raise ConfigError(f"test.views={views}: has no part in test.dense=true, which shows the whole; accepted: 1")
    if flip and views != 1:
        raise ConfigError(f"test.flip=true: the mirror images are among test.views={views} already; accepted: false")
    if scales is not None:
        written = f"test.scales={shown(scales)}"
        if not isinstance(scales, list) or not scales:
            raise ConfigError(f"{written}: expected a list of whole numbers, e.g. [{round(size / share)}]")
        if not dense:
            raise ConfigError(f"{written}: has a part in test.dense=true only; accepted: null")
        for scale in scales:
            if scale < size:
                raise ConfigError(
                    f"{written}: {scale} is smaller than data.image_size={size}; accepted: {size} or more"
                )
    if views == 10 and round(size / share) <= size:
        instead = "e.g. data.crop_share=0.875" if "crop_share" in data else "test.views=1 or 144"
        raise ConfigError(
            f"test.views=10: images of {size} pixels are all of the {size} they are cut from; accepted: {instead}"
        )


def check_batch(config: dict[str, Any]) -> None:
    """Refuse a global batch that devices, nodes and accumulation steps do not share out without a remainder."""
    trainer = config["trainer"]
    accumulate = trainer["accumulate_grad_batches"]
    if trainer["devices"] != "auto":  # else the device check knows the number
        check_batch_divides(config["batch_size"], trainer["devices"], trainer["num_nodes"], accumulate)
    data = config["data"]
    size, fold, folds = data.get("train_size"), data.get("fold"), data.get("folds", 2)
    if fold is not None and fold >= folds:
        raise ConfigError(f"data.fold={fold}: there are data.folds={folds}; accepted: 0 to {folds - 1}")
    if size is not None:  # else it is known when the dataset is read
        aside = carved_size(size, data["val_fraction"]) if fold is None else fold_size(size, folds, fold)
        train = size - aside
        if config["batch_size"] > train:
            raise ConfigError(f"batch_size={config['batch_size']}: more than the {train} training images")
    for name in ("limit_train_batches", "overfit_batches"):
        limit = trainer[name]
        if isinstance(limit, int) and limit % accumulate:
            raise ConfigError(
                f"trainer.{name}={limit}: does not divide by trainer.accumulate_grad_batches={accumulate}; "
                f"nearest that does: {_nearest_multiple(limit, accumulate)}"
            )


def check_batch_divides(batch_size: int, devices: int, num_nodes: int, accumulate_grad_batches: int) -> None:
    """Raise ConfigError unless the global batch divides by devices x nodes x accumulated micro-batches."""
    parts = {"devices": devices, "num_nodes": num_nodes, "accumulate_grad_batches": accumulate_grad_batches}
    product = devices * num_nodes * accumulate_grad_batches
    if batch_size % product:
        factors = " x ".join(f"trainer.{name}={number}" for name, number in parts.items() if number > 1)
        raise ConfigError(
            f"batch_size={batch_size}: does not divide by {factors}; "
            f"nearest that does: {_nearest_multiple(batch_size, product)}"
        )


def _nearest_multiple(number: int, factor: int) -> int:
    return max(1, round(number / factor)) * factor


def check_limits(config: dict[str, Any]) -> None:
    """Refuse a limit that undoes another; raises ConfigError."""
    trainer = config["trainer"]
    if trainer["overfit_batches"] and trainer["limit_train_batches"] != 1.0:
        raise ConfigError(
            f"trainer.overfit_batches={trainer['overfit_batches']}: has no effect together with "
            f"trainer.limit_train_batches={trainer['limit_train_batches']}; set one of them"
        )


def check_monitors(config: dict[str, Any]) -> None:
    """Refuse a monitored figure that is not measured, a direction that is not its own, and a validation that comes too
    late for what waits for it; raises ConfigError.
    """
    trainer, measured = config["trainer"], measured_figures(config)
    nodes = {"stop": config["stop"], "schedule": config["schedule"]}
    nodes |= {f"callbacks.{name}": node for name, node in config["callbacks"].items()}
    for key, node in nodes.items():
        watched = (node or {}).get("monitor")
        if watched is None:
            continue
        if watched not in measured:
            hint = nearest(watched, measured)
            raise ConfigError(f"{key}.monitor={watched}: is not measured{hint} Accepted: {', '.join(measured)}")
        mode, own = directed(node, config, key).get("mode"), better(watched, config["metrics"])
        if mode and own and mode != own:
            raise ConfigError(f"{key}.mode={mode}: of {watched} {OF[own]} is better; accepted: auto, {own}")
        if key.startswith("callbacks.") or not watched.startswith("val/") or trainer["fast_dev_run"]:
            continue
        if trainer["limit_val_batches"] == 0:
            raise ConfigError(f"{key}.monitor={watched}: is not measured with trainer.limit_val_batches=0")
        if (every := trainer["check_val_every_n_epoch"]) > trainer["max_epochs"]:
            raise ConfigError(
                f"trainer.check_val_every_n_epoch={every}: leaves {key}.monitor={watched} nothing to act on before the"
                f" end (trainer.max_epochs={trainer['max_epochs']})"
            )


def measured_figures(config: dict[str, Any]) -> list[str]:
    """The figures that a run measures in each epoch, those of validation first."""
    ranked = max(2, config["data"]["num_classes"])  # of five classes all are among the five highest
    metrics = {name: node for name, node in config["metrics"].items() if node.get("top", 1) < ranked}
    counted = (f"train/{name}" for name, node in metrics.items() if node.get("_target_") == COUNTED_IN_TRAINING)
    return ["val/loss", *(f"val/{name}" for name in metrics), "train/loss", *counted]


def directed(node: Any, config: dict[str, Any], key: str) -> Any:
    """A node that monitors a figure, with min or max for its mode `auto`; any other node as it is.

    Raises ConfigError, which names the node's `key`, where the class of the metric does not say which way is better.
    """
    if not isinstance(node, dict) or node.get("mode") != "auto" or "monitor" not in node:
        return node
    if (own := better(node["monitor"], config["metrics"])) is None:
        raise ConfigError(f"{key}.mode=auto: {node['monitor']} does not say which way is better; accepted: min, max")
    return {**node, "mode": own}


def better(figure: str, metrics: dict[str, Any]) -> str | None:
    """Whether a loss, or a metric by its class, is better low (min) or high (max); None: the class does not say it."""
    name = figure.rpartition("/")[2]
    if name == "loss":
        return "min"
    if metrics.get(name, {}).get("_target_", "").startswith(OURS):  # the higher the better, all of them: without torch
        return "max"
    target = find_target(metrics[name], f"metrics.{name}") if name in metrics else None
    return {True: "max", False: "min"}.get(getattr(target, "higher_is_better", None))  # type: ignore[arg-type]
