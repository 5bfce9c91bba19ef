"""`python train.py ...`, `convarium train ...`: one experiment, a sweep of them, or the rest of one.

A run is a page: compose the words to one checked config, prepare, launch (`convarium.run.launch`), which fits, tests
and records (`convarium.run.fit`). Hydra reads the words; a sweep's points go to its sweeper. No torch here.
"""

import argparse
import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from convarium.config.catalog import conf_dir
from convarium.errors import BAD_INPUT, INTERRUPTED, ConfigError, RunError
from convarium.progress_bar import doing
from convarium.wording import nearest, one_line

if TYPE_CHECKING:
    from omegaconf import DictConfig

# What belongs to us, because Hydra would make folders before anything is checked.
OURS = {
    "hydra.run.dir": "run_dir=FOLDER",
    "hydra.sweep.dir": "sweep.name=NAME",
    "hydra.sweep.subdir": "sweep.name=NAME",
    "hydra.output_subdir": "run_dir=FOLDER",
    "hydra.job.chdir": "nothing: paths are relative to the current folder",
}
FOREIGN = re.compile(r"[+~]*(study|recipe|hydra\W)")  # words that can bring settings of Hydra's own


def run(argv: Sequence[str]) -> int:
    """Do what the words say; the exit code, unless Hydra leaves by SystemExit. Raises ConfigError or RunError."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, and the message is ours
    import hydra

    from convarium.config.compose import Conf
    from convarium.config.groups import ROOT
    from convarium.config.habits import undashed
    from convarium.config.overrides import readable, values_of

    argv = [undashed(word) for word in argv]
    arguments = _read_arguments(argv)
    words = readable(arguments.overrides)
    only_shows = arguments.help or arguments.hydra_help or arguments.cfg or arguments.info
    resumed = values_of([word for word in words if word.startswith("resume=")]).get("resume")
    if resumed is not None and not only_shows:
        if arguments.multirun:
            raise ConfigError(f"resume={resumed}: goes on with one run; without -m")
        return go_on(str(resumed), [word for word in words if not word.startswith("resume=")], arguments.config_dir)
    conf = Conf(arguments.config_dir, root=arguments.config_name or ROOT)
    if (arguments.multirun or any(word.startswith("study=") for word in words)) and not only_shows:
        words = conf.below_what_is_swept(words)
    if arguments.config_dir or arguments.config_name or any(FOREIGN.match(word) for word in words):
        conf.check_hydra(words)
    if arguments.help:
        print(conf.help(words, resolve=arguments.resolve))
        return 0
    flags = list(argv)
    for word in arguments.overrides:
        flags.remove(word)
    sys.argv[1:] = [*flags, *words]
    app = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=ROOT)(begin)
    try:
        app()
    except (ConfigError, RunError):
        raise
    except Exception:
        with conf.explained(words):
            raise
    launched = sys.modules.get("convarium.sweep.hydra_launch")
    return launched.worst_code if launched else 0


def begin(cfg: "DictConfig") -> tuple[int, str]:
    """Run what Hydra has composed, once or for each job of a launcher of its own; the exit code, and why it failed."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from convarium.config.compose import Conf
    from convarium.config.rules import check_not_searched

    hydra = HydraConfig.get()
    overrides = list(hydra.overrides.task)
    loader: Any = GlobalHydra.instance().config_loader()
    conf = Conf(loader=loader, root=str(hydra.job.config_name))
    try:
        composed = conf.complete(cfg, [*hydra.overrides.hydra, *overrides])
        check_not_searched(composed.choices)
        with doing("load torch"):
            from convarium.report.run_page import end_in_page, leave_run_page
            from convarium.run.launch import launch
            from convarium.run.prepare import adapt_to_weights, prepare
        with doing("prepare the run"):
            composed = adapt_to_weights(conf, composed)
            prepared = prepare(composed.config, pretrained=composed.pretrained)
        code, reason = launch(prepared, overrides, write_page=leave_run_page, at_end=end_in_page), ""
    except (ConfigError, RunError) as error:
        code, reason = BAD_INPUT, one_line(error)
        print("error:", reason, file=sys.stderr)
    except KeyboardInterrupt:
        code, reason = INTERRUPTED[0], "interrupted"
        print(reason, file=sys.stderr)
    except Exception as error:  # whatever ends one job of a sweep, the others go on
        traceback.print_exc()
        code, reason = 1, f"{type(error).__name__}: {one_line(error)}"
    if hydra.mode == RunMode.MULTIRUN and code not in INTERRUPTED:
        return code, reason  # the sweeper counts them
    sys.exit(code)  # SystemExit passes Hydra by; an exception would be announced by it first


def go_on(run: str, overrides: list[str], config_dir: str | None) -> int:
    """Go on with a run in its own folder, changed by overrides; the exit code."""
    from convarium.run.directory import RunDirectory
    from convarium.run.resume import resume_config

    folder = Path(run).absolute()
    if folder.name == "last.ckpt" and folder.is_file():
        folder = folder.parents[1]
    if not RunDirectory(folder).config_file.is_file():
        runs = sorted(path.parent for path in Path("runs").glob("*/*/config.yaml"))
        newest = f"; the newest below runs/: resume={runs[-1]}" if runs else ""
        raise ConfigError(f"resume={run}: no run; accepted: the folder of a run{newest}")
    config, words, changed = resume_config(folder, overrides, config_dir)
    for line in changed:
        print("resume:", line)

    with doing("load torch"):
        from convarium.report.run_page import end_in_page, leave_run_page
        from convarium.run.launch import launch
        from convarium.run.prepare import prepare
    with doing("prepare the run"):
        prepared = prepare(config)
    return launch(prepared, words, resume=folder, write_page=leave_run_page, at_end=end_in_page)


def _read_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Hydra's own options, wherever they stand among the overrides; ConfigError for what it, or we, do not take."""
    from hydra._internal.utils import get_args_parser

    from convarium.config.habits import meant
    from convarium.config.keys import row

    parser = get_args_parser()
    parser.allow_abbrev = False

    def refuse(message: str) -> NoReturn:
        unknown = [word for word in argv if word.startswith("-") and f"unrecognized arguments: {word}" in message]
        if not unknown:
            raise ConfigError(message)
        options = [option for action in parser._actions for option in action.option_strings]
        key = unknown[0].lstrip("-").replace("-", "_")
        if habit := meant(key) or (f"{key}=..." if row(key) else None):
            raise ConfigError(f"{unknown[0]}: no option here, but a key; write {habit}")
        raise ConfigError(f"{unknown[0]}: unknown option{nearest(unknown[0], options)} All of them: --help")

    parser.error = refuse  # type: ignore[method-assign]
    arguments = parser.parse_intermixed_args(list(argv))
    if arguments.experimental_rerun is not None:
        raise ConfigError("--experimental-rerun: unpickles a file; write resume=RUN")
    if arguments.shell_completion:
        raise ConfigError('--shell-completion: write eval "$(convarium completion bash)", or zsh, or fish')
    if arguments.config_path is not None:
        raise ConfigError("--config-path: would hide our own groups; --config-dir FOLDER adds yours to them")
    for word in arguments.overrides:
        key = word.lstrip("+~").partition("=")[0]
        if key in OURS:
            raise ConfigError(f"{key}: is set by the platform; write {OURS[key]}")
    return arguments
