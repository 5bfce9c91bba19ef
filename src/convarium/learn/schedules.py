"""Learning rate schedules: pure functions of the optimizer step, as a factor on the optimizer's own rate.

`factor(step, clock)` is what step number `step`, counted from 0, is taken with. It rises linearly through the warm-up
(its first step takes one part in `warm-up + 1`, not 0) and is 1 right after it; a shape with an end reaches it where
the run ends. Steps and milestones count from the start of the run; cosine, polynomial, exponential from the end of the
warm-up. Plateau is the exception: it has a state. Imports nothing heavy.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from convarium.learn.lengths import Clock, Length, LengthLike, parse_length

__all__ = [
    "Clock",
    "Constant",
    "Cosine",
    "Exponential",
    "Length",
    "MultiStep",
    "OneCycle",
    "Plateau",
    "PlateauState",
    "Polynomial",
    "Schedule",
    "Step",
]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A factor for each step of a run; `warmup` is the length of the linear rise at its start."""

    warmup: LengthLike = 0

    def __post_init__(self) -> None:
        parse_length(self.warmup)

    def factor(self, step: int, clock: Clock) -> float:
        """What the optimizer's learning rate is multiplied by in step `step`, counted from 0."""
        warm = parse_length(self.warmup).steps(clock)
        return self.rise(step, warm) if step < warm else self.shape(step, warm, clock)

    def rise(self, step: int, warm: int) -> float:
        """The factor of step `step` of a warm-up of `warm` steps."""
        return (step + 1) / (warm + 1)

    def shape(self, step: int, warm: int, clock: Clock) -> float:
        """The factor of a step after a warm-up of `warm` steps."""
        raise NotImplementedError  # abstract: a schedule says

    def check(self, clock: Clock) -> None:
        """Raise ValueError where the lengths do not fit into the run: a warm-up, a milestone beyond its end."""
        warm = parse_length(self.warmup).steps(clock)
        if warm >= clock.total_steps:
            raise ValueError(
                f"schedule.warmup={self.warmup}: {warm} steps is not less than the run's {clock.total_steps}"
            )


@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """The optimizer's own rate throughout."""

    def shape(self, step: int, warm: int, clock: Clock) -> float:
        return 1.0


@dataclass(frozen=True, kw_only=True)
class MultiStep(Schedule):
    """Times `gamma` at each milestone; a list has one for each. `warmup_factor` makes the warm-up constant."""

    milestones: Sequence[LengthLike] = ("50%", "75%")
    gamma: float | Sequence[float] = 0.1
    warmup_factor: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "milestones", tuple(self.milestones))  # hashable, and nobody's list
        if isinstance(self.gamma, Sequence):
            object.__setattr__(self, "gamma", tuple(self.gamma))
            if len(self._gammas) != len(self.milestones):
                raise ValueError(
                    f"gamma={list(self._gammas)}: {len(self._gammas)} for {len(self.milestones)} milestones;"
                    " accepted: one number, or one for each milestone"
                )
        for gamma in self._gammas:
            _require("gamma", gamma, above=0, most=1)
        for milestone in self.milestones:
            if parse_length(milestone).amount == 0:
                raise ValueError(f"milestones={list(self.milestones)}: must be greater than 0")
        if self.warmup_factor is not None:
            _require("warmup_factor", self.warmup_factor, above=0, most=1)

    def rise(self, step: int, warm: int) -> float:
        return super().rise(step, warm) if self.warmup_factor is None else self.warmup_factor

    def shape(self, step: int, warm: int, clock: Clock) -> float:
        passed = sum(step >= at for at in self._steps(clock))
        return float(math.prod(self._gammas[:passed]))

    def check(self, clock: Clock) -> None:
        super().check(clock)
        warm = parse_length(self.warmup).steps(clock)
        steps = self._steps(clock)
        if steps != sorted(steps) or len(set(self.milestones)) < len(steps):
            raise ValueError(f"schedule.milestones={list(self.milestones)}: must increase")
        for milestone, at in zip(self.milestones, steps, strict=True):
            _check_inside("milestones", milestone, at, warm, clock)

    @property
    def _gammas(self) -> tuple[float, ...]:
        return tuple(self.gamma) if isinstance(self.gamma, Sequence) else (self.gamma,) * len(self.milestones)

    def _steps(self, clock: Clock) -> list[int]:
        return [max(1, parse_length(milestone).steps(clock)) for milestone in self.milestones]


