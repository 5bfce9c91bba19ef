"""What messages and names may hold when they reach a terminal."""

from convarium.wording import compact, file_size, one_line, printable


def test_control_characters_are_written_and_not_sent() -> None:
    assert printable("cat\x1b[31m\x07\r") == "cat\\x1b[31m\\x07\\r"
    assert printable("Käfer 🐞\nzwei") == "Käfer 🐞\nzwei"
    assert one_line(ValueError("a\x1b]0;title\x07\nb")) == "a\\x1b]0;title\\x07 b"


def test_numbers_have_three_digits_and_the_unit_that_they_are_rounded_to() -> None:
    numbers = (0, 999, 1000, 999_600, 15_237_608, 2.5e12)
    assert [compact(number, "") for number in numbers] == ["0", "999", "1k", "1M", "15.2M", "2.5T"]
    assert compact(61_100_840) == "61.1 M"
    assert [file_size(number) for number in (999, 999_600, 1.234e9)] == ["999 bytes", "1 MB", "1.23 GB"]
