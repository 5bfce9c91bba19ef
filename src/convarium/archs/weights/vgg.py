"""VGGs of torchvision and of timm, which turns the linear layers into convolutions."""

from collections.abc import Iterable

from convarium.archs.weights.layout import (
    BATCH_NORM,
    IMAGENET,
    NO_NORM,
    RELU,
    RGB,
    Layout,
    Names,
    Settings,
    State,
    changed,
)


def _vgg(hidden: dict[str, str]) -> Names:
    """Names of the convolutions by where they stand in one long list, and of the linear layers by a table."""

    def names(keys: Iterable[str]) -> dict[str, str]:
        keys = list(keys)
        places = {key.split(".")[1] for key in keys if key.startswith("features.")}
        modules = sorted(int(place) for place in places if place.isdecimal())
        norms = {number for number in modules if f"features.{number}.running_mean" in keys}
        between = 3 if norms else 2  # from one convolution to the next of the same stage
        ours = dict(hidden)
        stage = place = previous = 0
        for number in modules:
            if number in norms:
                ours[f"features.{number}"] = f"stages.{stage}.{place}.norm"
                continue
            if number > previous + between:  # a pooling is in between
                stage, place = stage + 1, 0
            elif number:
                place += 1
            ours[f"features.{number}"] = f"stages.{stage}.{place}.conv"
            previous = number
        split = {key: key.rpartition(".") for key in keys}
        return {key: f"{ours[module]}.{leaf}" for key, (module, _, leaf) in split.items() if module in ours}

    return names


def _sets(state: State) -> Settings:
    return IMAGENET | RELU | (BATCH_NORM if "features.1.running_mean" in state else NO_NORM)


def _assumes(state: State) -> tuple[str, ...]:
    norm = ("a norm's eps of 1e-5",) if "features.1.running_mean" in state else ()
    return ("relu", "max pooling", *norm, f"{RGB} (not Caffe's BGR)")


LAYOUTS = (
    Layout(
        "VGG of torchvision",
        marks=("features.0.weight", "classifier.0.weight", "classifier.3.weight", "classifier.6.weight"),
        names=_vgg({"classifier.0": "fc6.0", "classifier.3": "fc7.0", "classifier.6": "fc8"}),
        sets=_sets,
        assumes=_assumes,
        models=tuple(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")),
    ),
    Layout(
        "VGG of timm",
        marks=("features.0.weight", "pre_logits.fc1.weight", "pre_logits.fc2.weight", "head.fc.weight"),
        names=_vgg({"pre_logits.fc1": "fc6.0", "pre_logits.fc2": "fc7.0", "head.fc": "fc8"}),
        sets=_sets,
        assumes=_assumes,
        # 1x1 convolutions, and one as large as its maps, are linear layers
        convert=changed(lambda weight: weight.flatten(1), "fc6.0.weight", "fc7.0.weight", "fc8.weight"),
    ),
)
