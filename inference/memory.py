"""Bounds on the memory of this process. Only Linux counts what RLIMIT_DATA limits; elsewhere there are none.

RLIMIT_AS is of no use with TensorFlow, which reserves gigabytes of addresses that it never fills.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def at_most(extra: int) -> Iterator[None]:
    """Let the process allocate only `extra` bytes more than it has; beyond it allocations fail."""
    if sys.platform != "linux":
        yield
        return
    import resource  # does not exist everywhere

    before = resource.getrlimit(resource.RLIMIT_DATA)
    limit(extra)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def limit(extra: int) -> None:
    """The same for the rest of its life, unless `at_most` is around it."""
    if sys.platform != "linux":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    ceiling = used() + extra
    lowest = min(bound for bound in (ceiling, soft, hard) if bound != resource.RLIM_INFINITY)
    resource.setrlimit(resource.RLIMIT_DATA, (lowest, hard))


def used() -> int:
    """Bytes that the process has allocated, as those limits count them."""
    if sys.platform != "linux":
        return 0
    import resource

    data_pages = int(Path("/proc/self/statm").read_text().split()[5])
    return data_pages * resource.getpagesize()
