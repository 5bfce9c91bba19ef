"""What a person reads: the header, the table at the end, and the copy of both in train.log."""

import io
import logging
from pathlib import Path

import pytest

from convarium.run.console import Tee, own_log_lines, summary, tee
from convarium.run.directory import RunDirectory
from experiments import experiment

RESULT = {
    "status": "ok",
    "metrics": {"train/loss": 0.25, "val/acc1": 0.5, "best/val/acc1": 0.75, "test/acc1": 1.0},
    "images_per_second": 12345.6,
    "epochs": 3,
    "steps": 1200,
    "wall_seconds": 61.4,
}


def test_the_header_says_what_is_trained_on_what_and_for_how_long(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("data.train_size=500", "trainer.accumulate_grad_batches=2", "trainer.max_epochs=2", "clip=none")
    experiment(*words, "augment=[crop_flip,mixup]")
    out = capsys.readouterr().out
    header = [line.split(maxsplit=1) for line in out.split("\n\n")[0].splitlines()]
    assert dict(header) == {
        "run": str(Path("run").absolute()),
        "network": "mlp-synthetic-crop_flip-mixup: 1,210 parameters, 1,184 multiply-adds per image",
        "images": "1x8x8, 10 classes: 400 train (16 left out of each epoch), 100 val, 128 test",
        "from": "SyntheticImages, made by formula",
        "augment": "CropFlip, MixUp",
        "device": "cpu, 1 thread each, 32-true",
        "batch": "32 = 1 device x 2 accumulated x 16 images",
        "length": "24 steps, 12 per epoch",
        "rate": "0.001 (AdamW, Cosine)",
    }


def test_the_last_screen_has_the_metrics_the_speed_the_folder_and_what_to_do_next(own_directory: Path) -> None:
    assert summary(RunDirectory(own_directory / "runs" / "one"), RESULT).splitlines() == [
        "",
        "              train        val   best val       test",
        "    loss     0.2500                                 ",
        "    acc1                0.5000     0.7500     1.0000",
        "",
        "  ok: 3 epochs, 1,200 steps in 61 s, 12,346 images/s",
        "",
        "  runs/one",
        "    convarium evaluate runs/one",
        "    convarium predict runs/one IMAGE...",
        "    ls runs/one/figures",
    ]


def test_one_of_something_is_no_plural(own_directory: Path) -> None:
    result = RESULT | {"epochs": 1, "steps": 1}
    assert "  ok: 1 epoch, 1 step in 61 s, 12,346 images/s" in summary(RunDirectory(own_directory), result)


def test_a_run_that_did_not_end_well_is_shown_how_to_go_on(own_directory: Path) -> None:
    result = RESULT | {"status": "interrupted", "metrics": {}, "images_per_second": None}
    assert summary(RunDirectory(own_directory / "a b"), result).splitlines() == [
        "",
        "  interrupted: 3 epochs, 1,200 steps in 61 s",
        "",
        "  'a b'",
        "    python train.py resume='a b'",
    ]


def test_a_run_that_failed_is_shown_where_it_says_why(own_directory: Path) -> None:
    result = RESULT | {"status": "failed", "metrics": {}}
    assert summary(RunDirectory(own_directory / "one"), result).splitlines()[-1] == "    less one/train.log"


def test_our_own_lines_are_shown_once_and_those_of_others_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    with own_log_lines():
        logging.getLogger("convarium.somewhere").info("wandb: %s", "https://a.b/run")
        logging.getLogger("elsewhere").info("chatter")
    logging.getLogger("convarium.somewhere").info("after the run")
    assert capsys.readouterr().err == "wandb: https://a.b/run\n"


def test_a_folder_elsewhere_is_named_in_full() -> None:
    assert "\n  /else/where\n" in summary(RunDirectory(Path("/else/where")), RESULT)


def test_the_log_has_what_the_screen_had(capsys: pytest.CaptureFixture[str]) -> None:
    run = experiment()
    assert run.log_file.read_text() == capsys.readouterr().out


def test_the_header_has_what_the_numbers_of_a_network_do_not_show() -> None:
    run = experiment("arch=resnet20", "arch.depth=8", "norm=group", "trainer.fast_dev_run=true")
    assert "\n    note  5 of 7 group norms are instance norms: norm.channels_per_group=1\n" in run.log_file.read_text()


def test_the_log_of_a_resumed_run_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("one", "two"):
        with tee(tmp_path / "log"):
            print(word)
    assert (tmp_path / "log").read_text() == "one\ntwo\n"
    assert capsys.readouterr().out == "one\ntwo\n"


def test_a_bar_that_redraws_itself_stays_out_of_the_log() -> None:
    screen, log = io.StringIO(), io.StringIO()
    tee = Tee(screen, log)
    for text in ("\x1b[2K", "50%\r", "a line\n"):
        tee.write(text)
    assert screen.getvalue() == "\x1b[2K50%\ra line\n"
    assert log.getvalue() == "a line\n"


def test_a_log_that_was_closed_meanwhile_does_not_stop_the_screen() -> None:
    screen, log = io.StringIO(), io.StringIO()
    tee = Tee(screen, log)
    log.close()
    tee.write("said late")
    tee.flush()
    assert screen.getvalue() == "said late"
