"""What a process of a sweep runs: `python -m convarium.sweep.local.calls NAME ARGUMENTS`, or a fork calls `call`."""

import faulthandler
import json
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress

from convarium.errors import RunError
from convarium.machine import scrub_rank_variables


def call(name: str, arguments: Sequence[str]) -> int:
    """Run a call (run, rank, draw, preflight) in this process, however it ends; the exit code."""
    scrub_rank_variables()
    faulthandler.enable()  # a segmentation fault, or the SIGABRT that ends a job which hangs, leaves a traceback
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        if name == "preflight":
            from convarium.sweep.local.check import preflight_jobs

            code = preflight_jobs(*arguments)
        else:
            from convarium.sweep.local import job

            code = getattr(job, name)(*arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except RunError as error:  # its folder is in use, or not what it should be
        print(f"error: {error}", file=sys.stderr)
        code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    return code


if __name__ == "__main__":
    os._exit(call(sys.argv[1], json.loads(sys.argv[2])))
