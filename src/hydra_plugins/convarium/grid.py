"""`hydra/sweeper: grid`: every combination of the swept values, each checked before the first job starts."""

import itertools
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobStatus

if TYPE_CHECKING:
    from convarium.run.compose import Conf

Point = list[str]  # the overrides of one job


class GridSweeper(BasicSweeper):
    """Compose and check all points, then launch them `max_batch_size` at a time through the chosen launcher.

    A job that fails does not keep the others from running; the failures are listed at the end and the exit code is 1.
    Ctrl-C ends the sweep.
    """

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Run the sweep that `arguments` (and `hydra.sweeper.params`) describe; SystemExit(1) if a job failed."""
        assert self.config is not None
        assert self.launcher is not None
        assert self.hydra_context is not None
        from convarium.errors import ConfigError
        from convarium.run.compose import Conf

        loader: Any = self.hydra_context.config_loader
        parsed = effective(
            OverridesParser.create(config_loader=loader).parse_overrides([*self._parse_config(), *arguments])
        )
        if any(override.key_or_group == "study" and override.is_sweep_override() for override in parsed):
            raise ConfigError("study: cannot be swept, a study is a sweep itself; run one after the other")
        conf = Conf(loader=loader, root=self.config.hydra.job.config_name)
        points = [[*point, *self._name(conf, parsed)] for point in grid(parsed)]
        self._check(conf, points, parsed)
        returns = []
        done = 0
        try:
            for batch in self.split_overrides_to_chunks(points, self.max_batch_size):
                for number, point in enumerate(batch, done + 1):
                    print(
                        f"\njob {number} of {len(points)}: {_shown(point, parsed)}",
                        flush=True,
                    )
                returns.append(self.launcher.launch(batch, initial_job_idx=done))
                done += len(batch)
        except (SystemExit, KeyboardInterrupt) as stop:
            print(
                f"\nsweep stopped: {done} of {len(points)} jobs had ended",
                file=sys.stderr,
            )
            raise SystemExit(stop.code if isinstance(stop, SystemExit) else 130) from None
        self._report(points, [job for batch in returns for job in batch], parsed)
        return returns

    def _check(self, conf: "Conf", points: list[Point], parsed: list[Override]) -> None:
        """All that can be known before the first job, torch last; says which point it is that cannot be."""
        from convarium.errors import ConfigError

        assert self.config is not None
        hydra = list(self.config.hydra.overrides.hydra)
        number = 1
        try:
            configs = []
            for number, point in enumerate(points, 1):  # noqa: B007 - for the message
                configs.append(conf.compose([*hydra, *point]).config)
            folders = [config["run_dir"] for config in configs if config["run_dir"] is not None]
            if len(folders) > len(set(folders)):
                raise ConfigError(f"run_dir={folders[0]}: the jobs of a sweep need a folder each; leave it out")
            from convarium.run.launch import rehearse

            for number, config in enumerate(configs, 1):  # noqa: B007
                rehearse(config)
        except ConfigError as error:
            shown = _shown(points[number - 1], parsed)
            raise ConfigError(f"{error} (job {number} of {len(points)}: {shown})") from error

    def _name(self, conf: "Conf", parsed: list[Override]) -> Point:
        """`sweep.name=...`, which every job gets, unless it was given."""
        from convarium.run.identity import config_hash, sweep_name

        if any(override.key_or_group == "sweep.name" for override in parsed):
            return []
        fixed = {
            override.get_key_element(): override.value() for override in parsed if not override.is_sweep_override()
        }
        axes = [override.get_key_element() for override in parsed if override.is_sweep_override()]
        return [f"sweep.name={sweep_name(fixed, axes, config_hash(conf.compose([]).config))}"]

    def _report(self, points: list[Point], jobs: list[JobReturn], parsed: list[Override]) -> None:
        failures = []
        for number, (point, job) in enumerate(zip(points, jobs, strict=True), 1):
            end = job._return_value
            if job.status != JobStatus.COMPLETED:
                failures.append((number, _shown(point, parsed), 1, f"{type(end).__name__}: {end}"))
            elif end is not None and end.code != 0:
                failures.append((number, _shown(point, parsed), end.code, end.reason))
        print(
            f"\nsweep: {len(points) - len(failures)} of {len(points)} jobs ended well",
            flush=True,
        )
        if failures:
            width = max(len(shown) for _, shown, _, _ in failures)
            for number, shown, code, reason in failures:
                print(
                    f"  job {number:>{len(str(len(points)))}}  {shown:{width}}  exit {code}  {reason}",
                    file=sys.stderr,
                )
            raise SystemExit(1)


def effective(parsed: Sequence[Override]) -> list[Override]:
    """Of two equal keys the later counts, in the place of the first; but `+callbacks=a +callbacks=b` adds both."""
    last: dict[object, Override] = {}
    for place, override in enumerate(parsed):
        key = override.get_key_element()
        last[(key, place) if override.is_add() else key] = override
    return list(last.values())


def grid(parsed: Sequence[Override]) -> list[Point]:
    """Every combination of the swept values, the last axis fastest."""
    axes = []
    for override in parsed:
        key = override.get_key_element()
        values = override.sweep_string_iterator() if override.is_sweep_override() else _fixed(override)
        axes.append([key if value is None else f"{key}={value}" for value in values])
    return [list(point) for point in itertools.product(*axes)]


def _fixed(override: Override) -> list[str | None]:
    if override.is_delete() and override.value() is None:
        return [None]
    return [override.get_value_element_as_str()]


def _shown(point: Point, parsed: Sequence[Override]) -> str:
    """The swept part of a point."""
    swept = tuple(f"{override.get_key_element()}=" for override in parsed if override.is_sweep_override())
    return " ".join(word for word in point if word.startswith(swept)) or "the only one"
