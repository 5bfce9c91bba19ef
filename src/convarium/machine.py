"""What this process may use of its machine."""

import os


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores_of_a_rank() -> int:
    """The cores shared out among the ranks on this machine, as their launcher counts them."""
    return max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