@dataclass(frozen=True, kw_only=True)
class Step(Schedule):
    """Times `gamma` after each length `every`."""

    every: LengthLike = "30%"
    gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        _require("gamma", self.gamma, above=0, most=1)
        if parse_length(self.every).amount == 0:
            raise ValueError(f"every={self.every}: must be greater than 0")

    def shape(self, step: int, warm: int, clock: Clock) -> float:
        return float(self.gamma ** (step // self._steps(clock)))

    def check(self, clock: Clock) -> None:
        super().check(clock)
        _check_inside("every", self.every, self._steps(clock), parse_length(self.warmup).steps(clock), clock)

    def _steps(self, clock: Clock) -> int:
        return max(1, parse_length(self.every).steps(clock))


@dataclass(frozen=True, kw_only=True)
class Exponential(Schedule):
    """Times `gamma` per epoch, a little at each step (in one jump per epoch: Step with `every` 1)."""

    gamma: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        _require("gamma", self.gamma, above=0, most=1)

    def shape(self, step: int, warm: int, clock: Clock) -> float:
        return float(self.gamma ** ((step - warm) / clock.steps_per_epoch))


@dataclass(frozen=True, kw_only=True)
class Polynomial(Schedule):
    """From 1 to `final` as the share of the run still to come, to the power `power`; 1 is a straight line."""

    power: float = 1.0
    final: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require("power", self.power, above=0)
        _require("final", self.final, least=0, most=1)

    def shape(self, step: int, warm: int, clock: Clock) -> float:
        return float(self.final + (1 - self.final) * (1 - _done(step, warm, clock)) ** self.power)


@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """From 1 to `final` along half a cosine (Loshchilov & Hutter 2016, without restarts)."""

    warmup: LengthLike = "5%"
    final: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require("final", self.final, least=0, most=1)

    def shape(self, step: int, warm: int, clock: Clock) -> float:
        return self.final + (1 - self.final) * _half_cosine(_done(step, warm, clock))


@dataclass(frozen=True, kw_only=True)
class OneCycle(Schedule):
    """Up from `start` to 1 through the warm-up, down to `final`, both along half a cosine (Smith & Topin 2017).

    The optimizer's rate is the peak. Differs from the paper: the momentum stays as it is, and the fall has one phase.
    """

    warmup: LengthLike = "30%"
    start: float = 0.04
    final: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require("start", self.start, above=0, most=1)
        _require("final", self.final, least=0, most=1)

    def rise(self, step: int, warm: int) -> float:
        return 1 - (1 - self.start) * _half_cosine(step / warm)

    def shape(self, step: int, warm: int, clock: Clock) -> float:
        return self.final + (1 - self.final) * _half_cosine(_done(step, warm, clock))


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

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in ("min", "max"):
            raise ValueError(f"mode={self.mode!r}: must be 'min' or 'max'")
        _require("gamma", self.gamma, above=0, most=1)
        _require("patience", self.patience, least=0)
        _require("threshold", self.threshold, least=0, most=1)
        _require("cooldown", self.cooldown, least=0)
        _require("min_factor", self.min_factor, least=0, most=1)

    def shape(self, step: int, warm: int, clock: Clock) -> float:
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
        if self.mode == "min":
            best = math.inf if self.state.best is None else self.state.best
            return value < best * (1 - self.threshold)
        best = -math.inf if self.state.best is None else self.state.best
        return value > best * (1 + self.threshold)


def _done(step: int, warm: int, clock: Clock) -> float:
    """The share of the run after the warm-up that is done, 0 to 1."""
    return min(1.0, (step - warm) / max(1, clock.total_steps - warm))


def _half_cosine(done: float) -> float:
    return (1 + math.cos(math.pi * done)) / 2


def _require(
    name: str, value: float, *, above: float = -math.inf, least: float = -math.inf, most: float = math.inf
) -> None:
    """Refuse a value that is not a finite number within the bounds given."""
    if not (value > above and least <= value <= most and math.isfinite(value)):
        low = f"greater than {above}" if above > -math.inf else f"at least {least}"
        high = f" and at most {most}" if most < math.inf else ""
        raise ValueError(f"{name}={value}: must be {low}{high}")


def _check_inside(key: str, written: LengthLike, at: int, warm: int, clock: Clock) -> None:
    """Refuse a place that the run does not reach, or reaches in its warm-up. A percentage lies inside by itself."""
    if at >= clock.total_steps and parse_length(written).unit != "%":
        raise ValueError(f"schedule.{key}={written}: step {at} is not inside the run of {clock.total_steps} steps")
    if at <= warm:
        raise ValueError(f"schedule.{key}={written}: step {at} is not after the warm-up of {warm} steps")
