"""An augmentation: the parts that were chosen, in the one order that makes sense."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from convarium.data.augment.change import LAST, AugmentKey, Change, Crop
from convarium.data.augment.crop import cut
from convarium.data.augment.mix import Mix, Mixed


class Pipeline:
    """What `augment` names: at most one crop, changes of uint8 pixels by their `order`, and at most one mix of the
    normalized batch. What a part is follows from its methods; its name is only what its keys are called.

    Raises ValueError for a part that is none of these, a second crop, or a second mix.
    """

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self.crop: Crop | None = None  # cuts the image out of the stored picture, whatever its size
        self.mixer: Mix | None = None
        changes: list[tuple[int, str, Change]] = []
        for name, part in parts.items():
            if isinstance(part, Crop):
                _require_first(self.crop, name, part, "crops")
                self.crop = part
            elif isinstance(part, Mix):
                _require_first(self.mixer, name, part, "mixes")
                self.mixer = part
            elif callable(part):
                changes.append((getattr(part, "order", LAST), name, part))
            else:
                raise ValueError(
                    f"augment.{name}: {type(part).__name__} is no augmentation: accepted are objects with boxes (a"
                    " crop), __call__ (a change) or mix (a mix)"
                )
        self.changes: list[Change] = [change for _, _, change in sorted(changes, key=lambda entry: entry[:2])]

    def __bool__(self) -> bool:
        return bool(self.crop or self.changes or self.mixer)

    def __str__(self) -> str:
        parts = [part for part in (self.crop, *self.changes, self.mixer) if part is not None]
        return ", ".join(type(part).__name__ for part in parts) or "none"

    def change(self, images: Tensor, key: AugmentKey, *, cropped: bool) -> Tensor:
        """uint8 (N, C, H, W) to the same; `cropped`: the source has done the crop."""
        if self.crop is not None and not cropped:
            sizes = key.index.new_tensor(images.shape[-2:]).expand(len(images), 2)
            images = cut(images, self.crop.boxes(sizes, key, images.shape[-1]))
        for part in self.changes:
            images = part(images, key)
        return images

    def mix(self, images: Tensor, targets: Tensor, key: AugmentKey) -> Mixed | None:
        """The normalized batch mixed; None if there is nothing to mix."""
        return None if self.mixer is None else self.mixer.mix(images, targets, key)


def _require_first(other: object | None, name: str, part: object, does: str) -> None:
    if other is not None:
        raise ValueError(
            f"augment.{name}: {type(part).__name__} {does} as {type(other).__name__} does: choose one of them"
        )
