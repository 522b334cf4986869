"""What memory has made smaller, between the ladder, state.json and the configuration."""

from collections.abc import Collection, Mapping

from sainet.config.allocator import ALLOCATOR_VARIABLES
from sainet.config.origin import Origin, Setting
from sainet.config.resolve import Resolved
from sainet.guard.ladder import Footing, Rung
from sainet.run.preflight import Preflight
from sainet.state import Downshift

__all__ = ["footing_of", "lowered", "lowered_by", "standing_downshifts", "with_expandable_segments"]

_KEYS = {
    "workers": "loader.workers",
    "prefetch_factor": "loader.prefetch_factor",
    "val_workers": "loader.val.workers",
    "val_prefetch_factor": "loader.val.prefetch_factor",
    "cache": "loader.cache",
    "micro_batch": "train.micro_batch",
    "batch": "train.batch",
}
"""Of the footing, and of the configuration."""
_EXPANDABLE = "expandable_segments"


def lowered(resolved: Resolved, downshifts: Mapping[str, Downshift]) -> Resolved:
    """The configuration with what memory has made smaller over it; each value says why."""
    if not downshifts:
        return resolved
    return resolved.over(Setting(key, one.now, Origin("guard", one.reason)) for key, one in downshifts.items())


def standing_downshifts(
    resolved: Resolved, downshifts: Mapping[str, Downshift], retyped: Collection[str]
) -> dict[str, Downshift]:
    """Those that still hold: not where the user has asked for something else since, or typed the key anew."""
    return {
        key: one for key, one in downshifts.items() if key not in retyped and _asked_for(resolved, key) == one.asked
    }


def lowered_by(rung: Rung, resolved: Resolved, reason: str, before: Mapping[str, Downshift]) -> dict[str, Downshift]:
    """`before` with what a rung makes smaller. `resolved` is the configuration as it was asked for."""
    found = dict(before)
    for name, value in rung.after.items():
        key = _KEYS[name]
        found[key] = Downshift(asked=_asked_for(resolved, key), now=value, reason=reason)
    return found


def with_expandable_segments(resolved: Resolved, reason: str, before: Mapping[str, Downshift]) -> dict[str, Downshift]:
    """`before`, and a CUDA allocator whose segments grow, so that free memory in pieces can be used; unless the user
    has said something about it."""
    env = resolved.config.env
    name = next((one for one in ALLOCATOR_VARIABLES if one in env), ALLOCATOR_VARIABLES[0])
    said = env.get(name, "")
    if _EXPANDABLE in said:
        return dict(before)
    now = ",".join(part for part in (said, f"{_EXPANDABLE}:True") if part)
    asked = _asked_for(resolved, f"env.{name}")
    return {**before, f"env.{name}": Downshift(asked=asked, now=now, reason=reason)}


def footing_of(found: Preflight) -> Footing:
    """Where the ladder begins: the settings of a stage that may start, on this machine."""
    assert found.fit is not None
    work, model = found.fit.workload, found.fit.forecaster.model
    can_cut = work.engine == "sainet" and model is not None and model.facts.adds_up
    return Footing(
        engine=work.engine,
        workers=found.workers,
        prefetch_factor=work.loader.prefetch_factor,
        val_workers=found.val_workers,
        val_prefetch_factor=work.val_loader.prefetch_factor,
        cache=work.cache,
        batch=work.batch,
        micro_batch=work.micro_batch,
        pieces_at_most=max(work.micro_batch, work.rank_batch) if can_cut else work.micro_batch,
        smaller_batches=found.smaller_batches,
        on_vram=found.resolved.config.guard.on_vram,
    )


def _asked_for(resolved: Resolved, key: str) -> int | float | bool | str | None:
    """As the user's layers and the profile's have it."""
    said = [setting for setting in resolved.history.get(key, []) if setting.origin.layer != "guard"]
    return said[-1].value if said else None
