"""`convarium data show`: a sheet of training images before and after augmentation, as the network sees them."""

import warnings
from pathlib import Path

from convarium.commands.words import ANYTHING, read_options
from convarium.config.compose import Conf, readable
from convarium.config.instantiate import build
from convarium.data.module import ImageData
from convarium.errors import ConfigError
from convarium.observe.contact_sheet import contact_sheet

SUFFIXES = (".png", ".pdf", ".svg", ".jpg", ".webp")


def show(words: list[str]) -> int:
    """Write the sheet. Raises ConfigError for a file of another kind, and where the data cannot be read."""
    options, overrides = read_options(words, {"to": ANYTHING, "images": ANYTHING, "epochs": ANYTHING})
    target = Path(options.get("to", "training_images.png")).expanduser()
    if target.suffix not in SUFFIXES:
        raise ConfigError(f"to={target}: accepted are files ending in {', '.join(SUFFIXES)}")
    if not target.absolute().parent.is_dir():
        raise ConfigError(f"to={target}: no such folder {target.absolute().parent}")
    numbers = {"images": 10, "epochs": 4}
    for name in numbers:
        text = options.get(name, str(numbers[name]))
        if not text.isdecimal() or not 1 <= int(text) <= 100:
            raise ConfigError(f"{name}={text}: accepted are whole numbers from 1 to 100")
        numbers[name] = int(text)
    config = Conf().compose(readable(overrides), to_train=False).config
    try:
        data: ImageData = build(config["data"], "data")
        data.setup("fit")
        samples = data.samples(numbers["images"], numbers["epochs"])
    except (ValueError, OSError) as error:
        raise ConfigError(str(error)) from error
    figure = contact_sheet(*samples)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class name in a script that the font lacks
        try:
            figure.savefig(target, dpi=150)
        except OSError as error:
            raise ConfigError(f"to={target}: cannot be written: {error.strerror or error}") from error
    print(f"{target}: {len(samples.stored)} training images of {data}, augmentation: {data.pipeline}")
    return 0
