"""Learning rate schedules: pure functions of the optimizer step, as a factor on the optimizer's own rate.

`factor(step, length)` is what step number `step`, counted from 0, is taken with. It rises linearly through the warm-up
(its first step takes one part in `warm-up + 1`, not 0) and is 1 right after it; a shape with an end reaches it where
the run ends. Steps and milestones count from the start of the run; cosine, polynomial, exponential from the end of the
warm-up. Plateau is the exception: it has a state. Imports nothing heavy.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from convarium.learn.lengths import LengthLike, TrainingLength, parse_length


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A factor for each step of a run; `warmup` is the length of the linear rise at its start."""

    warmup: LengthLike = 0

    def factor(self, step: int, length: TrainingLength) -> float:
        """What the optimizer's learning rate is multiplied by in step `step`, counted from 0."""
        warm = parse_length(self.warmup).steps(length)
        return self.rise(step, warm) if step < warm else self.shape(step, warm, length)

    def rise(self, step: int, warm: int) -> float:
        """The factor of step `step` of a warm-up of `warm` steps."""
        return (step + 1) / (warm + 1)

    def shape(self, step: int, warm: int, length: TrainingLength) -> float:
        """The factor of a step after a warm-up of `warm` steps."""
        raise NotImplementedError  # abstract: a schedule says

    def check(self, length: TrainingLength) -> None:
        """Raise ValueError where the lengths do not fit into the run: a warm-up, a milestone beyond its end."""
        warm = parse_length(self.warmup).steps(length)
        if warm >= length.total_steps:
            raise ValueError(
                f"schedule.warmup={self.warmup}: {warm} steps is not less than the run's {length.total_steps}"
            )


@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """The optimizer's own rate throughout."""

    def shape(self, step: int, warm: int, length: TrainingLength) -> float:
        return 1.0


@dataclass(frozen=True, kw_only=True)
class MultiStep(Schedule):
    """Times `gamma` at each milestone; a list has one for each. `warmup_factor` makes the warm-up constant."""

    milestones: Sequence[LengthLike] = ("50%", "75%")
    gamma: float | Sequence[float] = 0.1
    warmup_factor: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))  # hashable, and nobody's list
        if isinstance(self.gamma, Sequence):
            object.__setattr__(self, "gamma", tuple(self.gamma))
            if len(self._gammas) != len(self.milestones):
                raise ValueError(
                    f"gamma={list(self._gammas)}: {len(self._gammas)} for {len(self.milestones)} milestones;"
                    " accepted: one number, or one for each milestone"
                )

    def rise(self, step: int, warm: int) -> float:
        return super().rise(step, warm) if self.warmup_factor is None else self.warmup_factor

    def shape(self, step: int, warm: int, length: TrainingLength) -> float:
        passed = sum(step >= at for at in self._steps(length))
        return float(math.prod(self._gammas[:passed]))

    def check(self, length: TrainingLength) -> None:
        super().check(length)
        warm = parse_length(self.warmup).steps(length)
        steps = self._steps(length)
        if steps != sorted(steps) or len(set(self.milestones)) < len(steps):
            raise ValueError(f"schedule.milestones={list(self.milestones)}: must increase")
        for milestone, at in zip(self.milestones, steps, strict=True):
            _check_inside("milestones", milestone, at, warm, length)

    @property
    def _gammas(self) -> tuple[float, ...]:
        return tuple(self.gamma) if isinstance(self.gamma, Sequence) else (self.gamma,) * len(self.milestones)

    def _steps(self, length: TrainingLength) -> list[int]:
        return [max(1, parse_length(milestone).steps(length)) for milestone in self.milestones]


