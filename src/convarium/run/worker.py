"""One rank of a run over several processes: `python -m convarium.run.worker RUN/config.yaml` under torchrun or srun.

The parent's launcher calls `rank` in a new process; on clusters torchrun or srun starts `main`. Either way the run
directory with its frozen config.yaml is all a rank is told.
"""

import os
import sys
from contextlib import nullcontext
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import record

from convarium.errors import ConfigError, RunError
from convarium.machine import die_with_parent
from convarium.run.devices import Preflight
from convarium.run.directory import RunDirectory
from convarium.run.preflight import preflight


@record
def rank(path: str, resume: bool, found: Preflight, parent: int) -> int:
    """Run one rank on this machine, started by process `parent`; the exit code, if it ends by itself."""
    die_with_parent(parent)
    code = run_rank(RunDirectory(Path(path)), found, resume=resume)
    if code:  # a launcher told to stop no longer reads what we return, and would wait for it
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


@record
def main(arguments: list[str] | None = None) -> int:
    """Run one rank under torchrun or srun; started again with the same line it resumes."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1:
        print("error: usage: python -m convarium.run.worker RUN/config.yaml", file=sys.stderr)
        return 2
    try:
        run = RunDirectory.open(Path(arguments[0]).absolute().parent)
        found = preflight(run.config())
        with run.locked() if first_rank() else nullcontext():
            return run_rank(run, found, resume=run.last.is_file())
    except (ConfigError, RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run_rank(run: RunDirectory, found: Preflight, *, resume: bool) -> int:
    """Build this rank's parts from the frozen config and run them; only rank 0 is seen and heard."""
    from convarium.run.console import copied_to
    from convarium.run.fit import build_data, build_parts, fit_and_test, measure

    config = run.config()
    with copied_to(run.log_file) if first_rank() else nullcontext():
        data = build_data(config)
        parts = build_parts(config, run, found, data, measure(config, data))
        return fit_and_test(run, config, found, parts, resume=resume)


def first_rank() -> bool:
    """Whether this process is rank 0 by what torchrun or srun say."""
    return os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0"


if __name__ == "__main__":
    sys.exit(main())
