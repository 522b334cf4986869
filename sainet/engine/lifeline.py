"""How the training process ends: on SIGTERM, and when its supervisor dies, however that dies."""

import ctypes
import fcntl
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from sainet.errors import RunLockedError

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_GRACE_S = 25.0
"""For the batch that is running and a checkpoint, as the supervisor gives."""
_LOCK_WAIT_S = 60.0

_stop_asked = threading.Event()
_busy = threading.Event()


class Stopped(BaseException):
    """Raised in the main thread by SIGTERM; not an `Exception`, so that nothing on the way swallows it."""

    exit_code = 143


class StoppedByOrder(Stopped):
    """The supervisor ordered the training to save its state and end."""

    exit_code = 4


def tie_to_parent(parent_pid: int) -> None:
    """End this process group when the process `parent_pid`, our parent, is gone.

    The kernel sends SIGTERM at that moment. Should the main thread be stuck where no signal handler runs
    (a hung collective, a long kernel), a watching thread kills the whole group, loader workers included.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before the kernel was asked to tell
        os.kill(os.getpid(), signal.SIGTERM)
    threading.Thread(target=_watch, args=(parent_pid,), name="lifeline", daemon=True).start()


def stop_on_sigterm() -> None:
    """From now on SIGTERM raises `Stopped` at the next bytecode of the main thread, and `stop_was_asked` says so.

    Inside `finishing` it only says so.
    """
    signal.signal(signal.SIGTERM, _raise_stopped)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the supervisor, which decides


def stop_was_asked() -> bool:
    """True once SIGTERM arrived.

    `Stopped` alone does not tell: the interpreter drops what is raised inside a `__del__`, and on the way out torch
    raises its own error about loader workers that the same SIGTERM ended.
    """
    return _stop_asked.is_set()


@contextmanager
def finishing() -> Iterator[None]:
    """What must not be left half done: SIGTERM waits, and its `Stopped` is the caller's to raise afterwards."""
    _busy.set()
    try:
        yield
    finally:
        _busy.clear()


def stop_if_asked() -> None:
    """Raise the `Stopped` that was held back, or that was raised where the interpreter drops exceptions."""
    if stop_was_asked():
        raise Stopped


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold the stage's lock. Loader workers inherit it, so it is free only when the whole group is gone.

    Waits for a process of an earlier attempt that is still on its way out.
    Raises `RunLockedError` when that takes longer than a minute.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        deadline_s = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline_s:
                    raise RunLockedError(f"another process is training this stage ({path})") from None
                time.sleep(0.2)
        yield


def _raise_stopped(_signal_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: the way out must not be interrupted
    _stop_asked.set()
    if not _busy.is_set():
        raise Stopped


def _watch(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(0.5)
    time.sleep(_GRACE_S)
    os.killpg(os.getpgrp(), signal.SIGKILL)
