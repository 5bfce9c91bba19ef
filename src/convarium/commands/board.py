"""`convarium board DIR`: the pages of sweeps and runs in a browser, while they change."""

from convarium.commands.words import Option, Verb, Words
from convarium.errors import ConfigError

AUTO = "auto"


def run(words: Words) -> int:
    """Serve a folder until Ctrl-C."""
    folder = VERB.folder(words, "folder")
    if not folder.is_dir():
        raise VERB.misused(f"{folder}: no such folder")
    text = words.value("port")
    port = 0 if text == AUTO else words.whole("port", accepted=range(65536), expected=f"expected 1 to 65535, or {AUTO}")
    from convarium.report.board import Board

    try:
        board = Board(folder, port)
    except PermissionError as error:
        raise ConfigError(f"port={port}: {error.strerror}") from error
    with board:
        print(f"{board.address}  shows {folder} on this machine only; Ctrl-C ends it", flush=True)
        board.serve_forever()
    return 0


VERB = Verb(
    name="board",
    meaning="the pages of a sweep, of a folder of sweeps or of runs in a browser, while they change",
    run=run,
    positions="DIR",
    options={"port": Option(f"of 127.0.0.1, where the board is; {AUTO}: a free one", default=AUTO)},
    example="convarium board sweeps/",
)
