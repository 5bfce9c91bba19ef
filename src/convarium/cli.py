"""The commands, `python train.py ...` and `convarium VERB ...`. No torch here; a verb that needs it imports it."""

import argparse
import json
import os
import re
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from convarium.commands.words import DATA_USAGE, only_options
from convarium.config.catalog import architectures, conf_dir, groups, members
from convarium.errors import ConfigError, RunError
from convarium.wording import nearest

if TYPE_CHECKING:
    from omegaconf import DictConfig

BAD_INPUT = 2
INTERRUPTED = (130, 143)  # by Ctrl-C, by SIGTERM

HELP = """convarium: an experiment platform for convolutional networks

  convarium train arch=resnet20 data=cifar10   train a network (convarium train --help: all there is to choose)
  convarium train -m arch=vgg16,resnet50 seed=1,2,3   train one for every combination
  convarium train resume=RUN                   go on where a run ended
  convarium sweep resume|status DIR            go on with a sweep; where it stands
  convarium evaluate RUN                       the test metrics of a run's weights
  convarium evaluate arch=resnet20 weights=FILE data=cifar10   those of a file of weights
  convarium predict RUN IMAGES...              what it sees in images
  convarium export RUN format=onnx             its network as a file for other programs
  convarium list [GROUP]                       the groups, or the answers of one; list arch: what each network costs
  convarium data fetch NAME...                 download datasets
  convarium data check ROOT                    bad files, pictures in two splits, classes and sizes of a folder
  convarium data show data=NAME                a picture of what the network sees, before and after augmentation
  convarium data pack data=folder data.root=ROOT to=FOLDER   a folder of pictures as few large files

RUN is the folder of a run. Everything else is key=value, as in Hydra. --json: the answer for programs.
"""

# What belongs to us, because Hydra would make folders before anything is checked.
OURS = {
    "hydra.run.dir": "run_dir=FOLDER",
    "hydra.sweep.dir": "sweep.name=NAME",
    "hydra.sweep.subdir": "sweep.name=NAME",
    "hydra.output_subdir": "run_dir=FOLDER",
    "hydra.job.chdir": "nothing: paths are relative to the current folder",
}
HELPS = ("--help", "-h", "help")
FOREIGN = re.compile(r"[+~]*(study|recipe|hydra\W)")  # words that can bring settings of Hydra's own


class JobEnd(NamedTuple):
    """How one job of a sweep ended."""

    code: int
    reason: str


def main() -> NoReturn:
    """`convarium VERB ...`"""
    _open_closed_streams()
    verb, *words = sys.argv[1:] or ["--help"]
    if verb in HELPS:
        print(HELP, end="")
        sys.exit(0)
    if verb == "train":
        sys.argv = [f"{Path(sys.argv[0]).name} train", *words]
        train()
    sys.exit(_answer(lambda: _verb(verb)(words)))


def train() -> NoReturn:
    """`python train.py ...`: one experiment, a sweep of them, or the rest of one."""
    _open_closed_streams()
    sys.exit(_answer(lambda: _train(sys.argv[1:])))


def _open_closed_streams() -> None:
    """Let what a shell has closed (`>&-`) lead nowhere: else the next file that is opened takes its place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            os.set_inheritable(number, True)  # what is started from here is not to be without it either
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))


def _answer(command: Callable[[], int | None]) -> int:
    """The exit code of a command; what a person got wrong becomes one line on stderr."""
    try:
        return command() or 0
    except (ConfigError, RunError) as error:
        print("error:", one_line(error), file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED[0]
    except BrokenPipeError:  # `convarium list arch | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def one_line(error: BaseException) -> str:
    """A message without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


# train


def _train(argv: Sequence[str]) -> int:
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, and we do the telling
    import hydra

    from convarium.config.compose import ROOT, Conf, readable

    arguments = _read_arguments(argv)
    _refuse_what_is_ours(arguments.overrides)
    words = readable(arguments.overrides)
    only_shows = arguments.help or arguments.hydra_help or arguments.cfg or arguments.info or arguments.shell_completion
    if (run := _resumed(words)) is not None and not only_shows:
        if arguments.multirun:
            raise ConfigError(f"resume={run}: goes on with one run; without -m")
        return _go_on(run, [word for word in words if not word.startswith("resume=")], arguments.config_dir)

    from convarium.data import facts

    facts.register()
    conf = Conf(arguments.config_dir, root=arguments.config_name or ROOT)
    if arguments.config_dir or arguments.config_name or any(FOREIGN.match(word) for word in words):
        conf.check_hydra(words)
    if arguments.help:
        print(conf.help(words, resolve=arguments.resolve))
        return 0
    flags = list(argv)
    for word in arguments.overrides:
        flags.remove(word)
    sys.argv[1:] = [*flags, *words]
    app = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=ROOT)(_task)
    try:
        app()
    except (ConfigError, RunError):
        raise
    except Exception:
        with conf.explained(words):
            raise
    return 0


