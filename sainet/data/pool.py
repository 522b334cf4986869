"""Work on many parts at once: with all cores, so that memory does not grow with their number; or waiting for disks."""

import ctypes
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from sainet.errors import SainetError

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor

__all__ = ["in_parallel", "in_threads"]

P = TypeVar("P")
R = TypeVar("R")

_AHEAD = 4
"""Parts for each worker that are handed out and not yet taken back."""
_THREADS = 16
"""Requests at a time: a network disk answers many in the time of one."""
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def in_parallel(work: Callable[[P], R], parts: Iterable[P], workers: int) -> Iterator[R]:
    """`work` on each part, in order; in this process where there is one worker or none.

    Raises `SainetError` when a worker was killed.
    """
    if workers < 2:
        yield from map(work, parts)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    # Not forked: the progress bar has a thread by now.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(os.getpid(),))
    try:
        yield from _results(pool, work, parts, _AHEAD * workers)
    except BrokenProcessPool as error:
        raise SainetError(
            "a process that worked on the data was killed", hint="was it out of memory? Then run the same command again"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _results(pool: "ProcessPoolExecutor", work: Callable[[P], R], parts: Iterable[P], ahead: int) -> Iterator[R]:
    waiting: deque[Future[R]] = deque()
    for part in parts:
        waiting.append(pool.submit(work, part))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _start(parent_pid: int) -> None:
    """Ctrl-C is for the parent, whose end ends this process too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before the kernel was asked to tell
        os._exit(1)


def in_threads(look: Callable[[P], R], items: Sequence[P]) -> list[R]:
    """`look` at each item, in order, a few at a time; for what waits for a disk and computes nothing."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(_THREADS) as pool:
        parts = list(pool.map(lambda first: [look(item) for item in items[first::_THREADS]], range(_THREADS)))
    return [parts[index % _THREADS][index // _THREADS] for index in range(len(items))]
