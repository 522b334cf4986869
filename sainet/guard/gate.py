"""From what the levels say to few alarms. Pure.

A step that was taken is given `cooldown_s` to show, then the alarm comes again as long as the level does, so that the
next step is taken. Only a hard alarm does not wait, where the one before was soft. When there has been plenty for
`clear_s` one last alarm, of level clear, says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sainet.config.schema import Guard
from sainet.guard.levels import Verdict, percent
from sainet.guard.trend import SLACK_S, Lasting
from sainet.protocol import Level, Resource

__all__ = ["Alarm", "Gate"]

_NAMES: dict[Resource, str] = {"ram": "RAM", "shm": "/dev/shm", "vram": "VRAM"}
_RANK: dict[str | None, int] = {None: 0, "soft": 1, "hard": 2}


@dataclass(frozen=True)
class Alarm:
    """Something is short, or (`clear`) no longer. `reason` is for people.

    `share` is what is taken of the limit; of the disk, what is free of what there should be. `gpu` is the place among
    the GPUs of the sample, where it is about one of them.
    """

    time_s: float
    resource: Resource
    level: Level
    reason: str
    share: float
    gpu: int | None = None


@dataclass(frozen=True)
class _Standing:
    """Where a gate stands: the level of its newest alarm, and when the newest one that was not `clear` came."""

    level: Level = "clear"
    step_s: float | None = None


class Gate:
    """Lets few alarms of one resource through."""

    def __init__(self, resource: Resource, asked: Guard) -> None:
        self._resource, self._asked = resource, asked
        self._now = self._before = _Standing()
        self._calm = Lasting()

    def see(self, time_s: float, verdicts: Sequence[Verdict]) -> Alarm | None:
        if not verdicts:
            return None
        worst = max(verdicts, key=lambda verdict: (_RANK[verdict.level], verdict.share))
        calm = self._calm.for_(time_s, all(verdict.is_low for verdict in verdicts), self._asked.clear_s)
        if worst.level is not None:
            return self._alarm(time_s, worst.level, worst) if self._may(time_s, worst.level) else None
        if calm and self._now.level != "clear":
            self._now = _Standing("clear", self._now.step_s)
            return Alarm(time_s, self._resource, "clear", self._plenty(), worst.share)
        return None

    def take_back(self) -> None:
        """As if the newest alarm had not been."""
        self._now = self._before

    def forget(self) -> None:
        self._calm.forget()

    def _may(self, time_s: float, level: Literal["soft", "hard"]) -> bool:
        step_s = self._now.step_s
        if step_s is None or time_s < step_s:  # the clock was set back: how long ago it was nobody knows
            return True
        return time_s - step_s >= self._asked.cooldown_s - SLACK_S or (level, self._now.level) == ("hard", "soft")

    def _alarm(self, time_s: float, level: Literal["soft", "hard"], worst: Verdict) -> Alarm:
        self._before, self._now = self._now, _Standing(level, time_s)
        return Alarm(time_s, self._resource, level, worst.reason, worst.share, worst.gpu)

    def _plenty(self) -> str:
        asked, lasted = self._asked, f"for {self._asked.clear_s:g} s"
        if self._resource == "disk":
            return f"enough of the disk free again {lasted}"
        return f"{_NAMES[self._resource]} below {percent(asked.clear)} {lasted} (guard.clear)"