def _read_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Hydra's own options, wherever they stand among the overrides; ConfigError for one it does not have."""
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        unknown = [word for word in argv if word.startswith("-") and f"unrecognized arguments: {word}" in message]
        if not unknown:
            raise ConfigError(message)
        options = [option for action in parser._actions for option in action.option_strings]
        raise ConfigError(f"{unknown[0]}: unknown option{nearest(unknown[0], options)} All of them: --help")

    parser.error = refuse  # type: ignore[method-assign]
    arguments = parser.parse_intermixed_args(list(argv))
    if arguments.experimental_rerun is not None:
        raise ConfigError("--experimental-rerun: unpickles a file; write resume=RUN")
    if arguments.config_path is not None:
        raise ConfigError("--config-path: would hide our own groups; --config-dir FOLDER adds yours to them")
    return arguments


def _refuse_what_is_ours(overrides: Sequence[str]) -> None:
    for word in overrides:
        key = word.lstrip("+~").partition("=")[0]
        if key in OURS:
            raise ConfigError(f"{key}: is set by the platform; write {OURS[key]}")


def _resumed(words: Sequence[str]) -> str | None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    found = None
    for word in words:
        if word.startswith("resume="):
            value = OverridesParser.create().parse_override(word).value()
            found = None if value is None else str(value)
    return found


def _go_on(run: str, overrides: list[str], config_dir: str | None) -> int:
    from convarium.run.directory import RunDirectory
    from convarium.run.resume import read_overrides, resume_config

    folder = Path(run).expanduser().absolute()
    config, changed = resume_config(folder, overrides, config_dir)
    for line in changed:
        print("resume:", line)
    from convarium.run.launch import run_experiment

    return run_experiment(config, [*read_overrides(RunDirectory(folder)), *overrides], resume=folder) or 0


