"""`convarium data show`: a sheet of training images before and after augmentation, as the network sees them."""

import warnings
from pathlib import Path

from convarium.commands.words import Option, Verb, Words
from convarium.errors import ConfigError
from convarium.progress_bar import doing

SUFFIXES = (".png", ".pdf", ".svg", ".jpg", ".webp")


def run(words: Words) -> None:
    """Write the sheet. Raises ConfigError for a file of another kind, or if the data cannot be read."""
    if not words.options and not words.overrides:
        raise VERB.misused("nothing to show")
    target = Path(words.value("to"))
    if target.suffix not in SUFFIXES:
        raise ConfigError(f"to={target}: accepted are files ending in {', '.join(SUFFIXES)}")
    if not target.absolute().parent.is_dir():
        raise ConfigError(f"to={target}: no such folder {target.absolute().parent}")
    images, epochs = (
        words.whole(name, accepted=range(1, 101), expected="accepted are whole numbers from 1 to 100")
        for name in ("images", "epochs")
    )
    with doing("load torch"):
        from convarium.config.compose import Conf
        from convarium.config.instantiate import build
        from convarium.config.overrides import readable
        from convarium.data.module import ImageData
        from convarium.observe.contact_sheet import contact_sheet

    with doing("read the pictures"):
        config = Conf().compose(readable(words.overrides), to_train=False).config
        try:
            data: ImageData = build(config["data"], "data")
            data.setup("fit")
            samples = data.samples(images, epochs)
        except (ValueError, OSError) as error:
            raise ConfigError(str(error)) from error
    with doing("draw"), warnings.catch_warnings():
        figure = contact_sheet(*samples)
        warnings.simplefilter("ignore")  # a class name in a script that the font lacks
        try:
            figure.savefig(target, dpi=150)
        except OSError as error:
            raise ConfigError(f"to={target}: cannot be written: {error.strerror or error}") from error
    print(f"{target}: {len(samples.stored)} training images of {data}, augmentation: {data.pipeline}")


VERB = Verb(
    name="data show",
    meaning="draw training images before and after augmentation",
    run=run,
    required="data=NAME",
    options={
        "to": Option(f"the file to write, ending in {', '.join(SUFFIXES)}", default="training_images.png"),
        "images": Option("how many images, 1 to 100", default="10"),
        "epochs": Option("in how many epochs each, 1 to 100", default="4"),
    },
    overrides="data=NAME, augment=NAME and keys of both",
    example="convarium data show data=cifar10 augment=[crop_flip,cutout] to=sheet.png",
    groups=("data", "augment", "seed"),
)
