"""What ended an attempt: from its exit status, the kernel's counters, its last words and the end of its log. Pure.

The signatures are those that PyTorch, CUDA and the kernel leave, most found by killing real trainings.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sainet.protocol import ProcessFailed, Resource

__all__ = ["Cause", "Diagnosis", "Remnants", "diagnose", "first_error_line"]

Cause = Literal[
    "kernel out of memory",
    "worker killed",
    "killed",
    "/dev/shm full",
    "bus error",
    "hung",
    "host allocator",
    "CUDA out of memory",
    "CUDA library",
    "NCCL",
    "disk full",
    "other",
]

_SIGNATURES: tuple[tuple[str, Cause], ...] = (
    (r"unable to allocate shared memory|/dev/shm is full", "/dev/shm full"),
    (r"[Bb]us error", "bus error"),
    (r"CUDA out of memory|CUDA ran out of memory|torch\.(cuda\.)?OutOfMemoryError", "CUDA out of memory"),
    (
        r"CUDNN_STATUS_(INTERNAL_ERROR|NOT_SUPPORTED|ALLOC_FAILED|EXECUTION_FAILED)|CUBLAS_STATUS_ALLOC_FAILED"
        r"|[Uu]nable to find an engine",
        "CUDA library",
    ),
    (
        r"DefaultCPUAllocator: (can't|not enough)|ArrayMemoryError|\bMemoryError\b|Cannot allocate memory",
        "host allocator",
    ),
    (
        r"worker \(pid\(?s?\)? [\d, ]+\) (is killed by signal|exited unexpectedly)|worker of the \w+ loader was killed",
        "worker killed",
    ),
    # It was killed while it handed a batch over, and the other end noticed first.
    (r"^(\w+\.)*(ConnectionResetError|ConnectionRefusedError|EOFError)\b", "worker killed"),
    (r"Watchdog caught collective operation timeout|watchdog got stuck|NCCL (error|WARN)", "NCCL"),
    (r"no batch came from the \w+ loader|DataLoader timed out", "hung"),
    (r"\[Errno 28\]|no space left", "disk full"),
)
"""Sought in this order: a full /dev/shm says `[Errno 28]` too, and a dead worker often is its consequence."""

_RESOURCES: dict[Cause, Resource] = {
    "kernel out of memory": "ram",
    "/dev/shm full": "shm",
    "bus error": "shm",
    "host allocator": "ram",
    "CUDA out of memory": "vram",
    "CUDA library": "vram",
}
_SURVIVABLE = frozenset(_RESOURCES) | {"worker killed", "killed", "hung"}
_ERROR_LINE = re.compile(r"^(?!\s)(?!Traceback)[\w.]*(Error|Exception|Interrupt|error)\b.*|^.*\b(FATAL|Fatal)\b.*")
_SIGKILL, _SIGBUS, _SIGABRT = 9, 7, 6


@dataclass(frozen=True)
class Remnants:
    """What is left of an attempt.

    `returncode` is negative for a signal; `oom_kills`: by how much the kernel's count has grown while it ran; `hung`:
    it was ended because nothing moved; `shm_share`: the largest share of /dev/shm that was seen taken.
    """

    returncode: int
    told: ProcessFailed | None
    log: Sequence[str]
    oom_kills: int = 0
    hung: bool = False
    shm_share: float = 0.0


@dataclass(frozen=True)
class Diagnosis:
    """`resource`: what ran out, None where it was no memory. `survivable`: another attempt may live."""

    cause: Cause
    message: str
    resource: Resource | None = None

    @property
    def survivable(self) -> bool:
        return self.cause in _SURVIVABLE


_FULL_SHM = 0.95


def diagnose(left: Remnants) -> Diagnosis:
    """Why the attempt ended that was not asked to end and did not finish."""
    cause = _cause(left)
    resource = _RESOURCES.get(cause)
    if cause == "hung" and left.shm_share >= _FULL_SHM:
        resource = "shm"
    return Diagnosis(cause, _message(cause, left), resource)


def _cause(left: Remnants) -> Cause:
    if left.hung:
        return "hung"
    said = _said(left)
    if said in {"/dev/shm full", "bus error"} or -left.returncode == _SIGBUS:
        return said if said == "/dev/shm full" else "bus error"
    if left.oom_kills and (-left.returncode == _SIGKILL or said in {None, "worker killed"}):
        return "kernel out of memory"
    if said is not None:
        return said
    if -left.returncode == _SIGKILL or left.returncode == 128 + _SIGKILL:
        return "killed"
    return "other"


def _said(left: Remnants) -> Cause | None:
    """By the training's own last words, else by the end of its log."""
    for text in (_told(left), "\n".join(left.log)):
        for pattern, cause in _SIGNATURES:
            if re.search(pattern, text, re.MULTILINE):
                return cause
    return None


def _told(left: Remnants) -> str:
    return "" if left.told is None else f"{left.told.message}\n{left.told.hint or ''}"


_TRIED = re.compile(r"Tried to allocate [\d.]+ \w+")
_SENTENCES: dict[Cause, str] = {
    "kernel out of memory": "the kernel killed {what}: the RAM limit was reached",
    "worker killed": "a loader worker was killed, and not by the kernel for want of memory",
    "killed": "the training process was killed by somebody (SIGKILL), and not by the kernel for want of memory",
    "bus error": "a process of the training died of a bus error, as it does where /dev/shm is full",
    "hung": "nothing moved any more: no batch came, and nobody used the CPU",
}


def _message(cause: Cause, left: Remnants) -> str:
    if cause == "hung" and not left.hung and left.told is not None:
        return left.told.message
    tried = _TRIED.search("\n".join([_told(left), *left.log]))
    if cause == "CUDA out of memory" and tried is not None:
        return f"CUDA ran out of memory ({tried[0]})"
    sentence = _SENTENCES.get(cause)
    if sentence is not None:
        whole = -left.returncode == _SIGKILL
        return sentence.format(what="the training process" if whole else "a loader worker of the training")
    if left.told is not None:
        return left.told.message
    found = first_error_line(left.log)
    return found or f"the training process ended with {left.returncode} and said nothing"


def first_error_line(log: Sequence[str]) -> str | None:
    """The first line of a log that names an error; the last line that says anything where none does."""
    named = next((line.strip() for line in log if _ERROR_LINE.match(line)), None)
    return named or next((line.strip() for line in reversed(log) if line.strip()), None)
