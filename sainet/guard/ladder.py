"""The ladder: what is given up next when memory runs short, mildest first. Pure.

RAM and /dev/shm   less loaded ahead, fewer workers, new workers (for what they have leaked), no RAM cache, no workers
VRAM               unused cached blocks, then what `guard.on_vram` says: the batch in more pieces, or a smaller batch
                   from epoch 0
all, and the disk  a checkpoint, and the end (only when it is hard)

One rung for one alarm; a hard one, and an attempt that memory has ended, take several steps of the first two at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sainet.protocol import Engine, Level, Resource, Value

__all__ = ["Footing", "Ladder", "Rung", "RungKind"]

RungKind = Literal[
    "prefetch", "workers", "restart workers", "drop cache", "release vram", "micro-batch", "smaller batch", "stop"
]
Urgency = Literal["soft", "hard", "failure"]


@dataclass(frozen=True)
class Footing:
    """The settings that the ladder moves, as they stand, and how far they may go.

    `pieces_at_most`: the most micro-batches that a batch can be computed in; 1 where the model's loss cannot be cut.
    `smaller_batches`: what `on_vram: restart` may go down to, the largest first.
    """

    engine: Engine
    workers: int
    prefetch_factor: int
    val_workers: int
    val_prefetch_factor: int
    cache: Literal[False, "ram", "disk"] = False
    batch: int = 1
    micro_batch: int = 1
    pieces_at_most: int = 1
    smaller_batches: tuple[int, ...] = ()
    on_vram: Literal["microbatch", "restart", "stop"] = "microbatch"

    def changed(self, after: Mapping[str, Any]) -> "Footing":
        return replace(self, **{key: value for key, value in after.items() if key in self.__dataclass_fields__})


@dataclass(frozen=True)
class Rung:
    """One step down. `before` and `after` are values of the footing."""

    kind: RungKind
    resource: Resource
    before: dict[str, Value] = field(default_factory=dict)
    after: dict[str, Value] = field(default_factory=dict)

    @property
    def action(self) -> str:
        """For people: `prefetch: prefetch_factor 4 -> 1, val_prefetch_factor 2 -> 1`."""
        moves = ", ".join(f"{key} {_shown(self.before[key])} -> {_shown(now)}" for key, now in self.after.items())
        return f"{self.kind}: {moves}" if moves else self.kind

    @property
    def ends_attempt(self) -> bool:
        """Whether the training process has to end for it."""
        return self.kind in {"stop", "smaller batch"}


class Ladder:
    """Where on the ladder a stage stands, and what did not help it."""

    def __init__(self, footing: Footing) -> None:
        self.footing = footing
        self._useless: set[tuple[Resource, RungKind]] = set()
        self._released = False

    def next(self, resource: Resource, level: Level) -> Rung | None:
        """The rung for an alarm; None where nothing is left, or nothing needs to be done."""
        if level == "clear":
            return None
        rung = self._milder(resource, level)
        return rung or (Rung("stop", resource) if level == "hard" else None)

    def after_failure(self, resource: Resource) -> Rung | None:
        """The rung for an attempt that `resource` has ended; None where nothing is left."""
        return self._milder(resource, "failure")

    def took(self, rung: Rung) -> None:
        self.footing = self.footing.changed(rung.after)
        self._released |= rung.kind == "release vram"

    def measured(self, rung: Rung, *, helped: bool) -> None:
        """A step that did not help is not repeated; one that did may be."""
        if not helped:
            self._useless.add((rung.resource, rung.kind))
        elif rung.kind == "release vram":
            self._released = False

    def _milder(self, resource: Resource, urgency: Urgency) -> Rung | None:
        match resource:
            case "ram" | "shm":
                return self._host(resource, urgency)
            case "vram":
                return self._device(urgency)
        return None

    # --- RAM and /dev/shm

    def _host(self, resource: Resource, urgency: Urgency) -> Rung | None:
        now = self.footing
        if now.engine == "stock":  # its loader is made once
            return self._workers(resource, now.workers // 2) if urgency == "failure" and now.workers else None
        if urgency != "soft" and (now.workers > 1 or (now.workers and _ahead(now))):
            target = 1 if urgency == "hard" else max(1, now.workers // 4)
            return self._loader("workers", resource, workers=target, prefetch=1)
        if now.workers and _ahead(now) and self._may(resource, "prefetch"):
            return self._loader("prefetch", resource, workers=now.workers, prefetch=1)
        if now.workers > 1 and self._may(resource, "workers"):
            return self._workers(resource, now.workers // 2)
        if now.workers and urgency != "failure" and self._may(resource, "restart workers"):
            return Rung("restart workers", resource)
        if now.cache == "ram" and resource == "ram":
            return self._rung("drop cache", resource, cache=False)
        if now.workers == 1 and self._may(resource, "workers"):
            return self._workers(resource, 0)
        return None

    def _workers(self, resource: Resource, count: int) -> Rung:
        return self._loader("workers", resource, workers=count, prefetch=self.footing.prefetch_factor)

    def _loader(self, kind: RungKind, resource: Resource, *, workers: int, prefetch: int) -> Rung:
        """Validation follows: never more workers than training has, and no more ahead."""
        now = self.footing
        return self._rung(
            kind,
            resource,
            workers=min(now.workers, workers),
            prefetch_factor=min(now.prefetch_factor, prefetch),
            val_workers=min(now.val_workers, workers),
            val_prefetch_factor=min(now.val_prefetch_factor, prefetch),
        )

    # --- VRAM

    def _device(self, urgency: Urgency) -> Rung | None:
        now = self.footing
        if urgency == "soft":
            may = now.engine == "sainet" and not self._released and self._may("vram", "release vram")
            return Rung("release vram", "vram") if may else None
        if now.on_vram == "microbatch" and self._may("vram", "micro-batch"):
            pieces = min(2 * now.micro_batch, now.pieces_at_most)
            return self._rung("micro-batch", "vram", micro_batch=pieces) if pieces > now.micro_batch else None
        smaller = [batch for batch in now.smaller_batches if batch < now.batch]
        if now.on_vram == "restart" and smaller:
            return self._rung("smaller batch", "vram", batch=smaller[0])
        return None

    # ---

    def _may(self, resource: Resource, kind: RungKind) -> bool:
        return (resource, kind) not in self._useless

    def _rung(self, kind: RungKind, resource: Resource, **after: Value) -> Rung:
        """With what really changes."""
        before = {key: getattr(self.footing, key) for key in after}
        moved = {key: value for key, value in after.items() if before[key] != value}
        return Rung(kind, resource, {key: before[key] for key in moved}, moved)


def _ahead(footing: Footing) -> bool:
    return footing.prefetch_factor > 1 or footing.val_prefetch_factor > 1


def _shown(value: Value) -> str:
    return "off" if value is False else str(value)
