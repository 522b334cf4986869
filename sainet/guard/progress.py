"""How a training gets on: its place, the time of a batch, and whether it hangs. Pure: times are handed in."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median

from sainet.protocol import BatchDone, CheckpointSaved, Event, OrdersApplied, TrainingStarted

__all__ = ["CpuUse", "Progress"]

_REMEMBERED = 64
"""Progress events that the median is taken of; at most one a second comes."""
_FLAT = 0.02
"""CPUs; a process group that uses less does nothing: waiting threads of PyTorch wake up now and then."""


@dataclass
class Progress:
    """What the events of one attempt tell. Batches are numbered over all epochs, from 0."""

    batches: int = 0
    """In an epoch; 0 before the training has begun."""
    number: int = 0
    """Of the next batch."""
    checkpoint_bytes: int | None = None
    reserved_bytes: int | None = None
    allocated_bytes: int | None = None
    moved_s: float | None = None
    """When an event came last; None before the training has begun."""
    _known: tuple[float, int] | None = None
    _paces: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def take(self, event: Event, now_s: float) -> None:
        """`now_s`: when it was read, on the caller's clock."""
        match event:
            case TrainingStarted():
                self.batches, self._known = event.batches, None
                self.number = event.first_epoch * event.batches + event.first_batch
            case BatchDone():
                self._count(event)
            case CheckpointSaved():
                self.checkpoint_bytes = event.written_bytes
            case OrdersApplied():
                self._known = None  # new workers take their time
        if self.batches:
            self.moved_s = now_s

    def _count(self, event: BatchDone) -> None:
        number = event.epoch * event.batches + event.batch
        if self._known is not None and event.batch and number > self._known[1]:
            self._paces.append((event.time_s - self._known[0]) / (number - self._known[1]))
        self._known, self.number = (event.time_s, number), number + 1
        self.reserved_bytes, self.allocated_bytes = event.vram_bytes, event.vram_allocated_bytes

    @property
    def batch_s(self) -> float | None:
        """The median time of a batch; None before two progress events in one epoch."""
        return median(self._paces) if self._paces else None

    def ahead(self, seconds: float) -> tuple[int, int] | None:
        """The (epoch, batch) that nobody has begun who is at most so many seconds ahead of what we know."""
        if not self.batches:
            return None
        behind = seconds / self.batch_s if self.batch_s else 1.0
        return divmod(self.number + 1 + int(behind), self.batches)

    def silent_s(self, now_s: float) -> float:
        """For how long nothing has been heard of a training that has begun, seconds."""
        return 0.0 if self.moved_s is None else now_s - self.moved_s

    def patience_s(self, factor: float, least_s: float, loader_timeout_s: Iterable[float]) -> float:
        """How long a silence may be. A loader that gives up by itself, and tells why, is given the time to."""
        return max(least_s, factor * (self.batch_s or 0.0), *(1.1 * timeout for timeout in loader_timeout_s))


class CpuUse:
    """Whether a process group has done nothing for a while, by the CPU time that it has used so far."""

    def __init__(self, window_s: float) -> None:
        self.window_s = window_s
        self._seen: deque[tuple[float, float]] = deque()

    def add(self, now_s: float, used_s: float) -> None:
        """`used_s`: CPU seconds of the group; less than before where one of its processes has ended."""
        if self._seen and used_s < self._seen[-1][1]:
            self._seen.clear()
        self._seen.append((now_s, used_s))
        while len(self._seen) > 2 and now_s - self._seen[1][0] >= self.window_s:
            self._seen.popleft()

    @property
    def is_flat(self) -> bool:
        """False as long as less than the window was seen."""
        if not self._seen:
            return False
        (first_s, first), (last_s, last) = self._seen[0], self._seen[-1]
        return last_s - first_s >= self.window_s and last - first < _FLAT * (last_s - first_s)

    def forget(self) -> None:
        self._seen.clear()
