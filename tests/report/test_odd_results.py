"""A result.json of somebody else, or a damaged one: no reader of it fails, whatever stands in a field."""

import json
from pathlib import Path

import pytest

from convarium.commands.diff import VERB as DIFF
from convarium.report.run_page import write_run_page
from convarium.report.sweep_page import sweep_html
from convarium.report.watched import Watched
from convarium.results.rows import open_table
from convarium.results.tables import as_json, columns, in_latex, in_markdown
from convarium.run.directory import Result
from made_runs import made_run

JUNK = (
    None,
    True,
    -1,
    0,
    1e999,
    10**400,
    "",
    "<img src=x onerror=alert(1)>",
    [],
    [1],
    {},
    {"a": []},
    {"val/acc1": "x"},
)


def test_whatever_stands_in_a_field_of_a_result_every_reader_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, other = made_run(tmp_path / "a", images=6), made_run(tmp_path / "b")
    good = run.written_result()
    assert len(good) > 15
    for turn in range(
        2 * len(JUNK)
    ):  # each field meets each of them, with the status of a run that is well and without
        odd = {field: JUNK[(place + turn) % len(JUNK)] for place, field in enumerate(good)}
        run.result_file.write_text(json.dumps({**odd, "status": "ok"} if turn < len(JUNK) else odd))
        write_run_page(run)
        table = open_table([run.path, other.path])
        _ = table.groups, columns(table), as_json(table), in_markdown(table), in_latex(table)
        Result(run, run.config())
        watched = Watched(tmp_path, tmp_path).look()
        assert watched.data is not None
        sweep_html(watched.data)
        DIFF.run(DIFF.read([str(run.path), str(other.path)]))
    run.result_file.write_text("[" * 100_000)
    assert run.result() == {}
    assert "Traceback" not in capsys.readouterr().err
