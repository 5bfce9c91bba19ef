import os
from collections.abc import Iterator

import pytest

from convarium.sweep.local.processes import Processes, supervised


@pytest.fixture(scope="session")
def processes() -> Iterator[Processes]:
    """A supervisor for the jobs of many sweeps, which starts them as forks."""
    before = os.environ.get("CONVARIUM_TRUST")
    os.environ["CONVARIUM_TRUST"] = "misbehaving"
    with supervised("fork") as found:
        if before is None:
            del os.environ["CONVARIUM_TRUST"]
        yield found
