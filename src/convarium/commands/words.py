"""The options of a verb among its words: key=value where the verb knows the key and the value. No torch here."""

from collections.abc import Mapping, Sequence

from convarium.errors import ConfigError
from convarium.wording import nearest

Accepted = tuple[str, ...]
ANYTHING: Accepted = ()


def read_options(words: Sequence[str], options: Mapping[str, Accepted]) -> tuple[dict[str, str], list[str]]:
    """The key=value words whose key is an option, and the other words. Raises ConfigError for a value not accepted."""
    found: dict[str, str] = {}
    rest: list[str] = []
    for word in words:
        key, _, value = word.partition("=")
        if key not in options:
            rest.append(word)
        elif options[key] and value not in options[key]:
            raise ConfigError(f"{word}: unknown{nearest(value, options[key])} One of: {', '.join(options[key])}")
        else:
            found[key] = value
    return found, rest


def only_options(words: Sequence[str], options: Mapping[str, Accepted]) -> dict[str, str]:
    """`read_options` where nothing else is accepted."""
    found, rest = read_options(words, options)
    for word in rest:
        key = word.partition("=")[0]
        raise ConfigError(f"{key}: not accepted{nearest(key, options)} One of: {', '.join(options)}")
    return found


DATA_USAGE = {
    "fetch": "convarium data fetch NAME... [from=FILE|FOLDER|[FILE,FILE]] [key=value ...]",
    "check": "convarium data check ROOT|TABLE.csv|NAME [workers=N] [format=text|json] [to=FILE.csv] [key=value ...]",
    "show": "convarium data show data=NAME [augment=NAME] [to=FILE.png] [images=10] [epochs=4] [key=value ...]",
    "pack": "convarium data pack data=folder data.root=PICTURES to=FOLDER [format=jpeg|raw] [size=256|null]"
    " [quality=90] [shard_mb=64] [threads=N] [key=value ...]",
}
"""How each action of `convarium data` is written."""
