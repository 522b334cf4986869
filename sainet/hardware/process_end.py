"""Waiting for a process to end without asking again and again."""

import os
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["waiting_for_end"]

_POLL_S = 0.2
"""Where the kernel (before Linux 5.3) or a sandbox has no descriptors of processes."""


class _End:
    def __init__(self, descriptor: int | None) -> None:
        self._poll = select.poll()
        self._descriptor = descriptor
        if descriptor is not None:
            self._poll.register(descriptor, select.POLLIN)

    def wait(self, seconds: float) -> None:
        """For so long, or until the process has ended; its exit status is left to the caller."""
        if self._descriptor is None:
            time.sleep(min(seconds, _POLL_S))
        else:
            self._poll.poll(1000 * seconds)


@contextmanager
def waiting_for_end(pid: int) -> Iterator[_End]:
    """The end of `pid`, a child of ours that nobody has waited for yet."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        descriptor = None
    try:
        yield _End(descriptor)
    finally:
        if descriptor is not None:
            os.close(descriptor)
