"""From points to jobs: what makes two of them the same, what they are called, what is refused."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convarium.config.accepts import FOLDER_NAME
from convarium.config.compose import Conf
from convarium.errors import ConfigError
from convarium.results.directory import SweepDirectory
from convarium.sweep.grid import points_of
from convarium.sweep.plan import AtPoint, Plan, check_same_base, default_name, job_key, job_name, plan

SWEPT = st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.floats() | st.text(), max_size=5)


@pytest.fixture(scope="module")
def conf() -> Conf:
    return Conf()


def planned(conf: Conf, *words: str) -> Plan:
    """The jobs of `python train.py -m WORDS`."""
    return plan(conf, *points_of(conf.loader, words))


def keys(conf: Conf, *words: str) -> list[str]:
    return [job.key for job in planned(conf, *words).jobs]


def refused(conf: Conf, *words: str) -> str:
    with pytest.raises(ConfigError) as caught:
        planned(conf, *words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# the keys of jobs


def test_a_key_is_the_same_in_every_process_and_version() -> None:
    assert job_key({"arch": {"depth": 20}, "seed": 1}, {"seed": 1, "norm": "batch"}) == "4206f4f86990"


@pytest.mark.parametrize(
    ("word", "other"),
    [
        ("optimizer.lr=0.1,1", "optimizer.lr=1e-1,1.0"),
        ("optimizer.amsgrad=true,false", "optimizer.amsgrad=True,False"),
        ("seed=1,2", "seed=range(1,3)"),
        ("seed=1,2", "++seed=1,2"),
        ("arch=lenet5,resnet20", "arch='lenet5',\"resnet20\""),
        ("arch.widths=[4,8],[8]", "arch.widths=[4, 8],[8]"),
    ],
)
def test_a_value_written_otherwise_is_the_same_job(conf: Conf, word: str, other: str) -> None:
    arch = ["arch=convnet"] if "widths" in word else []
    assert keys(conf, *arch, word) == keys(conf, *arch, other)


def test_the_order_of_words_does_not_matter(conf: Conf) -> None:
    words = ("seed=1,2", "norm=batch", "optimizer.lr=0.1,0.2", "dropout=0.1")
    assert set(keys(conf, *words)) == set(keys(conf, *reversed(words)))


@pytest.mark.parametrize("word", ["threads=2", "trainer.accelerator=cpu", "logger=wandb", "sweep.jobs=1", "name=a"])
def test_where_it_runs_and_how_it_is_watched_keeps_the_keys(conf: Conf, word: str) -> None:
    assert keys(conf, "seed=1,2", word) == keys(conf, "seed=1,2")


@pytest.mark.parametrize("word", ["dropout=0.1", "norm=batch", "optimizer.lr=0.1", "trainer.max_epochs=2"])
def test_another_base_has_other_keys(conf: Conf, word: str) -> None:
    assert set(keys(conf, "seed=1,2", word)).isdisjoint(keys(conf, "seed=1,2"))


@pytest.mark.parametrize(
    "word",
    [
        "seed=1,2",
        "optimizer.lr=0.1,0.1000001",
        "dropout=null,0",
        "arch=lenet5,lenet5_1998",
        "trainer.devices=1,2",
        "threads=1,2",
        "trainer.log_every_n_steps=1,2",
        "callbacks=[checkpoint],[checkpoint,progress]",
        "logger=wandb,mlflow",
        "name=a,A",
    ],
)
def test_two_values_of_an_axis_are_two_jobs_even_if_the_result_is_the_same(conf: Conf, word: str) -> None:
    wanted = planned(conf, word)
    assert (len({job.key for job in wanted.jobs}), wanted.doubles) == (2, 0)
    assert len({job.name.lower() for job in wanted.jobs}) == 2  # where capitals do not count


def test_the_same_experiment_on_another_axis_is_another_job(conf: Conf) -> None:
    assert set(keys(conf, "seed=1,2", "dropout=0.1")).isdisjoint(keys(conf, "dropout=0.1,0.2", "seed=1"))


# their folders


@given(SWEPT, st.from_regex(r"[0-9a-f]{12}", fullmatch=True))
@settings(deadline=None)
def test_the_name_of_a_job_is_a_safe_folder_name(swept: dict[str, object], key: str) -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,47}-" + key, job_name(swept, key))


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["arch=resnet20", "norm=batch,none"], "batch"),
        (["optimizer.lr=0.1,0.2", "arch=resnet20,lenet5", "seed=1,2"], "resnet20-lr-0.1-seed-1"),
        (["dropout=null,0.1"], "dropout-null"),
        (["arch=mlp", "arch.hidden=[16,8],[4]"], "hidden-16-8"),
        (["name='Größe/../1',b"], "groe-..-1"),
        (["seed=1"], "job"),
    ],
)
def test_the_name_of_a_job_says_what_is_special_about_it(conf: Conf, words: list[str], name: str) -> None:
    job = planned(conf, *words).jobs[0]
    assert job.name == f"{name}-{job.key}"


# plans


def test_a_point_asked_for_again_is_counted_and_not_planned(conf: Conf) -> None:
    wanted = planned(conf, "optimizer.lr=0.1,1e-1,0.2", "seed=1,1")
    assert ([str(job) for job in wanted.jobs], wanted.doubles) == (
        ["optimizer.lr=0.1 seed=1", "optimizer.lr=0.2 seed=1"],
        4,
    )


def test_a_plan_has_its_axes_and_what_all_jobs_share(conf: Conf) -> None:
    wanted = planned(conf, "norm=batch", "seed=1,2", "+callbacks=progress,figures", "callbacks=[]")
    assert (wanted.axes, wanted.fixed) == (["seed", "+callbacks"], ["norm=batch", "callbacks=[]"])


def test_swept_values_are_those_of_the_config(conf: Conf) -> None:
    job = planned(conf, "optimizer=sgd,adamw", "optimizer.lr=1,2", "norm=none", "++seed=3,4").jobs[0]
    assert job.swept == {"optimizer": "sgd", "optimizer.lr": 1.0, "seed": 3}
    assert (job.config["optimizer"]["lr"], job.config["seed"]) == (1.0, 3)
    assert job.words == ["optimizer=sgd", "optimizer.lr=1", "++seed=3"]  # in the order of the command
    assert job.overrides == ["optimizer=sgd", "optimizer.lr=1", "norm=none", "++seed=3"]


def test_an_axis_without_values_is_refused(conf: Conf) -> None:
    with pytest.raises(ConfigError, match="seed: no values, and so no jobs"):
        plan(conf, [], ["seed"])


def test_words_for_hydra_belong_to_every_point(conf: Conf) -> None:
    with pytest.raises(AtPoint, match=r"hydra\.callbacks\.mine: not accepted.* \(job 1 of 1: seed=1\)"):
        plan(conf, [["seed=1"]], ["seed"], ["+hydra.callbacks.mine._target_=os.system"])


# what is refused


def test_the_first_point_that_is_wrong_is_named(conf: Conf) -> None:
    message = "batch_size=0: out of range; accepted: at least 1"
    assert refused(conf, "seed=1,2", "batch_size=32,0") == f"{message} (job 2 of 4: seed=1 batch_size=0)"
    assert refused(conf, "batch_size=0") == f"{message} (job 1 of 1: the only one)"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("study=none,none", "study: cannot be swept, a study is a sweep itself; run one after the other"),
        ("sweep.timeout=1,2", "sweep.timeout: cannot be swept, it is about the sweep"),
        ("++sweep.jobs=1,2", "sweep.jobs: cannot be swept, it is about the sweep"),
        ("resume=a,b", "goes on with one run; without -m (job 1 of 2: resume=a)"),
        ("seed=1,x", "(job 2 of 2: seed=x)"),
        ("sed=1,2", "(job 1 of 2: sed=1)"),
    ],
)
def test_what_cannot_be_swept_is_refused(conf: Conf, word: str, message: str) -> None:
    assert refused(conf, word).endswith(message)


# the names of sweeps


def test_the_same_command_has_the_same_name_in_any_order(conf: Conf) -> None:
    name = default_name(conf, ["norm=batch", "optimizer.lr=0.1"], ["seed", "+callbacks"])
    assert default_name(conf, ["optimizer.lr=1e-1", "norm=batch"], ["callbacks", "seed"]) == name


@pytest.mark.parametrize("word", ["threads=2", "trainer.devices=2", "sweep.jobs=1", "logger=wandb", "name=a"])
def test_where_it_runs_keeps_the_name(conf: Conf, word: str) -> None:
    assert default_name(conf, ["norm=batch", word], ["seed"]) == default_name(conf, ["norm=batch"], ["seed"])


@pytest.mark.parametrize(
    ("fixed", "axes"),
    [(["norm=none"], ["seed"]), (["norm=batch", "dropout=0.1"], ["seed"]), (["norm=batch"], ["seed", "dropout"])],
)
def test_another_base_or_axis_is_another_name(conf: Conf, fixed: list[str], axes: list[str]) -> None:
    assert default_name(conf, fixed, axes) != default_name(conf, ["norm=batch"], ["seed"])


def test_a_name_says_the_answers_and_the_axes(conf: Conf) -> None:
    name = default_name(conf, ["norm=batch", "arch=resnet20", "dropout=0.1"], ["seed", "optimizer.lr"])
    assert re.fullmatch(r"resnet20-batch-lr-seed-[0-9a-f]{12}", name)


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc",), exclude_characters="'\"\\"), max_size=80))
@settings(deadline=None, max_examples=25)
def test_a_name_is_accepted_as_the_name_of_a_sweep(conf: Conf, text: str) -> None:
    accepted = FOLDER_NAME.test
    assert accepted(default_name(conf, [f"run='{text}'"], ["seed"]))


def test_a_name_is_at_most_as_long_as_that_of_a_folder() -> None:
    accepted = FOLDER_NAME.test
    assert [accepted(name) for name in ("ä" * 127, "ä" * 128, "a" * 255)] == [True, False, True]


# going on with a sweep


@pytest.fixture(scope="module")
def seeds(conf: Conf) -> Plan:
    return planned(conf, "seed=1,2", "dropout=0.1")


def begun(wanted: Plan) -> SweepDirectory:
    """A sweep that has frozen these jobs."""
    sweep = SweepDirectory.named("s")
    sweep.make()
    sweep.describe(axes=[axis.lstrip("+") for axis in wanted.axes])
    for job in wanted.jobs:
        sweep.run(job.name).make(job.config, job.overrides)
        entry = {"job": job.name, "status": "queued", "key": job.key, "swept": job.swept, "words": job.words}
        sweep.append([entry])
    return sweep


def refused_base(conf: Conf, before: Plan, *words: str) -> str:
    sweep = begun(before)
    with pytest.raises(ConfigError) as caught:
        check_same_base(sweep, conf, planned(conf, *words))
    return str(caught.value)


def test_a_sweep_that_is_not_there_yet_has_any_base(conf: Conf, seeds: Plan) -> None:
    check_same_base(SweepDirectory.named("new"), conf, seeds)
    assert not SweepDirectory.named("new").path.exists()


@pytest.mark.parametrize(
    "words",
    [
        ("seed=1,2", "dropout=0.1"),
        ("dropout=1e-1", "seed=2,3,4"),
        ("seed=8,9", "dropout=0.1"),
        ("++seed=1,2", "dropout=0.1", "threads=2", "logger=wandb", "trainer.devices=2", "sweep.jobs=1"),
    ],
)
def test_the_same_base_goes_on(conf: Conf, seeds: Plan, words: tuple[str, ...]) -> None:
    assert check_same_base(begun(seeds), conf, planned(conf, *words)) is None  # type: ignore[func-returns-value]


@pytest.mark.parametrize("seeds_now", ["seed=2,3", "seed=7,8"])
def test_another_base_is_refused_whether_jobs_are_known_or_not(conf: Conf, seeds: Plan, seeds_now: str) -> None:
    assert refused_base(conf, seeds, seeds_now, "dropout=0.1", "optimizer.lr=0.2") == (
        "sweep.name=s: its base has changed: optimizer.lr 0.001 -> 0.2 "
        f"(job seed={2 if seeds_now == 'seed=2,3' else 1}); choose another sweep.name"
    )


def test_at_most_three_changes_of_a_base_are_told(conf: Conf, seeds: Plan) -> None:
    words = ("dropout=0.1", "optimizer.eps=1", "optimizer.lr=1", "clip.max_norm=9", "test.weights=last", "decay=all")
    message = refused_base(conf, seeds, "seed=1,2", *words)
    assert re.search(r"changed: \S+ \S+ -> \S+(, \S+ \S+ -> \S+){2} and 2 more \(job seed=1\)", message)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("seed=1,2", "dropout=0.1,0.2"), "sweeps seed, now dropout, seed"),
        (("norm=none,batch", "dropout=0.1"), "sweeps seed, now norm"),
        (("seed=1", "dropout=0.1"), "sweeps seed, now nothing"),
    ],
)
def test_other_axes_are_refused(conf: Conf, seeds: Plan, words: tuple[str, ...], told: str) -> None:
    assert refused_base(conf, seeds, *words) == f"sweep.name=s: {told}; choose another sweep.name"


def test_jobs_that_were_never_frozen_say_nothing_about_the_base(conf: Conf, seeds: Plan) -> None:
    sweep = begun(seeds)
    for job in seeds.jobs:
        sweep.run(job.name).config_file.unlink()
    other = planned(conf, "seed=1,2", "dropout=0.2")
    assert check_same_base(sweep, conf, other) is None  # type: ignore[func-returns-value]
