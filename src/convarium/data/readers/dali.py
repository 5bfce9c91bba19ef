"""NVIDIA DALI's pipeline on the host: batches at a time, on threads of its own.

Differs: a pixel may be up to 16 grey levels from Pillow's (0.2 on average), as DALI resizes in floating point and
upsamples colours otherwise at a part's edges. On a CPU it is slower than TurboJPEG (benchmarks/decode.py).
"""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convarium.data.readers.jpeg import UPRIGHT, head, turn_of
from convarium.data.readers.pillow import PillowReader
from convarium.data.readers.reader import Box, Unreadable, checked
from convarium.machine import cores


class DaliReader:
    """Batches of crops of JPEG files by DALI; every other file, and every single picture, by Pillow.

    Raises ImportError if DALI is not installed.
    """

    name = "dali"

    def __init__(self, threads: int | None = None) -> None:
        import nvidia.dali  # noqa: F401  (here, so that a missing package is told at once)

        self.pillow = PillowReader()
        self._threads = threads or cores()
        self._lock = threading.Lock()
        self._pipelines: dict[tuple[int, int], Any] = {}

    def size(self, data: bytes) -> tuple[int, int]:
        return self.pillow.size(data)

    def read(self, data: bytes, box: Box | None, size: tuple[int, int] | None, *, channels: int) -> Tensor:
        return self.pillow.read(data, box, size, channels=channels)

    def read_many(self, data: Sequence[bytes], boxes: Sequence[Box], *, image_size: int, channels: int) -> Tensor:
        """uint8 (N, channels, image_size, image_size), the channels last in memory. Raises Unreadable, Misplaced."""
        out = torch.empty((len(data), image_size, image_size, channels), dtype=torch.uint8).permute(0, 3, 1, 2)
        plain = [row for row, each in enumerate(data) if channels == 3 and _is_plain(each, boxes[row])]
        rest = set(range(len(data))).difference(plain)
        if plain:
            try:
                out[plain] = self._run([data[row] for row in plain], [boxes[row] for row in plain], image_size)
            except RuntimeError:  # one damaged file takes its batch with it: Pillow finds which, or reads it
                rest.update(plain)
        for row in rest:
            out[row] = self.pillow.read(data[row], boxes[row], (image_size, image_size), channels=channels)
        return out

    def _run(self, data: list[bytes], boxes: list[Box], image_size: int) -> Tensor:
        most = 1 << (len(data) - 1).bit_length()  # few pipelines for batches of many lengths
        with self._lock:
            pipeline = self._pipelines.pop((most, image_size), None) or _pipeline(most, self._threads, image_size)
            pipeline.feed_input("files", [np.frombuffer(each, dtype=np.uint8) for each in data])
            pipeline.feed_input("starts", [np.array(box[:2], dtype=np.int32) for box in boxes])
            pipeline.feed_input("shapes", [np.array(box[2:], dtype=np.int32) for box in boxes])
            (pictures,) = pipeline.run()
            pixels = torch.from_numpy(np.array(pictures.as_array()))  # a copy: the next run writes there
            self._pipelines[most, image_size] = pipeline  # after an error a pipeline is dead, and not kept
        return pixels.permute(0, 3, 1, 2)


def _is_plain(data: bytes, box: Box) -> bool:
    try:
        found = head(data)
    except Unreadable:
        return False
    if turn_of(data, found) is not UPRIGHT:
        return False
    checked(box, (found.height, found.width))
    return True


def _pipeline(most: int, threads: int, image_size: int) -> Any:
    from nvidia.dali import Pipeline, fn, types

    pipeline = Pipeline(batch_size=most, num_threads=threads, device_id=None, prefetch_queue_depth=1)
    with pipeline:
        files = fn.external_source(name="files", dtype=types.UINT8, ndim=1)
        starts, shapes = (fn.external_source(name=name, dtype=types.INT32, ndim=1) for name in ("starts", "shapes"))
        parts = fn.decoders.image_slice(files, start=starts, shape=shapes, axes=(0, 1), output_type=types.RGB)
        size = [image_size, image_size]
        pipeline.set_outputs(fn.resize(parts, size=size, interp_type=types.INTERP_LINEAR, antialias=True))
    pipeline.build()
    return pipeline
