"""A process that has imported everything and forks a child per command: what a command prints, returns and leaves
behind is that of `python train.py` or `convarium`, without 4 seconds of imports for each of many.

One JSON object per line in ({"argv", "cwd", "env"}), one out ({"code", "out", "err"}).
"""

import json
import os
import sys
import tempfile


def child(argv: list[str], env: dict[str, str]) -> None:
    """Be the command; leaves by SystemExit or by the exception that it would end with."""
    from convarium import cli

    os.environ.update(env)
    sys.argv = argv
    cli.train() if argv[0].endswith("train.py") else cli.main()


def serve() -> None:
    """Answer until stdin ends."""
    import lightning.pytorch  # noqa: F401
    from hydra.core.plugins import Plugins

    import convarium.run.fit
    import convarium.run.launch
    import convarium.run.preflight
    import convarium.run.resume  # noqa: F401
    from convarium.config.compose import compose
    from convarium.config.trust import trust

    Plugins.instance()
    compose([])  # parses the yaml files
    trust.cache_clear()
    for line in sys.stdin:
        asked = json.loads(line)
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            pid = os.fork()
            if pid == 0:
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.chdir(asked["cwd"])
                code = 1
                try:
                    child(asked["argv"], asked["env"])
                    code = 0
                except SystemExit as end:
                    code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
                except BaseException:
                    sys.excepthook(*sys.exc_info())
                finally:
                    sys.stdout.flush()
                    sys.stderr.flush()
                    os._exit(code)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            out.seek(0)
            err.seek(0)
            print(json.dumps({"code": code, "out": out.read(), "err": err.read()}), flush=True)


if __name__ == "__main__":
    serve()