def _task(cfg: "DictConfig") -> JobEnd:
    """What Hydra calls with each composed config."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from convarium.config.compose import Conf

    hydra = HydraConfig.get()
    overrides = list(hydra.overrides.task)
    loader: Any = GlobalHydra.instance().config_loader()
    conf = Conf(loader=loader, root=str(hydra.job.config_name))
    try:
        composed = conf.complete(cfg, [*hydra.overrides.hydra, *overrides])
        from convarium.run.launch import run_experiment

        end = JobEnd(run_experiment(composed.config, overrides) or 0, "")
    except (ConfigError, RunError) as error:
        print("error:", one_line(error), file=sys.stderr)
        end = JobEnd(BAD_INPUT, one_line(error))
    except KeyboardInterrupt:
        end = JobEnd(INTERRUPTED[0], "interrupted")
    except Exception as error:  # whatever one job of a sweep dies of, the others go on
        traceback.print_exc()
        end = JobEnd(1, f"{type(error).__name__}: {one_line(error)}")
    if hydra.mode == RunMode.MULTIRUN and end.code not in INTERRUPTED:
        return end  # the sweeper counts them
    sys.exit(end.code)  # SystemExit passes Hydra by; an exception would be announced by it first


# the other verbs

Words = list[str]
OVERRIDE = re.compile(r"[+~]*[A-Za-z_][\w./@]*=")


def _verb(name: str) -> Callable[[Words], int | None]:
    verbs = {
        "evaluate": _evaluate,
        "predict": _predict,
        "export": _export,
        "list": _list,
        "data": _data,
        "sweep": _sweep,
    }
    if name in verbs:
        return verbs[name]
    raise ConfigError(f"{name}: unknown verb{nearest(name, [*verbs, 'train'])} One of: train, {', '.join(verbs)}")


def _split(words: Words) -> tuple[Words, Words]:
    """What stands by position (runs, files, names) and the overrides; `--json` is `format=json`."""
    places, overrides = [], []
    for word in words:
        if word == "--json":
            overrides.append("format=json")
        elif word.startswith("-"):
            raise ConfigError(f"{word}: unknown option; accepted: --json")
        elif OVERRIDE.match(word) and not Path(word).exists():
            overrides.append(word)
        else:
            places.append(word)
    return places, overrides


def _run_and_rest(words: Words, usage: str) -> tuple[Path, Words, Words]:
    places, overrides = _split(words)
    if not places:
        raise ConfigError(f"no run given; usage: {usage}")
    run = Path(places[0]).expanduser()
    if not run.is_dir():
        raise ConfigError(f"{places[0]}: no such run; usage: {usage}")
    return run, places[1:], overrides


def _no_more(places: Words, usage: str) -> None:
    if places:
        raise ConfigError(f"{places[0]}: one too many; usage: {usage}")


def _evaluate(words: Words) -> int | None:
    usage = "convarium evaluate RUN [weights=best] [split=val] [key=value ...], or arch=NAME weights=FILE ... for RUN"
    places, overrides = _split(words)
    run = None
    if places or not overrides:
        run, rest, overrides = _run_and_rest(words, usage)
        _no_more(rest, usage)
    from convarium.run.verbs import evaluate

    return evaluate(run, overrides)


def _predict(words: Words) -> int | None:
    usage = "convarium predict RUN IMAGES... [key=value ...]"
    run, images, overrides = _run_and_rest(words, usage)
    if not images:
        raise ConfigError(f"no images given; usage: {usage}")
    missing = [image for image in images if not Path(image).exists()]
    if missing:
        raise ConfigError(f"{missing[0]}: no such image")
    from convarium.run.verbs import predict

    return predict(run, [Path(image) for image in images], overrides)


def _export(words: Words) -> int | None:
    usage = "convarium export RUN [format=onnx] [key=value ...]"
    run, rest, overrides = _run_and_rest(words, usage)
    _no_more(rest, usage)
    from convarium.run.verbs import export

    return export(run, overrides)


def _data(words: Words) -> int | None:
    actions = {"fetch": _data_fetch, "check": _data_check, "show": _data_show, "pack": _data_pack}
    usage = f"convarium data {'|'.join(actions)} ..."
    action, *rest = words or [""]
    if action in HELPS or any(word in HELPS for word in rest):
        print("\n".join(line for name, line in DATA_USAGE.items() if action in (name, *HELPS)))
        return 0
    if action not in actions:
        told = f"{action}: unknown{nearest(action, actions)}" if action else "what to do?"
        raise ConfigError(f"{told} One of: {', '.join(actions)}; usage: {usage}")
    return actions[action](rest)


def _data_fetch(words: Words) -> int | None:
    usage = DATA_USAGE["fetch"]
    names, overrides = _split(words)
    known = list(members("data"))
    if not names:
        raise ConfigError(f"no dataset given. One of: {', '.join(known)}; usage: {usage}")
    for name in names:
        if name not in known:
            raise ConfigError(f"{name}: unknown dataset{nearest(name, known)} One of: {', '.join(known)}")
    from convarium.run.verbs import fetch

    for name in names:
        fetch(name, overrides)
    return 0


def _data_check(words: Words) -> int | None:
    places, overrides = _split(words)
    from convarium.commands.data_check import check

    return check(places, overrides)


def _data_show(words: Words) -> int | None:
    if not words:
        raise ConfigError("nothing to show; usage: convarium data show data=NAME [augment=NAME] [key=value ...]")
    from convarium.commands.data_show import show

    return show(words)


def _data_pack(words: Words) -> int | None:
    from convarium.data.packed.packing import command

    return command(words)


def _sweep(words: Words) -> int:
    usage = "convarium sweep resume DIR [sweep.KEY=VALUE ...] | convarium sweep status DIR [format=json]"
    if not words or any(word in HELPS for word in words):
        print(usage)
        return 0
    action, *rest = words
    if action not in ("resume", "status"):
        raise ConfigError(f"{action}: unknown{nearest(action, ('resume', 'status'))} usage: {usage}")
    places, overrides = _split(rest)
    if not places:
        raise ConfigError(f"no sweep given; usage: {usage}")
    _no_more(places[1:], usage)
    from convarium.sweep import resume as verbs

    path = Path(places[0]).expanduser()
    if action == "status":
        options = only_options(overrides, {"format": ("text", "json")})
        return verbs.status(path, as_json=options.get("format") == "json")
    return verbs.resume(path, overrides)


def _list(words: Words) -> None:
    """`list`: the groups; `list GROUP`: its answers with the first line of each file; `list arch`: a table of these."""
    usage = "convarium list [GROUP] [format=json]"
    places, overrides = _split(words)
    _no_more(places[1:], usage)
    for word in overrides:
        if word not in ("format=json", "format=text"):
            raise ConfigError(f"{word}: not accepted; usage: {usage}")
    as_json = "format=json" in overrides
    if not places:
        answers = {group: list(members(group)) for group in groups()}
        width = max(map(len, answers))
        text = [f"{group:{width}}  {', '.join(names)}" for group, names in answers.items()]
        print(json.dumps(answers, indent=2) if as_json else "\n".join(text))
        return
    group = places[0].strip("/")
    if group not in (known := groups()):
        raise ConfigError(f"{group}: unknown group{nearest(group, known)} One of: {', '.join(known)}")
    if group == "arch":
        _list_architectures(as_json)
        return
    answers_of = members(group)
    width = max(map(len, answers_of))
    text = [f"{name:{width}}  {line}" for name, line in answers_of.items()]
    print(json.dumps(answers_of, indent=2, ensure_ascii=False) if as_json else "\n".join(text))


def _list_architectures(as_json: bool) -> None:
    from convarium.commands.architectures import records, table

    stated = architectures()
    if as_json:
        print(json.dumps(records(stated), indent=2, ensure_ascii=False))
    else:  # a line for each in a pipe, where columns may be cut and searched
        print(table(stated, shutil.get_terminal_size().columns if sys.stdout.isatty() else None))
