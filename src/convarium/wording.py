"""The nearest valid spelling of a word that is none."""

import difflib
from collections.abc import Iterable


def nearest(word: str, among: Iterable[str]) -> str:
    """ "; did you mean 'batch'?", or "." where nothing is near. A beginning of a longer word is near to it."""
    valid = list(among)
    near = (
        [name for name in valid if name.lower() == word.lower()]
        or difflib.get_close_matches(word, valid, n=1)
        or [name for name in valid if len(word) > 2 and name.startswith(word)]
    )
    return f"; did you mean '{near[0]}'?" if near else "."
