"""The guard at work on one attempt: looks at the memory, orders the next rung, and measures what it has done."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sainet.config.schema import Guard
from sainet.files import replace_text
from sainet.guard.advice import advice, advice_where_nothing_is_left
from sainet.guard.ladder import Ladder, Rung
from sainet.guard.orders import order_for
from sainet.guard.policy import Alarm, Policy
from sainet.guard.progress import Progress
from sainet.guard.sample import Sample
from sainet.guard.sample_file import SampleLog
from sainet.guard.sampler import Sampler
from sainet.protocol import Event, GuardActed, GuardMeasured, Orders, OrdersApplied, Plan, Resource

__all__ = ["Guarding", "Ordered"]

_AHEAD_S = 1.0
"""Progress is told about once a second: nobody is further than that."""
_EFFECT_S = 10.0
"""After an order was obeyed, its effect is what is taken at most in the last part of this time."""
_SETTLING = 0.3
_JUST_NOW_S = 2.0
"""Workers take so long to end."""
_HELPED = 0.01
"""A step has helped that gives back this share of the limit."""


@dataclass
class Ordered:
    """A rung that was ordered: for what alarm, and how much was taken at that moment."""

    order: Orders
    rung: Rung
    alarm: Alarm
    before_bytes: int
    obeyed_s: float | None = None
    after_bytes: int = 0


@dataclass
class Guarding:
    """Looks when `look` is called and it is time to; `tell` hears of what it does, `lower` of what it makes smaller.

    The ladder outlives an attempt; what is here does not.
    """

    settings: Guard
    plan: Plan
    sampler: Sampler
    log: SampleLog
    ladder: Ladder
    tell: Callable[[Event], None]
    lower: Callable[[Rung, str], None]
    warn: Callable[[str], None]
    """Must not raise where the disk is full."""
    now: Callable[[], float] = time.time
    progress: Progress = field(default_factory=Progress, init=False)
    sample: Sample | None = field(default=None, init=False)
    """The newest."""
    ended_by: Ordered | None = field(default=None, init=False)
    """The rung for which the attempt was ordered to end."""
    shm_share: float = field(default=0.0, init=False)
    """The largest that was seen."""
    _ordered: Ordered | None = field(default=None, init=False)
    _number: int = field(default=0, init=False)
    _next_s: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.policy = Policy(self.settings)
        self._helpless: set[Resource] = set()
        self._kills = self.sampler.read(self.now()).oom_kills
        self._told_full = False

    @property
    def oom_kills(self) -> int:
        """By how much the kernel's count has grown since the attempt began, as of this moment."""
        kills = self.sampler.read(self.now()).oom_kills
        return 0 if kills is None or self._kills is None else kills - self._kills

    @property
    def is_lowering(self) -> bool:
        """Whether something was lowered that the training has not obeyed yet, or only just now."""
        last = self._ordered
        return last is not None and (last.obeyed_s is None or self.now() - last.obeyed_s < _JUST_NOW_S)

    @property
    def wait_s(self) -> float:
        """Until the next look, seconds."""
        return max(0.0, self._next_s - self.now())

    def heard(self, event: Event) -> None:
        """What the training process said."""
        self.progress.take(event, self.now())
        ordered = self._ordered
        if isinstance(event, OrdersApplied) and ordered is not None and event.number == ordered.order.number:
            ordered.obeyed_s = self.now()

    def look(self) -> Sample | None:
        """One look, if it is time for one; what it shows."""
        now_s = self.now()
        if 0 <= self._next_s - now_s <= self.settings.every_s:  # and not hours ahead, on a clock that was set back
            return None
        self.sample = sample = self._read(now_s)
        self._next_s = now_s + (self.settings.tight_every_s if self.policy.tight(sample) else self.settings.every_s)
        self._keep(sample)
        self._measure(sample)
        for alarm in self.policy.see(sample):
            self._answer(alarm)
        return sample

    def _keep(self, sample: Sample) -> None:
        """A sample that cannot be written is no reason to stop looking; it is told once."""
        self.log.append(sample)
        if self.log.problem and not self._told_full:
            self._told_full = True
            self.warn(f"{self.log.problem}: what is seen of the memory is not kept")

    def _read(self, now_s: float) -> Sample:
        progress = self.progress
        sample = self.sampler.read(
            now_s,
            checkpoint_bytes=progress.checkpoint_bytes,
            batch=progress.number if progress.batches else None,
            reserved_bytes=progress.reserved_bytes,
            allocated_bytes=progress.allocated_bytes,
        )
        used, size = _figure(sample, "shm", None)
        self.shm_share = max(self.shm_share, used / size if size else 0.0)
        return sample

    # --- acting

    def _answer(self, alarm: Alarm) -> None:
        if alarm.level == "clear":
            self._helpless.discard(alarm.resource)
            self._say(alarm, "none")
            return
        too_early = (
            alarm.resource == "disk" and self.progress.checkpoint_bytes is None
        )  # how much it needs is not known
        if self.ended_by is not None or too_early or not self._may_follow(alarm):
            self.policy.take_back(alarm)
            return
        rung = self.ladder.next(alarm.resource, alarm.level) if self.settings.enabled else None
        if rung is None:
            self._tell_helpless(alarm)
        elif self.policy.still(alarm, self._read(self.now())):
            self._order(rung, alarm)
        else:
            self.policy.take_back(alarm)

    def _may_follow(self, alarm: Alarm) -> bool:
        """An order has to show what it does before the next; only what is hard does not wait for what was soft."""
        last = self._ordered
        return last is None or (alarm.level, last.alarm.level) == ("hard", "soft")

    def _order(self, rung: Rung, alarm: Alarm) -> None:
        assert self.sample is not None
        self.ladder.took(rung)
        self._number += 1
        last = self._ordered
        waiting = last.order if last is not None and last.obeyed_s is None else None
        order = order_for(rung, self.ladder.footing, self._number, self.progress.ahead(_AHEAD_S), waiting)
        replace_text(self.plan.orders, order.model_dump_json() + "\n")
        before, _ = _figure(self.sample, alarm.resource, alarm.gpu)
        ordered = Ordered(order, rung, alarm, before)
        self._say(alarm, rung.action, rung)
        if rung.ends_attempt:
            self.ended_by = ordered
        else:
            self._ordered = ordered
            self.lower(rung, alarm.reason)

    def _tell_helpless(self, alarm: Alarm) -> None:
        """Nothing is left that this level allows, which is said once until memory is plenty again."""
        if alarm.resource not in self._helpless:
            self._helpless.add(alarm.resource)
            self._say(alarm, "none")

    def _say(self, alarm: Alarm, action: str, rung: Rung | None = None) -> None:
        self.tell(
            GuardActed(
                stage=self.plan.stage,
                attempt=self.plan.attempt,
                resource=alarm.resource,
                level=alarm.level,
                action=action,
                reason=alarm.reason,
                before=rung.before if rung else {},
                after=rung.after if rung else {},
                hint=self._hint(alarm, rung),
            )
        )

    def _hint(self, alarm: Alarm, rung: Rung | None) -> str | None:
        if rung is not None:
            return advice(rung, self.ladder.footing)
        if alarm.level == "clear":
            return None
        if not self.settings.enabled:
            return "guard.enabled is false: nothing is done about it"
        return advice_where_nothing_is_left(alarm.resource)

    # --- measuring

    def _measure(self, sample: Sample) -> None:
        """Of an order that was obeyed: what is taken after it, once that has settled."""
        ordered = self._ordered
        if ordered is None or ordered.obeyed_s is None:
            return
        whole_s = min(_EFFECT_S, self.settings.cooldown_s)
        since_s = sample.time_s - ordered.obeyed_s
        taken, limit = _figure(sample, ordered.rung.resource, ordered.alarm.gpu)
        if since_s >= _SETTLING * whole_s:
            ordered.after_bytes = max(ordered.after_bytes, taken)
        if since_s >= whole_s:
            self._ordered = None
            self._conclude(ordered, limit)

    def _conclude(self, ordered: Ordered, limit: int) -> None:
        helped = ordered.before_bytes - ordered.after_bytes >= _HELPED * limit
        self.ladder.measured(ordered.rung, helped=helped)
        self.tell(
            GuardMeasured(
                stage=self.plan.stage,
                attempt=self.plan.attempt,
                resource=ordered.rung.resource,
                action=ordered.rung.action,
                before_bytes=ordered.before_bytes,
                after_bytes=ordered.after_bytes,
                limit_bytes=limit,
                helped=helped,
            )
        )


def _figure(sample: Sample, resource: Resource, gpu: int | None) -> tuple[int, int]:
    """What is taken and the limit, bytes; zeros where it could not be read."""
    match resource:
        case "ram":
            return sample.ram_working_set_bytes or 0, sample.ram_limit_bytes or 0
        case "shm":
            return sample.shm_used_bytes or 0, sample.shm_size_bytes or 0
        case "vram":
            found = sample.gpus[gpu or 0] if sample.gpus else None
            return (found.used_bytes, found.total_bytes) if found else (0, 0)
    return 0, sample.disk_free_bytes or 0


def memory_file(root: Path) -> Path:
    """Where a run's samples lie."""
    return root / "memory.csv"
