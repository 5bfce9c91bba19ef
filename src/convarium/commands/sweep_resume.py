"""`convarium sweep resume DIR`: go on with a sweep."""

from pathlib import Path

from convarium.commands.words import Verb, Words


def run(words: Words) -> int:
    """Go on from what is frozen in the directory of the sweep."""
    if not words.positions:
        raise VERB.misused("no sweep given")
    from convarium.sweep.resume import resume

    return resume(Path(words.positions[0]).expanduser(), words.overrides)


VERB = Verb(
    name="sweep resume",
    meaning="go on with a sweep",
    run=run,
    positions="DIR",
    most=1,
    overrides="other answers under sweep, such as sweep.retries=2",
    example="convarium sweep resume sweeps/NAME",
)
