"""One job of a sweep, in a process of its own: begin or go on with the run whose directory is there."""

import json
import sys
import traceback

from convarium.errors import ConfigError, RunError
from convarium.run.job import judge
from convarium.run.launch import assemble, carry_out, rehearse
from convarium.run.record import FINISHED, Result, RunDirectory
from convarium.sweep.check import as_preflight


def run(path: str, found: str) -> int:
    """Run the experiment frozen in a directory, from its last checkpoint if there is one; the exit code.

    found: what the check of the sweep found out about it, as JSON. However it ends, result.json says so, unless the
    process itself is ended.
    """
    directory = RunDirectory.open(path)
    config = directory.config()
    with directory.locked():
        Result(directory, config).write(error=None)
        try:
            config, preflight, data, clock = rehearse(config, as_preflight(json.loads(found)))
            parts = assemble(directory, config, preflight, data, clock)
            del data
            return carry_out(directory, config, preflight, parts, resume=True)
        except (ConfigError, RunError) as error:
            line = " ".join(str(error).split())
            print(f"error: {line}", file=sys.stderr)
            directory.close("failed", line)
            return 1
        except BaseException as failure:
            status, line, code = judge(failure)
            traceback.print_exc()
            if directory.result().get("status") not in FINISHED:
                directory.close(status, line)
            return code
