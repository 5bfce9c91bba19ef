"""The errors a person can cause: the front door prints them as one line. Any other is a bug and keeps its traceback."""


class ConfigError(Exception):
    """The experiment asked for cannot be run as written; the message is one line: key, value, what is accepted."""


class MissingData(ConfigError):
    """A dataset is not on this disk; the message ends with the command that fetches it."""


class RunError(Exception):
    """A run, or a file of one, is not what it should be: missing, foreign, corrupt, or in use by another process."""


BAD_INPUT = 2
"""The exit code after such an error."""
INTERRUPTED = (130, 143, 129)
"""The exit codes after Ctrl-C, SIGTERM and SIGHUP."""
