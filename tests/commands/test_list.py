"""`convarium list`: groups, their answers, and the table of architectures at any width of a terminal."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from convarium.commands.list import VERB, records, table
from convarium.config.catalog import Architecture, Published, architectures, conf_dir, members, opening_comments
from convarium.config.catalog import read_architecture as read
from convarium.errors import ConfigError


@pytest.fixture
def listed(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What `convarium list` prints."""

    def run(*words: str) -> str:
        assert VERB(words) == 0
        return capsys.readouterr().out

    return run


def test_list_prints_the_first_line_of_every_answer(listed: Callable[..., str]) -> None:
    lines = listed("norm").splitlines()
    assert len(lines) == len(list((conf_dir() / "norm").glob("*.yaml")))
    assert not any("@package" in line for line in lines)
    assert next(line for line in lines if line.startswith("batch ")).startswith("batch       Batch normalization")


def test_list_arch_is_a_table_and_for_programs_as_many_records(listed: Callable[..., str]) -> None:
    names = {path.stem for path in (conf_dir() / "arch").glob("*.yaml")}
    lines = listed("arch").splitlines()
    assert {line.split()[0] for line in lines[1:] if line.startswith("  ")} == names
    assert next(line for line in lines if line.startswith("  lenet5 ")).split()[:3] == ["lenet5", "61,706", "416,520"]
    answer = json.loads(listed("arch", "format=json"))
    assert answer.keys() == names
    assert (answer["lenet5"]["parameters"], answer["lenet5"]["year"]) == (61706, 1998)


def test_list_alone_prints_the_groups_also_for_programs(listed: Callable[..., str]) -> None:
    text, answer = listed(), json.loads(listed("--json"))
    assert answer["norm"] == sorted(path.stem for path in (conf_dir() / "norm").glob("*.yaml"))
    assert all(f"{group} " in text for group in answer)
    assert json.loads(listed("data", "format=json"))["mnist"].startswith("MNIST")


FIRST = "Net-1 (a b - c) - A & B et al. 2014, Table 1, column D - 1,234 parameters at 3x32x32, 10 classes"
PUBLISHED = "Published: parameters 60 M; multiply-adds 1.8 G; top-1 error 40.7 %; top-5 error 18.2 %; 10 views of val"
NETWORK = Architecture(
    title="Net-1 (a b - c)",
    authors="A & B et al.",
    year=2014,
    where="Table 1, column D",
    parameters=1234,
    with_heads=None,
    channels=3,
    image_size=32,
    num_classes=10,
    multiply_adds=5678,
    published=Published("60 M", "1.8 G", "40.7", "18.2", "10 views of val"),
)
LONG = NETWORK._replace(published=Published(protocol=" ".join(["protocol"] * 30)))


def test_an_architecture_is_read_from_its_opening_comments() -> None:
    assert read([f"{FIRST}, 5,678 multiply-adds", PUBLISHED]) == NETWORK
    headed = read([FIRST.replace("parameters at", "parameters (5,000 with auxiliary heads) at")])
    assert headed == NETWORK._replace(with_heads=5000, multiply_adds=None, published=Published())
    assert read([FIRST]) == NETWORK._replace(multiply_adds=None, published=Published())
    assert read(["Not of that form"]) is None
    assert read([]) is None


def test_an_error_alone_is_that_of_the_first_guess_and_other_words_are_the_protocol() -> None:
    found = read([FIRST, "Published: error 0.95 %; MNIST; no distortions"])
    assert found is not None
    assert found.published == Published(top1_error="0.95", protocol="MNIST; no distortions")


def test_opening_comments_end_where_the_keys_begin(own_directory: Path) -> None:
    file = own_directory / "a.yaml"
    file.write_text("# @package _global_\n# First\n# Second\n_target_: x # no\n# nor this\n")
    assert opening_comments(file) == ["First", "Second"]


