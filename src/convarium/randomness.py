"""Random numbers as a pure function of (seed, purpose, epoch, index): a counter-based hash in place of generator state.

A draw depends on nothing else, so it is the same for any worker, device or batch layout, and after a stop and resume
there is nothing to restore. The hash is SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number
generators"): the stream of an epoch starts at a hashed offset, sample `index` takes the stream's `index`-th output.
"""

import hashlib
from functools import lru_cache

import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15  # the golden ratio: the step of a SplitMix64 stream
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)  # Stafford's variant 13
_SHIFTS = (30, 27, 31)


def _signed(value: int) -> int:
    """The two's complement reading of 64 bits, which is how torch holds them."""
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


def _mix(z: int) -> int:
    """SplitMix64's finalizer on one unsigned 64-bit number."""
    z = ((z ^ (z >> _SHIFTS[0])) * _MULTIPLIERS[0]) & _MASK
    z = ((z ^ (z >> _SHIFTS[1])) * _MULTIPLIERS[1]) & _MASK
    return z ^ (z >> _SHIFTS[2])


def _shift_xor(z: Tensor, shift: int) -> Tensor:
    """z ^ (z >> shift) with zeros shifted in; torch's own shift of int64 drags the sign along."""
    return (z >> shift).bitwise_and_((1 << (64 - shift)) - 1).bitwise_xor_(z)


def _mix_tensor(z: Tensor) -> Tensor:
    """_mix for int64 tensors; products wrap around."""
    z = _shift_xor(z, _SHIFTS[0]).mul_(_signed(_MULTIPLIERS[0]))
    z = _shift_xor(z, _SHIFTS[1]).mul_(_signed(_MULTIPLIERS[1]))
    return _shift_xor(z, _SHIFTS[2])


@lru_cache(maxsize=1024)
def _stream(seed: int, purpose: str) -> int:
    """Offset of the stream of (seed, purpose); purposes are told apart by SHA-256, not by Python's salted hash."""
    name = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "little")
    return _mix((_mix(seed & _MASK) + name) & _MASK)


def bits(seed: int, purpose: str, *, epoch: int | Tensor = 0, index: Tensor) -> Tensor:
    """64 random bits for each entry of `index`, as int64 of the same shape and device.

    `epoch` may be a tensor that broadcasts against `index`; equal numbers give equal bits either way.
    """
    stream = _stream(seed, purpose)
    index = index.to(torch.int64)
    if isinstance(epoch, Tensor):
        start = _mix_tensor((epoch.to(torch.int64) + 1).mul_(_signed(_GAMMA)).add_(_signed(stream)))
        return _mix_tensor((index + 1) * _signed(_GAMMA) + start)
    start_int = _mix((stream + (epoch + 1) * _GAMMA) & _MASK)
    return _mix_tensor((index * _signed(_GAMMA)).add_(_signed(start_int + _GAMMA)))


def uniform(seed: int, purpose: str, *, epoch: int | Tensor = 0, index: Tensor) -> Tensor:
    """One float32 in [0, 1) for each entry of `index`, a multiple of 2**-24 (all a float32 can tell apart)."""
    drawn = (bits(seed, purpose, epoch=epoch, index=index) >> 40).bitwise_and_((1 << 24) - 1)
    return drawn.to(torch.float32).mul_(2.0**-24)


def integers(high: int, seed: int, purpose: str, *, epoch: int | Tensor = 0, index: Tensor) -> Tensor:
    """One int64 in [0, high) for each entry of `index`, high at most 2**31; none is likelier by more than 2**-32."""
    if not 1 <= high <= 1 << 31:
        raise ValueError(f"high={high}: accepted are 1 to 2**31")
    drawn = (bits(seed, purpose, epoch=epoch, index=index) >> 32).bitwise_and_((1 << 32) - 1)
    return drawn.mul_(high) >> 32


def permutation(n: int, seed: int, *, epoch: int = 0, purpose: str = "order") -> Tensor:
    """A random order of 0..n-1, int64 (n,): the numbers sorted by their bits."""
    return torch.argsort(bits(seed, purpose, epoch=epoch, index=torch.arange(n)), stable=True)


def scalar_seed(seed: int, purpose: str, *numbers: int) -> int:
    """A seed in [0, 2**63) for torch.manual_seed, from the seed, a purpose and any numbers (step, rank, ...)."""
    state = _stream(seed, purpose)
    for number in numbers:
        state = _mix((state + (number + 1) * _GAMMA) & _MASK)
    return state >> 1
