"""Weights that torchvision publishes: which of its networks ours is, and the file, from its cache or the network.

Private names of torch's: `tqdm` of torch.hub, the bar that it shows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import nn

from convarium.archs.weights.files import tensors
from convarium.archs.weights.fitting import AUXILIARY
from convarium.archs.weights.layout import Layout, Settings, State, crop
from convarium.progress_bar import Progress
from convarium.wording import one_line

LIKENESS = 0.8  # share of equal shapes; other channels and classes change two of many


class Download(NamedTuple):
    """One entry of torchvision's catalogue."""

    layout: Layout
    entry: Any  # a member of a torchvision WeightsEnum

    @property
    def view(self) -> Settings:
        """How its images are sized: to `resize_size`, of which the centre is kept."""
        transform = self.entry.transforms.keywords
        return crop(transform["crop_size"], of=transform.get("resize_size", 256))

    def state(self) -> State:
        """The tensors, downloaded unless they are there already; torchvision checks their hash.

        Raises ValueError where that fails.
        """
        folder = Path(torch.hub.get_dir(), "checkpoints")
        file = folder / Path(self.entry.url).name
        try:
            if not file.is_file():
                folder.mkdir(parents=True, exist_ok=True)
                expected = torch.hub.HASH_REGEX.search(file.name)
                with _our_bar(f"download {file.name}"):
                    torch.hub.download_url_to_file(self.entry.url, str(file), expected and expected[1])
            return tensors(self.entry.get_state_dict(map_location="cpu", check_hash=True, weights_only=True))
        except Exception as error:  # of the network, of the disk, of torch
            why = one_line(error, 200)
            raise ValueError(f"{self.entry.url} cannot be had ({why}); put the file into {folder}") from error


@contextmanager
def _our_bar(doing: str) -> Iterator[None]:
    """What torch.hub downloads is shown as all that takes its time."""

    class Shown(Progress):
        def __init__(self, total: int | None, **_: Any) -> None:
            super().__init__()
            self._size = total or 0

        def __enter__(self) -> Self:
            super().__enter__()
            self.begin(self._size, "bytes", doing)
            return self

        update = Progress.advance

    before, torch.hub.tqdm = torch.hub.tqdm, Shown  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.hub.tqdm = before  # type: ignore[attr-defined]


def find(net: nn.Module, name: str, layouts: tuple[Layout, ...]) -> Download:
    """The weights of this name for a network, which may be without values.

    It is known by the names and shapes of its weights. Raises ValueError for a network that torchvision does not have
    and for a name that it has no weights under, with those there are.
    """
    from torchvision.models import get_model_weights

    model = _same(net, layouts)
    if model is None:
        raise ValueError("torchvision has no weights of this network")
    layout, builder = model
    entries = get_model_weights(builder).__members__
    # those of the convolutions alone have no classifier that one could load
    whole = [entry for entry in entries if "FEATURES" not in entry]
    if name not in whole:
        raise ValueError(f"torchvision's {builder} has no such weights; accepted: {', '.join(whole)}")
    return Download(layout, entries[name])


def _same(net: nn.Module, layouts: tuple[Layout, ...]) -> tuple[Layout, str] | None:
    """The torchvision network with weights of the same names as ours and, among several, of the most equal shapes."""
    own = {key: value.shape for key, value in net.state_dict().items() if not key.startswith(AUXILIARY)}
    weights = {key for key, shape in own.items() if len(shape) > 1}
    found: list[tuple[tuple[int, int], Layout, str]] = []
    for layout in layouts:
        for model in layout.models:
            theirs = _shapes(layout, model)
            names = {key for key, shape in theirs.items() if len(shape) > 1}
            equal = sum(theirs.get(key) == own[key] for key in weights)
            more = weights < names and equal >= LIKENESS * len(weights)  # shortcuts, say, that come with the layout
            if weights == names or more:
                rank = (equal, -abs(len(theirs) - len(own)))  # the same convolutions, with and without norms
                found.append((rank, layout, model))
    return max(found, key=lambda entry: entry[0])[1:] if found else None


@cache
def _shapes(layout: Layout, model: str) -> dict[str, torch.Size]:
    from torchvision.models import get_model

    options = {"init_weights": False} if model in ("googlenet", "inception_v3") else {}
    with torch.device("meta"):
        state = get_model(model, weights=None, **options).state_dict()
    return {key: value.shape for key, value in layout.translate(state).items() if not key.startswith(AUXILIARY)}