@dataclass(frozen=True, kw_only=True)
class Step(Schedule):
    """Times `gamma` after each length `every`."""

    every: LengthLike = "30%"
    gamma: float = 0.1

    def shape(self, step: int, warm: int, length: TrainingLength) -> float:
        return float(self.gamma ** (step // self._steps(length)))

    def check(self, length: TrainingLength) -> None:
        super().check(length)
        _check_inside("every", self.every, self._steps(length), parse_length(self.warmup).steps(length), length)

    def _steps(self, length: TrainingLength) -> int:
        return max(1, parse_length(self.every).steps(length))


@dataclass(frozen=True, kw_only=True)
class Exponential(Schedule):
    """Times `gamma` per epoch, a little at each step (in one jump per epoch: Step with `every` 1)."""

    gamma: float = 0.95

    def shape(self, step: int, warm: int, length: TrainingLength) -> float:
        return float(self.gamma ** ((step - warm) / length.steps_per_epoch))


@dataclass(frozen=True, kw_only=True)
class Polynomial(Schedule):
    """From 1 to `final` as the share of the run still to come, to the power `power`; 1 is a straight line."""

    power: float = 1.0
    final: float = 0.0

    def shape(self, step: int, warm: int, length: TrainingLength) -> float:
        return float(self.final + (1 - self.final) * (1 - _done(step, warm, length)) ** self.power)


@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """From 1 to `final` along half a cosine (Loshchilov & Hutter 2016, without restarts)."""

    warmup: LengthLike = "5%"
    final: float = 0.0

    def shape(self, step: int, warm: int, length: TrainingLength) -> float:
        return self.final + (1 - self.final) * _half_cosine(_done(step, warm, length))


@dataclass(frozen=True, kw_only=True)
class OneCycle(Schedule):
    """Up from `start` to 1 through the warm-up, down to `final`, both along half a cosine (Smith & Topin 2017).

    The optimizer's rate is the peak. Differs from the paper: the momentum stays as it is, and the fall has one phase.
    """

    warmup: LengthLike = "30%"
    start: float = 0.04
    final: float = 0.0

    def rise(self, step: int, warm: int) -> float:
        return 1 - (1 - self.start) * _half_cosine(step / warm)

    def shape(self, step: int, warm: int, length: TrainingLength) -> float:
        return self.final + (1 - self.final) * _half_cosine(_done(step, warm, length))


@dataclass
class PlateauState:
    """What a plateau schedule remembers between validations."""

    best: float | None = None
    waited: int = 0  # validations without a better value
    cooling: int = 0  # validations still to be passed over after a cut
    cuts: int = 0


@dataclass(frozen=True, kw_only=True)
class Plateau(Schedule):
    """Times `gamma` once `monitor` has not become better for more than `patience` validations.

    Better means by more than the share `threshold` (as torch's ReduceLROnPlateau); after a cut `cooldown` validations
    do not count; the factor does not fall below `min_factor`. The learner calls `observe` at the end of a validation,
    and keeps `state_dict()` in the checkpoint.
    """

    monitor: str = "val/loss"
    mode: Literal["min", "max"] = "min"
    gamma: float = 0.1
    patience: int = 5
    threshold: float = 1e-4
    cooldown: int = 0
    min_factor: float = 1e-4
    state: PlateauState = field(default_factory=PlateauState, init=False, repr=False, compare=False)

    def shape(self, step: int, warm: int, length: TrainingLength) -> float:
        return max(self.min_factor, float(self.gamma**self.state.cuts))

    def observe(self, value: float) -> None:
        """Take note of the monitored value of one more validation; nan is never better."""
        state = self.state
        if self._better(value):
            state.best, state.waited = value, 0
        else:
            state.waited += 1
        if state.cooling > 0:
            state.cooling, state.waited = state.cooling - 1, 0
        if state.waited > self.patience:
            state.cuts, state.cooling, state.waited = state.cuts + 1, self.cooldown, 0

    def state_dict(self) -> dict[str, Any]:
        """The state as plain Python values."""
        return asdict(self.state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict()` returned."""
        vars(self.state).update(asdict(PlateauState(**state)))

    def _better(self, value: float) -> bool:
        sign = 1 if self.mode == "min" else -1
        best = sign * math.inf if self.state.best is None else self.state.best
        return sign * value < sign * best * (1 - sign * self.threshold)


def _done(step: int, warm: int, length: TrainingLength) -> float:
    """The share of the run after the warm-up that is done, 0 to 1."""
    return min(1.0, (step - warm) / max(1, length.total_steps - warm))


def _half_cosine(done: float) -> float:
    return (1 + math.cos(math.pi * done)) / 2


def _check_inside(key: str, written: LengthLike, at: int, warm: int, length: TrainingLength) -> None:
    """Refuse a place that the run does not reach, or reaches in its warm-up. A percentage lies inside by itself."""
    if at >= length.total_steps and parse_length(written).unit != "%":
        raise ValueError(f"schedule.{key}={written}: step {at} is not inside the run of {length.total_steps} steps")
    if at <= warm:
        raise ValueError(f"schedule.{key}={written}: step {at} is not after the warm-up of {warm} steps")
