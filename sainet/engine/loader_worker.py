"""Inside a loader's worker process: how it starts, how it gives up, and how the loader tells why."""

import ctypes
import errno
import os
import signal
import sys
import traceback
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from sainet.errors import DataError, SainetError, StorageError
from sainet.protocol import LoaderPlan

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_OOM_SCORE = Path("/proc/self/oom_score_adj")
_FIRST_TO_GO = 1000
"""oom_score_adj: the kernel ends a worker, which can be told, before it ends the training."""
_CANNOT_SEND = 71
"""Exit code of a worker whose batch did not reach the training process."""


class Abandoned(Exception):  # noqa: N818 - nothing is wrong
    """The batch that this worker is loading is wanted no more."""


class Abandonable(Dataset[Any]):
    """A dataset whose worker stops within one sample, not within one batch, when `flag` is set."""

    def __init__(self, dataset: Any, flag: Any) -> None:
        self.dataset, self.flag = dataset, flag

    def __getitem__(self, key: Any) -> Any:
        if self.flag.is_set():
            raise Abandoned
        return self.dataset[key]


def new_flag() -> Any:
    """A flag that forked workers share."""
    return get_context("fork").Event()


def start_worker(_worker: int) -> None:
    """PyTorch calls this first in every worker.

    A worker dies with its parent, leaves SIGTERM and Ctrl-C to it, is the first that the kernel ends when memory runs
    out (needs no privilege), and ends when it cannot send a batch. Left alone, PyTorch's worker only prints that
    /dev/shm is full, from a thread, and the training waits for that batch for ever.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError):  # a read-only /proc is a container's choice, and no reason not to train
        _OOM_SCORE.write_text(str(_FIRST_TO_GO))
    Queue._on_queue_feeder_error = staticmethod(_end_after)  # type: ignore[attr-defined]


def _end_after(error: Exception, _batch: object) -> None:
    traceback.print_exception(error)
    sys.stderr.flush()
    os._exit(_CANNOT_SEND)


def explain_failure(error: Exception, workers: list[Any], plan: LoaderPlan, split: str) -> Exception:
    """What PyTorch's complaint about its workers means to the user; `error` itself when it is not about them."""
    where = f"loader.{'' if split == 'training' else 'val.'}"
    text = str(error)
    unsent = any(worker.exitcode == _CANNOT_SEND for worker in workers)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return StorageError(
            f"/dev/shm is full: the workers of the {split} loader could not be started ({shm_use()})",
            hint="free some of it; in a container a larger /dev/shm (docker run --shm-size=16g)",
        )
    if unsent or "bus error" in text or "unable to allocate shared memory" in text:
        return StorageError(
            f"/dev/shm is full: a worker of the {split} loader could not hand over its batch ({shm_use()})",
            hint=f"fewer {where}workers or a smaller {where}prefetch_factor; in a container a larger /dev/shm "
            "(docker run --shm-size=16g)",
        )
    if "DataLoader timed out" in text:  # a CUDA kernel may time out too
        return SainetError(
            f"no batch came from the {split} loader within {plan.timeout_s:g} s (/dev/shm: {shm_use()})",
            hint=f"slow storage: a larger {where}timeout_s; a full /dev/shm or RAM: fewer {where}workers",
        )
    killed = [f"pid {worker.pid}: {_name(-worker.exitcode)}" for worker in workers if (worker.exitcode or 0) < 0]
    if killed and "worker" in text:
        return SainetError(
            f"a worker of the {split} loader was killed ({', '.join(killed)})",
            hint=f"mostly the kernel, out of memory: fewer {where}workers or a smaller {where}prefetch_factor",
        )
    return error


def from_worker(error: DataError) -> DataError:
    """`error` as the worker raised it: PyTorch raises it again with the worker's whole traceback as its message."""
    if "in DataLoader worker process" not in error.message:
        return error
    message, _, hint = error.message.rpartition("DataError: ")[2].strip().partition("\n  hint: ")
    return DataError(message, hint=hint or None)


def _name(signal_number: int) -> str:
    try:
        return signal.Signals(signal_number).name
    except ValueError:
        return f"signal {signal_number}"


def shm_use() -> str:
    """How full /dev/shm is, for people."""
    try:
        status = os.statvfs("/dev/shm")
    except OSError:
        return "it cannot be read"
    free, size = status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize
    return f"it has {size / 2**20:.0f} MiB, {free / 2**20:.0f} of them free by now"
