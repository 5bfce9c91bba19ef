"""`convarium sweep resume DIR`: go on with a sweep."""

from convarium.commands.words import Verb, Words


def run(words: Words) -> int:
    """Go on from what is frozen in the directory of the sweep."""
    folder = VERB.folder(words, "sweep")
    from convarium.sweep.resume import resume

    return resume(folder, words.overrides)


VERB = Verb(
    name="sweep resume",
    meaning="go on with a sweep",
    run=run,
    positions="DIR",
    overrides="other answers under sweep, such as sweep.retries=2",
    example="convarium sweep resume sweeps/NAME",
    groups=("sweep",),
)
