"""What messages and names may hold when they reach a terminal."""

from convarium.wording import one_line, printable


def test_control_characters_are_written_and_not_sent() -> None:
    assert printable("cat\x1b[31m\x07\r") == "cat\\x1b[31m\\x07\\r"
    assert printable("Käfer 🐞\nzwei") == "Käfer 🐞\nzwei"
    assert one_line(ValueError("a\x1b]0;title\x07\nb")) == "a\\x1b]0;title\\x07 b"
