"""When the exact state is written, and what is told of it."""

import time
from collections.abc import Callable
from typing import Literal

from sainet.engine.exact import Place, State
from sainet.engine.reporting import Reporter
from sainet.engine.slots import Slots
from sainet.protocol import CheckpointSaved

Reason = Literal["start", "interval", "epoch", "order", "stop"]

_BUDGET = 0.05
"""The largest share of the time that writing at intervals may take: on a slow disk they get longer."""


class Keeper:
    """Writes the exact state of one training into its two slots.

    `every_s`: the time between two checkpoints inside an epoch, seconds; longer where a write takes more than a
    twentieth of it. Raises `StorageError` when the disk is full; the checkpoints before are intact then.
    """

    def __init__(self, slots: Slots, reporter: Reporter, every_s: float) -> None:
        self.slots, self.reporter, self.every_s = slots, reporter, every_s
        self._wait_s = every_s
        self._saved_s = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the interval has passed."""
        return time.monotonic() - self._saved_s >= self._wait_s

    def save(self, reason: Reason, place: Place, batches: int, state: Callable[[], State]) -> None:
        """Write `state()` and say so."""
        began_s = time.monotonic()
        written = self.slots.write(state(), epoch=place.epoch, batch=place.batch)
        self._saved_s = time.monotonic()
        seconds = self._saved_s - began_s
        self._stretch(seconds)
        self.reporter.emit(
            CheckpointSaved(
                stage=self.reporter.plan.stage,
                attempt=self.reporter.plan.attempt,
                epoch=place.epoch,
                batch=place.batch,
                batches=batches,
                reason=reason,
                written_bytes=written.bytes,
                seconds=seconds,
            )
        )

    def _stretch(self, seconds: float) -> None:
        wait_s = max(self.every_s, seconds / _BUDGET)
        if wait_s > self.every_s and self._wait_s == self.every_s:
            self.reporter.warn(
                f"a checkpoint takes {seconds:.1f} s to write here: inside an epoch they come every "
                f"{wait_s / 60:.1f} minutes instead of {self.every_s / 60:.1f}, for at most {_BUDGET:.0%} of the time"
            )
        self._wait_s = wait_s
