"""Studies: what their numbers say of their claims, and that each of them composes and claims what it sweeps."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from convarium.config.catalog import conf_dir
from convarium.config.compose import Conf
from convarium.config.study import Claim, Study, read_study
from convarium.errors import ConfigError
from convarium.results.rows import open_table
from convarium.results.study import answer
from convarium.sweep.grid import off_axes, points_of, values
from convarium.sweep.plan import default_name
from results.test_leaderboard import add, begin, seeded

NAMES = sorted(path.stem for path in (conf_dir() / "study").glob("*.yaml") if path.stem != "none")
CLAIM = Claim("batch is better", "best/val/acc1", {"norm": "batch"}, {"norm": "none"})


def study(*claims: Claim) -> Study:
    return Study("s", "Is it?", "nobody", "yes", list(claims), "laptop", {})


@pytest.mark.parametrize(
    ("batch", "none", "verdict"),
    [
        ([0.80, 0.91, 0.99], [0.50, 0.62, 0.69], "holds"),
        ([0.50, 0.62, 0.69], [0.80, 0.91, 0.99], "does not hold"),
        ([0.80, 0.60, 0.99], [0.70, 0.72, 0.89], "cannot be said"),
        ([0.80], [0.50], "cannot be said"),
        ([None], [0.50], "cannot be said"),
    ],
)
def test_a_claim_holds_or_does_not_or_cannot_be_said(batch: list[Any], none: list[Any], verdict: str) -> None:
    seeded({"batch": batch, "none": none})
    found = answer(open_table(["sweeps/s"]), study(CLAIM))
    assert [one.verdict for one in found.findings] == [verdict]
    assert found.sentence.startswith(f"It {verdict} that batch is better")


def test_a_claim_may_say_by_how_much_and_many_claims_are_corrected() -> None:
    seeded({"batch": [0.80, 0.90, 1.0], "none": [0.50, 0.61, 0.72], "group": [0.80, 0.91, 0.99]})
    table = open_table(["sweeps/s"])
    alone = answer(table, study(CLAIM)).findings[0]
    more = CLAIM._replace(by=0.5)
    two = answer(table, study(CLAIM, more)).findings
    assert two[0].p == pytest.approx(2 * alone.p)
    assert [one.verdict for one in two] == ["holds", "does not hold"]


def test_a_difference_that_may_lie_on_either_side_of_the_claimed_one_cannot_be_said() -> None:
    seeded({"batch": [0.80, 0.90, 1.00], "none": [0.70, 0.82, 0.88]})  # differences of 0.10, 0.08 and 0.12
    table = open_table(["sweeps/s"])
    by = {claimed: answer(table, study(CLAIM._replace(by=claimed))).findings[0].verdict for claimed in (0.0, 0.09, 0.2)}
    assert by == {0.0: "holds", 0.09: "cannot be said", 0.2: "does not hold"}


@pytest.mark.parametrize(("metric", "more"), [("test/acc1", 0.8), ("test/loss", None)])
def test_of_a_job_that_diverged_the_accuracy_is_0_and_the_loss_is_not_known(metric: str, more: float | None) -> None:
    sweep = begin("clip", "seed")
    for seed, figure in enumerate((0.7, 0.8, 0.9), 1):
        add(sweep, f"norm-{seed}", {"clip": "norm", "seed": seed}, metrics={metric: figure})
        before = {"metrics": {metric: 0.5}}  # of its first epochs
        add(sweep, f"none-{seed}", {"clip": "none", "seed": seed}, "diverged", **before)
    claim = Claim("clipping helps", metric, {"clip": "norm"}, {"clip": "none"})
    found = answer(open_table(["sweeps/s"]), study(claim))
    if more is None:
        assert found.sentence == "It cannot be said that clipping helps: test/loss was not measured in both."
    else:
        assert found.findings[0].difference.mean == pytest.approx(more)
        assert found.sentence.startswith("It holds that clipping helps (test/acc1 +0.8000, ")
        assert found.sentence.endswith(", 3 of the jobs diverged and count as 0).")


def test_a_job_that_failed_otherwise_is_left_out() -> None:
    seeded({"batch": [0.80, 0.91, None], "none": [0.50, 0.62, 0.69]})
    found = answer(open_table(["sweeps/s"]), study(CLAIM)).findings[0]
    assert (found.difference.number, found.zeros) == (2, 0)


def test_a_metric_that_nobody_measured_is_said() -> None:
    seeded({"batch": [0.8, 0.9], "none": [0.5, 0.6]})
    found = answer(open_table(["sweeps/s"]), study(CLAIM._replace(metric="test/speed")))
    assert found.sentence == "It cannot be said that batch is better: test/speed was not measured in both."


@pytest.mark.parametrize("name", NAMES)
def test_a_study_composes_and_claims_what_it_sweeps(name: str) -> None:
    conf = Conf()
    node = conf.compose([f"study={name}"]).study
    found = read_study(node)
    assert found.name == name
    assert found.question.endswith("?")
    for size in node["sizes"] if node else ():
        sweep = read_study({**node, "size": size}).sweep
        points, axes = points_of(conf.loader, [f"{key}={value}" for key, value in sweep.items()])
        swept = [values(point) for point in points]
        assert "seed" in axes
        for claim in found.claims:
            for place in (claim.more, claim.less):
                assert set(place) <= set(axes)
                assert any(all(point[key] == value for key, value in place.items()) for point in swept), (size, place)
        words = [f"study={name}", f"study.size={size}"]
        assert "study" not in conf.compose([*words, *points[-1]]).config
        assert default_name(conf, [*words, *off_axes(points[0], axes)], axes) == f"{name}-{size}"


def test_the_page_of_studies_is_made_of_what_their_files_say() -> None:
    made = runpy.run_path(str(Path(__file__).parents[2] / "docs/studies.py"))
    assert made["PAGE"].read_text(encoding="utf-8") == made["page"]()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["study.size=lapto"], "study.size=lapto: unknown; did you mean 'laptop'? One of: laptop, full"),
        (["study=los"], "study=los: unknown; did you mean 'loss'?"),
        (["study=none", "study.size=full"], "study: none is chosen; write study=NAME too. One of: activation, "),
    ],
)
def test_a_size_that_there_is_not_is_one_line(convarium: Callable[..., Any], words: list[str], line: str) -> None:
    answer = convarium("train", "study=loss", "sweep.dry_run=true", *words)
    assert answer.code == 2
    assert line in answer.err


def test_a_study_without_a_claim_or_question_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"study.question: is missing"):
        read_study(
            {"name": "s", "source": "", "expected": "", "claims": [], "size": "a", "sizes": {"a": {"sweep": {}}}}
        )
