"""How large the maps are: the arithmetic of windows, and when an image counts as small."""

SMALL_IMAGE = 64  # pixels; up to here the stem of an ImageNet network would leave too little to see


def output_size(size: int, kernel_size: int, stride: int = 1, padding: int = 0, *, ceil_mode: bool = False) -> int:
    """Number of positions of a window along a side, as torch counts them; zero or less if it does not fit once.

    floor((size + 2 padding - kernel_size) / stride) + 1, or with ceil, less a last window that would begin in the
    padding on the far side.
    """
    free = size + 2 * padding - kernel_size
    if not ceil_mode:
        return free // stride + 1
    positions = -(-free // stride) + 1
    return positions - 1 if (positions - 1) * stride >= size + padding else positions


def takes_small_stem(stem: str, image_size: int) -> bool:
    """Whether `stem` (auto, paper, small) means the small stem at this image size: auto does up to 64 pixels."""
    return stem == "small" or (stem == "auto" and image_size <= SMALL_IMAGE)
