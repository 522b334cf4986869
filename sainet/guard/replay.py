"""What the guard would have done: recorded samples, judged by any settings. Pure.

Each sample is its own fresh look. What a step would have changed is not in the recording, so the first decision is what
would have come, and the later ones what would have come as the recording goes on: a step after which the alarm comes
again has not helped, and one after which there was plenty has.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from sainet.config.schema import Guard
from sainet.guard.policy import Alarm, Policy
from sainet.guard.sample import Sample
from sainet.guard.trend import SLACK_S
from sainet.protocol import Level, Resource

__all__ = ["Decision", "Ladder", "Rung", "replay"]

_NONE = "none"
"""The action where nothing is left to be done, or nothing needs to be."""


class Rung(Protocol):
    """A step down."""

    @property
    def action(self) -> str: ...

    @property
    def ends_attempt(self) -> bool: ...


R = TypeVar("R", bound=Rung)


class Ladder(Protocol[R]):
    """Which step comes next, which one was taken, and whether that has helped (`ladder.py`)."""

    def next(self, resource: Resource, level: Level) -> R | None: ...

    def took(self, rung: R) -> None: ...

    def measured(self, rung: R, *, helped: bool) -> None: ...


@dataclass(frozen=True)
class Decision:
    """An alarm, and what was done about it. `time_s` is that of the sample."""

    time_s: float
    resource: Resource
    level: Level
    action: str
    reason: str


def replay(samples: Iterable[Sample], settings: Guard, ladder: Ladder[R]) -> list[Decision]:
    """Every decision, in order.

    That nothing is left for a resource is said once until there is plenty again; and what has ended the attempt is
    the last word about its resource until then.
    """
    policy, judge = Policy(settings), _Judge(settings, ladder)
    alarms = (alarm for sample in samples for alarm in policy.see(sample))
    return [decision for decision in map(judge.decide, alarms) if decision is not None]


class _Judge(Generic[R]):
    def __init__(self, settings: Guard, ladder: Ladder[R]) -> None:
        self._settings, self._ladder = settings, ladder
        self._helpless: set[Resource] = set()
        self._ended: set[Resource] = set()
        self._taken: dict[Resource, tuple[float, R]] = {}

    def decide(self, alarm: Alarm) -> Decision | None:
        self._measure(alarm)
        if alarm.level == "clear":
            self._helpless.discard(alarm.resource)
            self._ended.discard(alarm.resource)
            return _told(alarm, _NONE)
        if alarm.resource in self._ended:
            return None
        rung = self._ladder.next(alarm.resource, alarm.level) if self._settings.enabled else None
        return self._nothing(alarm) if rung is None else self._take(alarm, rung)

    def _measure(self, alarm: Alarm) -> None:
        taken = self._taken.pop(alarm.resource, None)
        if taken is None:
            return
        time_s, rung = taken
        if alarm.level == "clear" or alarm.time_s - time_s >= self._settings.cooldown_s - SLACK_S:  # else nobody knows
            self._ladder.measured(rung, helped=alarm.level == "clear")

    def _take(self, alarm: Alarm, rung: R) -> Decision:
        self._ladder.took(rung)
        self._taken[alarm.resource] = alarm.time_s, rung
        if rung.ends_attempt:
            self._ended.add(alarm.resource)
        return _told(alarm, rung.action)

    def _nothing(self, alarm: Alarm) -> Decision | None:
        if alarm.resource in self._helpless:
            return None
        self._helpless.add(alarm.resource)
        return _told(alarm, _NONE)


def _told(alarm: Alarm, action: str) -> Decision:
    return Decision(alarm.time_s, alarm.resource, alarm.level, action, alarm.reason)
