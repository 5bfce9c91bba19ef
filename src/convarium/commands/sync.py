"""`convarium sync DIR...`: runs replayed to Weights & Biases."""

from convarium.commands.words import Option, Verb, Words
from convarium.errors import RunError
from convarium.progress_bar import Progress, doing
from convarium.wording import one_line


def run(words: Words) -> int:
    """Replay every run below the folders, and print what became of each; 1 if one failed, else 0."""
    VERB.folder(words, "sweep or run")
    with doing("load torch"):
        from convarium.results.rows import runs_of
        from convarium.run.console import own_log_lines
        from convarium.trained.sync import require_server, sync
    runs, mode = runs_of(words.positions), words.value("mode")
    if mode == "online":
        require_server()
    failed, lines = 0, []
    with Progress() as progress, own_log_lines():
        progress.begin(len(runs), "runs")
        for one in runs:
            try:
                lines.append(f"{one.path}: {sync(one, mode=mode)}")
            except RunError as error:
                failed += 1
                lines.append(f"{one.path}: {one_line(error)}")
            progress.advance(note=one.path.name)
    print("\n".join(lines))
    return int(failed > 0)


VERB = Verb(
    name="sync",
    meaning="replay runs to Weights & Biases: what is missing there, under the same id",
    run=run,
    positions="DIR...",
    options={"mode": Option("online, or offline: files for `wandb sync`", ("online", "offline"), "online")},
    example="convarium sync sweeps/NAME",
)
