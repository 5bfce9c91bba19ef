"""`convarium report DIR...`: what sweeps and runs have come to, as a page or as a table."""

import sys
from pathlib import Path

from convarium.commands.words import Option, Verb, Words
from convarium.errors import ConfigError
from convarium.files import require_room, write_atomically, writing
from convarium.progress_bar import doing
from convarium.wording import counted, file_size

FORMATS = ("html", "csv", "md", "latex", "json")


def run(words: Words) -> int:
    """Write the page and print where it is, or print the table, or write it to `out`."""
    VERB.folder(words, "sweep or run")
    paths, kind = [Path(path) for path in words.positions], words.value("format")
    out = Path(words.options["out"]) if "out" in words.options else None
    if out is not None:
        if out.is_dir() or not out.parent.is_dir():
            raise ConfigError(f"out={out}: expected the name of a file in a folder that exists")
        require_room(f"out={out}", out)
    if kind == "html":
        return _page(paths, out)
    with doing("read the results"):
        from convarium.results.rows import open_table
        from convarium.results.tables import as_json, in_csv, in_latex, in_markdown

        table = open_table(paths)
        text = {"csv": in_csv, "md": in_markdown, "latex": in_latex, "json": as_json}[kind](table)
    if waiting := [row.status for row in table.rows if row.status in ("queued", "running")]:
        print(f"{len(waiting)} of {counted(len(table.rows), 'job')} have not ended", file=sys.stderr)
    if out is None:
        sys.stdout.write(text)
    else:
        with writing(f"out={out}"):
            write_atomically(out, text)
        print(f"{out}: {counted(len(table.rows), 'job')}")
    return 0


def _page(paths: list[Path], out: Path | None) -> int:
    with doing("write the page"):
        if len(paths) == 1 and (paths[0] / "config.yaml").is_file():
            from convarium.report.run_page import write_run_page
            from convarium.run.directory import RunDirectory

            page = write_run_page(RunDirectory.open(paths[0]), out)
        else:
            from convarium.report.sweep_page import write_sweep_page

            page = write_sweep_page(paths, out)
    print(f"{page}: {file_size(page.stat().st_size)}")
    return 0


VERB = Verb(
    name="report",
    meaning="write a page of what sweeps and runs have come to, or print it as a table",
    run=run,
    positions="DIR...",
    options={
        "format": Option("a page; every job (csv); means, as in a paper (md, latex); both (json)", FORMATS, "html"),
        "out": Option("the file; without it the page lies in the folder of the sweep or run, a table is printed"),
    },
    example="convarium report sweeps/NAME format=latex",
)
