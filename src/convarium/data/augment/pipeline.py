"""An augmentation: the parts that were chosen, in the one order that makes sense."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from convarium.data.augment.change import AugmentKey, Change, Crop
from convarium.data.augment.crop import cut
from convarium.data.augment.mix import Mix, Mixed

PARTS = ("crop", "flip", "geometry", "policy", "color", "lighting", "erase", "mix")
"""The names of the parts, in the order in which they are applied."""


class Pipeline:
    """What `augment` names: a crop, changes of uint8 pixels, and, of the normalized batch, a mix.

    Raises ValueError for a part of an unknown name or of another kind than its name says.
    """

    def __init__(self, parts: Mapping[str, Any]) -> None:
        for name, part in parts.items():
            if name not in PARTS:
                raise ValueError(f"augment={name}: accepted are {', '.join(PARTS)}")
            if (name == "mix") != hasattr(part, "mix") or (name != "crop" and isinstance(part, Crop)):
                raise ValueError(f"augment.{name}: {type(part).__name__} does something else")
        crop = parts.get("crop")
        self.crop: Crop | None = crop if isinstance(crop, Crop) else None
        """Cuts the image out of the stored picture, whatever its size."""
        self.changes: list[Change] = [
            parts[name] for name in PARTS if name in parts and name != "mix" and parts[name] is not self.crop
        ]
        self.mixer: Mix | None = parts.get("mix")

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
