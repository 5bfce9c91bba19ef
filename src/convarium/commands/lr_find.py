"""`convarium lr-find`: which learning rate to train by, from a short training whose rate rises."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convarium.commands.words import EXPERIMENT, FORMAT, Option, Verb, Words
from convarium.errors import ConfigError
from convarium.progress_bar import doing

if TYPE_CHECKING:
    from convarium.find.range_test import Answer
    from convarium.run.prepare import Prepared


WHY = """\
  The tenth keeps away from where the loss turns; the steepest descent is one
  noisy point of the curve. Where both agree either will do."""


def run(words: Words) -> int:
    """Print the rates and the command that trains by the suggested one; 1 if there is none, else 0."""
    low, high, diverged = (words.number(name) for name in ("low", "high", "diverged"))
    smoothing = words.number("smoothing", zero=True)
    steps = words.whole("steps", accepted=range(10, 100_001), expected="accepted: 10 to 100,000 steps")
    if low >= high:
        raise ConfigError(f"low={low:g}: accepted: less than high={high:g}")
    if smoothing >= 1:
        raise ConfigError(f"smoothing={smoothing:g}: accepted: less than 1")
    if diverged <= 1:
        raise ConfigError(f"diverged={diverged:g}: accepted: more than 1")
    with doing("load torch"):
        from convarium.find.range_test import Range, range_test
        from convarium.find.trial import prepared_from
        from convarium.run.stop_request import Interrupted

    over = Range(low=low, high=high, steps=steps, rise=words.value("rise"), diverged=diverged, smoothing=smoothing)
    with doing("prepare the test"):
        prepared = prepared_from(words.overrides, VERB.name)
    try:
        answer = range_test(prepared, over, Path(words.options["to"]) if "to" in words.options else None)
    except Interrupted as stop:
        print(f"{stop}; the same command goes on", file=sys.stderr)
        return 128 + stop.signum
    fields = _fields(answer, prepared, words.overrides)
    print(json.dumps(fields, indent=2) if words.as_json else _text(answer, prepared, fields))
    return 1 if answer.suggestion is None else 0


def _fields(answer: "Answer", prepared: "Prepared", overrides: list[str]) -> dict[str, Any]:
    from convarium.find.trial import command, rates

    found, base = answer.suggestion, prepared.config["optimizer"]["lr"]
    suggested = found and float(f"{found.tenth:.2g}")
    changed = {
        key: float(f"{rate * suggested / base:.2g}") for key, rate in rates(prepared.config).items() if suggested
    }
    return {
        "folder": str(answer.folder),
        "steps": len(answer.losses),
        "diverged": answer.has_diverged,
        "suggested": suggested,
        "rates": found and found._asdict(),
        "command": command(overrides, **changed) if suggested else None,
    }


def _text(answer: "Answer", prepared: "Prepared", fields: dict[str, Any]) -> str:
    config, over, found = prepared.config, answer.range, answer.suggestion
    lines = [
        f"{config['name']}, batch {config['batch_size']}: the rate rises from {over.low:g} to {over.high:g} in"
        f" {over.steps} steps"
    ]
    if answer.is_old:
        lines.append("  as an earlier command has left it; without its folder it is tested again")
    if answer.has_diverged:
        lines.append(f"  the loss diverges in step {len(answer.losses)}, at a rate of {answer.rates[-1]:.2g}")
    elif found and found.minimum > answer.rates[-1] / 2:
        lines.append("  the loss still falls at the end; high= goes further")
    if found is None:
        lines.append("  the loss hardly falls: no suggestion; more steps (steps=) show more")
    else:
        lines += [
            f"  {found.tenth:8.2g}  a tenth of the rate of the least loss, {found.minimum:.2g}: suggested",
            f"  {found.steepest:8.2g}  steepest descent of the loss",
            WHY,
        ]
    return "\n".join([*lines, f"  {answer.folder}/lr_find.png", *(["", fields["command"]] if found else [])])


VERB = Verb(
    name="lr-find",
    meaning="find a learning rate: the loss of a few steps while the rate rises",
    run=run,
    required="arch=NAME data=NAME",
    options={
        "low": Option("the rate of the first step", default="1e-6"),
        "high": Option("that of the last step", default="10"),
        "steps": Option("optimizer steps", default="200"),
        "rise": Option("how the rate rises", ("exponential", "linear"), "exponential"),
        "diverged": Option("the smoothed loss ends the test at so many times its least", default="4"),
        "smoothing": Option("share of the average so far in the smoothed loss", default="0.9"),
        "to": Option("the folder of the test; lr_find/NAME-HASH if not given"),
        "format": FORMAT,
    },
    overrides="as of train: arch=NAME, data=NAME, optimizer=NAME, ...",
    example="convarium lr-find arch=resnet20 data=cifar10 optimizer=sgd augment=crop_flip",
    groups=EXPERIMENT,
)
