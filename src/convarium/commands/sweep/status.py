"""`convarium sweep status DIR`: where a sweep stands."""

import json
from collections import Counter

from convarium.commands.words import FORMAT, Verb, Words
from convarium.wording import printable


def run(words: Words) -> int:
    """Print where a sweep stands; 0 if all of its jobs ended well, else 1."""
    folder = VERB.folder(words, "sweep")
    from convarium.results.directory import SweepDirectory
    from convarium.results.leaderboard import Leaderboard
    from convarium.run.directory import SUCCEEDED

    sweep = SweepDirectory.open(folder)
    board = Leaderboard(sweep)
    code = 0 if all(row.status in SUCCEEDED for row in board.rows) else 1
    if words.as_json:
        names = ("job", "swept", "status", "error")
        jobs = [{name: getattr(row, name) for name in names} | row.figures for row in board.rows]
        answer = {"path": str(sweep.path), "at_work": sweep.is_locked(), "jobs": jobs}
        print(json.dumps(answer, indent=2, ensure_ascii=False))
        return code
    print(f"{sweep.path}: {'at work' if sweep.is_locked() else 'nobody is at work'}")
    print(", ".join(f"{count} {name}" for name, count in Counter(row.status for row in board.rows).items()))
    for row in board.rows:
        if row.status == "running":
            result = sweep.run(row.job).result()
            print(f"  running  {row.job}  epoch {result.get('epochs', 0)}, step {result.get('steps', 0):,}")
    print(board.on_screen())
    for row in board.failures:
        print(printable(f"  {row.status:<11}  {row.job}  {row.error or ''}"))
    return code


VERB = Verb(
    name="sweep status",
    meaning="print where a sweep stands",
    run=run,
    positions="DIR",
    options={"format": FORMAT},
    example="convarium sweep status sweeps/NAME --json",
)
