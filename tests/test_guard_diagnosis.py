"""What ended an attempt, for every failure that is known: by exit status, counters, last words and the log."""

import signal
from typing import Any

import pytest

from sainet.guard.diagnosis import Remnants, diagnose, first_error_line
from sainet.protocol import ProcessFailed

KILLED = -signal.SIGKILL
WORKER = "RuntimeError: DataLoader worker (pid 311) is killed by signal: Killed. "
SHM = (
    "RuntimeError: unable to allocate shared memory(shm) for file </torch_7_1_0>: No space left on device (28)\n"
    "RuntimeError: DataLoader worker (pid(s) 12) exited unexpectedly"
)


def told(message: str, exit_code: int = 1) -> ProcessFailed:
    return ProcessFailed(stage=1, attempt=1, exit_code=exit_code, message=message)


@pytest.mark.parametrize(
    ("left", "cause", "resource"),
    [
        ({"returncode": KILLED, "oom_kills": 1}, "kernel out of memory", "ram"),
        ({"returncode": KILLED}, "killed", None),
        ({"returncode": 137}, "killed", None),
        ({"returncode": 1, "log": [WORKER], "oom_kills": 1}, "kernel out of memory", "ram"),
        ({"returncode": 1, "log": [WORKER]}, "worker killed", None),
        (
            {"returncode": 1, "told": told("a worker of the training loader was killed (pid 3: SIGKILL)")},
            "worker killed",
            None,
        ),
        ({"returncode": 1, "told": told("ConnectionResetError: [Errno 104] Connection reset")}, "worker killed", None),
        ({"returncode": 1, "log": SHM.splitlines()}, "/dev/shm full", "shm"),
        ({"returncode": 7, "told": told("/dev/shm is full: a worker could not hand over", 7)}, "/dev/shm full", "shm"),
        ({"returncode": -signal.SIGBUS}, "bus error", "shm"),
        (
            {"returncode": 1, "log": ["ERROR: Unexpected bus error encountered in worker. This might be caused by"]},
            "bus error",
            "shm",
        ),
        ({"returncode": KILLED, "hung": True}, "hung", None),
        ({"returncode": KILLED, "hung": True, "shm_share": 0.99}, "hung", "shm"),
        ({"returncode": 1, "told": told("no batch came from the training loader within 300 s")}, "hung", None),
        (
            {"returncode": 1, "log": ["RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory"]},
            "host allocator",
            "ram",
        ),
        (
            {"returncode": 1, "log": ["numpy._core._exceptions._ArrayMemoryError: Unable to allocate 2.0 GiB"]},
            "host allocator",
            "ram",
        ),
        (
            {"returncode": 1, "told": told("OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB")},
            "CUDA out of memory",
            "vram",
        ),
        (
            {"returncode": 1, "log": ["RuntimeError: CUDA ran out of memory outside PyTorch's allocator"]},
            "CUDA out of memory",
            "vram",
        ),
        ({"returncode": 1, "log": ["RuntimeError: cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"]}, "CUDA library", "vram"),
        ({"returncode": 1, "log": ["RuntimeError: CUBLAS_STATUS_ALLOC_FAILED when calling"]}, "CUDA library", "vram"),
        ({"returncode": 1, "log": ["RuntimeError: unable to find an engine to execute"]}, "CUDA library", "vram"),
        (
            {"returncode": -signal.SIGABRT, "log": ["[rank1] Watchdog caught collective operation timeout: WorkNCCL"]},
            "NCCL",
            None,
        ),
        ({"returncode": 7, "told": told("no space left while writing /runs/x/slot-0", 7)}, "disk full", None),
        ({"returncode": 1, "log": ["OSError: [Errno 28] No space left on device: 'last.pt'"]}, "disk full", None),
        ({"returncode": 1, "log": ["ValueError: batch norm wants more than one value"]}, "other", None),
        ({"returncode": 1}, "other", None),
    ],
)  # fmt: skip
def test_every_known_ending_is_recognised(left: dict[str, Any], cause: str, resource: str | None) -> None:
    found = diagnose(Remnants(**{"told": None, "log": [], **left}))
    assert (found.cause, found.resource) == (cause, resource)
    assert found.survivable == (cause not in {"NCCL", "disk full", "other"})
    assert found.message


def test_a_killed_worker_is_not_taken_for_the_training_process() -> None:
    worker = diagnose(Remnants(1, None, [WORKER], oom_kills=1))
    whole = diagnose(Remnants(KILLED, None, [], oom_kills=1))
    assert "a loader worker" in worker.message
    assert "killed the training process" in whole.message


def test_an_out_of_memory_of_cuda_beside_the_kernels_count_is_still_cudas() -> None:
    """Another process of the same container may have been killed meanwhile."""
    found = diagnose(Remnants(1, told("OutOfMemoryError: CUDA out of memory. Tried"), [], oom_kills=1))
    assert found.resource == "vram"


def test_the_first_error_of_a_log_is_shown_and_not_the_last_of_its_consequences() -> None:
    log = [
        "Ultralytics 8.4",
        "Traceback (most recent call last):",
        '  File "x.py", line 3, in f',
        "ValueError: the true reason",
        "Traceback (most recent call last):",
        "RuntimeError: something that follows from it",
        "bye",
    ]
    assert first_error_line(log) == "ValueError: the true reason"
    assert first_error_line(["all is well", "", "good night", " "]) == "good night"
    assert first_error_line([]) is None