def test_every_architecture_is_read_and_every_figure_of_its_paper() -> None:
    stated = architectures()
    assert list(stated) == list(members("arch"))
    for name, network in stated.items():
        lines = (conf_dir() / "arch" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
        assert (network.published == Published()) == (not lines[1].startswith("# Published:")), name
        figure = ("parameters", "multiply-adds", "error", "top-1", "top-5")
        assert not (network.published.protocol or "").startswith(figure), name


def test_a_line_has_our_counts_beside_the_paper_s() -> None:
    lines = table({"net1": NETWORK}).splitlines()
    assert lines[0].split("  ")[-1] == "error in % by which protocol"
    assert lines[2] == "2014 A & B et al."
    assert " ".join(lines[3].split()) == "net1 1,234 60 M 5,678 1.8 G 40.7 18.2 10 views of val"


def test_counts_leave_out_auxiliary_heads_and_a_line_says_what_they_add(listed: Callable[..., str]) -> None:
    rows = {line.split()[0]: line.split()[1] for line in listed("arch").splitlines() if line.startswith("  ")}
    assert (rows["inception_v1"], rows["inception_v3"]) == ("6,998,552", "23,834,568")
    assert listed("arch").splitlines()[-1] == (
        "All counts are without auxiliary heads; parameters with them: inception_v1 13,378,280, inception_v3 27,161,264"
    )
    assert "auxiliary" not in table({"net1": NETWORK})


def test_papers_come_by_year_and_their_networks_by_size() -> None:
    nets = {
        "big": NETWORK._replace(parameters=2000),
        "small": NETWORK,
        "old": NETWORK._replace(year=1998),
        "other": NETWORK._replace(authors="C"),
    }
    first_words = [line.split()[0] for line in table(nets).splitlines()[2:] if line]
    assert first_words == ["1998", "old", "2014", "small", "big", "2014", "other"]


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_no_word_is_lost(width: int) -> None:
    for nets in ({"net1": NETWORK, "convnet_of_long_name": LONG}, architectures()):
        narrow = table(nets, width)
        assert max(map(len, narrow.splitlines())) <= width
        assert sorted(narrow.split()) == sorted(table(nets).split())


def test_the_protocol_stands_beside_the_numbers_at_120_columns_and_below_them_at_80() -> None:
    assert "40.7   18.2  10 views of val" in table({"net1": NETWORK, "long": LONG}, 120)
    beside = [line for line in table({"long": LONG}, 120).splitlines() if "protocol protocol" in line]
    assert len({line.rindex("  ") for line in beside}) == 1
    assert "\n    10 views of val" in table({"vgg16": NETWORK._replace(title="x" * 40), "b" * 30: NETWORK}, 80)


def test_a_pipe_gets_one_line_a_network() -> None:
    assert len(table({"net1": NETWORK, "long": LONG}).splitlines()) == 5


def test_records_are_numbers_and_complete() -> None:
    found = json.loads(json.dumps(records({"net1": NETWORK, "none": NETWORK._replace(published=Published())})))
    assert found["net1"] == {
        "title": "Net-1 (a b - c)",
        "authors": "A & B et al.",
        "year": 2014,
        "where": "Table 1, column D",
        "parameters": 1234,
        "with_heads": None,
        "channels": 3,
        "image_size": 32,
        "num_classes": 10,
        "multiply_adds": 5678,
        "published": {
            "parameters": "60 M",
            "multiply_adds": "1.8 G",
            "top1_error": 40.7,
            "top5_error": 18.2,
            "protocol": "10 views of val",
        },
        "misquoted": None,
        "measured": dict.fromkeys(Published._fields),
    }
    assert set(found["none"]["published"].values()) == {None}


def test_a_key_is_listed_with_what_the_table_says_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert VERB(["trainer.max_epochs"]) == 0
    assert capsys.readouterr().out == (
        "trainer.max_epochs\n"
        "  meaning                   after which training ends\n"
        "  accepted                  at least 1\n"
        "  determines the result     yes\n"
        "  may change on resume      to a larger one\n"
        "  may be given to evaluate  no\n"
    )
    assert VERB(["data.num_workers", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["may change on resume"] == "yes"
    with pytest.raises(ConfigError, match=r"trainer\.max_epoch: unknown key; did you mean 'trainer\.max_epochs'\?"):
        VERB(["trainer.max_epoch"])
    with pytest.raises(ConfigError, match=r"optimzer\.lr: unknown key; did you mean 'optimizer\.lr'\?"):
        VERB(["optimzer.lr"])
    with pytest.raises(ConfigError, match=r"lr: unknown group; did you mean 'optimizer\.lr'\?"):
        VERB(["lr"])
    with pytest.raises(ConfigError, match=r"seeed: unknown group; did you mean 'seed'\?"):
        VERB(["seeed"])


def test_an_answer_is_listed_with_its_group_and_a_key_of_any_group_with_its_row(listed: Callable[..., str]) -> None:
    assert listed("resnet50").startswith("arch=resnet50  ResNet-50")
    papers = {f"{group}=paper" for group in ("norm", "activation", "pool", "init")}
    assert json.loads(listed("paper", "--json")).keys() == papers
    assert listed("*.lr").splitlines()[0] == "*.lr"


def test_answers_in_a_folder_of_configs_are_listed_beside_ours(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("norm/mine", "experiment/first"):
        (tmp_path / "conf" / name).parent.mkdir(parents=True)
        (tmp_path / "conf" / f"{name}.yaml").write_text("# My own\n_target_: torch.nn.Identity\n")
    for words in (["--config-dir", str(tmp_path / "conf")], [f"--config-dir={tmp_path / 'conf'}"]):
        assert VERB(["norm", "--json", *words]) == 0
        listed = json.loads(capsys.readouterr().out)
        assert listed["mine"] == "My own"
        assert {"batch", "paper"} < listed.keys()
    assert VERB(["--config-dir", str(tmp_path / "conf"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["experiment"] == ["first"]
    with pytest.raises(ConfigError, match="--config-dir nowhere: no such folder"):
        VERB(["--config-dir", "nowhere"])
