"""Whether an attempt that was ended against its will is followed by another, and what that one does without. No I/O."""

from dataclasses import dataclass

from sainet.config.schema import Guard
from sainet.errors import ExhaustedError, GuardStopError
from sainet.guard.diagnosis import Diagnosis
from sainet.guard.ladder import Ladder, Rung
from sainet.protocol import Resource
from sainet.state import Position

__all__ = ["Recovery", "Restart"]

_SUSPECTED_AFTER = 2
"""Unexplained endings in a row: in a container the kernel's count may be out of sight."""


@dataclass(frozen=True)
class Restart:
    """The next attempt: number `number` of `of`; `rung` is what it does without, None where it is started as it was."""

    diagnosis: Diagnosis
    resource: Resource | None
    rung: Rung | None
    number: int
    of: int


class Recovery:
    """Counts the restarts of one stage while its supervisor lives: who types the command again has looked at it."""

    def __init__(self, ladder: Ladder, settings: Guard) -> None:
        self.ladder, self.settings = ladder, settings
        self.restarts = 0
        self._unexplained = 0
        self._left_at: Position | None = None

    def after(self, diagnosis: Diagnosis, at: Position | None, *, was_lowering: bool = False) -> Restart:
        """What follows a survivable ending; `at`: where a resume goes on, None where it begins anew; `was_lowering`:
        the guard had lowered something that had no time to show, which the next attempt begins with.

        Raises `ExhaustedError` when restarts or rungs are used up, `GuardStopError` where VRAM ran out and the user
        wants it to stop then.
        """
        self._check_restarts(diagnosis)
        resource = diagnosis.resource or self._suspected(diagnosis)
        is_answered = was_lowering and resource != "vram"
        rung = None if resource is None or is_answered else self.ladder.after_failure(resource)
        if rung is None and diagnosis.resource is not None and not is_answered:
            self._check_hope(diagnosis, at)
        self.restarts += 1
        self._left_at = at
        if rung is not None:
            self.ladder.took(rung)
        return Restart(diagnosis, resource, rung, self.restarts, self.settings.max_restarts)

    def _check_restarts(self, diagnosis: Diagnosis) -> None:
        most = self.settings.max_restarts
        if self.restarts >= most:
            raise ExhaustedError(f"{diagnosis.message}; all {most} restarts are used up (guard.max_restarts)")

    def _check_hope(self, diagnosis: Diagnosis, at: Position | None) -> None:
        """Nothing is left to give up. What leaks or was another's may be gone after a restart; VRAM is not."""
        if diagnosis.resource == "vram":
            if self.settings.on_vram == "stop":
                raise GuardStopError(f"{diagnosis.message} (guard.on_vram is stop)")
            raise ExhaustedError(f"{diagnosis.message}; nothing smaller is left to try (guard.on_vram)")
        if self.restarts and at == self._left_at:
            raise ExhaustedError(f"{diagnosis.message}; nothing smaller is left to try, and a restart did not help")

    def _suspected(self, diagnosis: Diagnosis) -> Resource | None:
        self._unexplained += 1
        if self._unexplained < _SUSPECTED_AFTER:
            return None
        return "shm" if diagnosis.cause == "hung" else "ram"
