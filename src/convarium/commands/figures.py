"""`convarium figures RUN`: its figures once more."""

from convarium.commands.words import Option, Verb, Words
from convarium.progress_bar import doing
from convarium.trained import WEIGHTS


def run(words: Words) -> int:
    """Draw the figures of a run, and print their files; 1 if there is none, else 0."""
    folder = VERB.run_folder(words)
    with doing("load torch"):
        from convarium.run.console import own_log_lines
        from convarium.run.directory import RunDirectory
        from convarium.trained.draw import draw

    with doing("read the record"), own_log_lines():
        drawn = draw(RunDirectory.open(folder), weights=words.value("weights"))
    for path in drawn:
        print(path)
    return 0 if drawn else 1


VERB = Verb(
    name="figures",
    meaning="draw the figures of a run again, by its record and its test",
    run=run,
    positions="RUN",
    options={"weights": Option("which weights of the run are tested for it", WEIGHTS, "final")},
    example="convarium figures runs/digits",
)
