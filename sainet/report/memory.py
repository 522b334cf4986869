"""The budget as others read it: one JSON object for programs, lines for a plan."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sainet.memory.budget import Limit, Resource
from sainet.memory.forecast import RESOURCES, Forecast
from sainet.memory.limits import Limits

__all__ = ["TITLES", "gib", "memory_lines", "resource_dicts"]

TITLES: Mapping[Resource, str] = {"ram": "RAM", "shm": "/dev/shm", "disk": "disk", "vram": "VRAM of each GPU"}

_GIB = 1024**3


def gib(size_bytes: float) -> str:
    """For people: 3.1 GiB, 64 MiB."""
    return f"{size_bytes / _GIB:.1f} GiB" if size_bytes >= _GIB else f"{size_bytes / 1024**2:.0f} MiB"


def resource_dicts(forecast: Forecast, planned: Limits, here: Limits | None = None) -> list[dict[str, Any]]:
    """For programs: one entry per resource against `planned`, and under `machine` against this machine.

    Sizes in bytes; `limit_bytes` is null where nobody says how much there is. `estimate_bytes` and `plan_bytes` of the
    VRAM are null on a CPU.
    """
    return [_resource(name, forecast, planned[name], here[name] if here else None) for name in RESOURCES]


def _resource(name: Resource, forecast: Forecast, planned: Limit, here: Limit | None) -> dict[str, Any]:
    budget = forecast.budget(name)
    entry = {
        "name": name,
        "limit_bytes": planned.bytes,
        "need_bytes": budget.need_bytes,
        "verdict": forecast.verdict(name, planned),
        "limit_source": planned.source,
        "not_counted": forecast.unknown.get(name),
        "rows": [asdict(row) for row in budget.rows],
        "machine": _machine(name, forecast, here) if here else None,
    }
    if name == "vram":
        device = forecast.device
        entry["estimate_bytes"] = device.estimate_bytes if device else None
        entry["plan_bytes"] = device.plan_bytes if device else None
    return entry


def _machine(name: Resource, forecast: Forecast, limit: Limit) -> dict[str, Any]:
    return {
        "limit_bytes": limit.bytes,
        "in_use_bytes": limit.in_use_bytes,
        "verdict": forecast.verdict(name, limit),
        "limit_source": limit.source,
    }


def memory_lines(forecast: Forecast, limits: Limits) -> dict[str, str]:
    """For people, a line per resource: what is needed, what is free, and the verdict."""
    return {
        f"memory, {TITLES[name]}": _line(name, forecast, limits[name]) for name in RESOURCES if _matters(name, forecast)
    }


def _matters(name: Resource, forecast: Forecast) -> bool:
    return bool(forecast.budget(name).rows) or name in forecast.unknown


def _line(name: Resource, forecast: Forecast, limit: Limit) -> str:
    needed = f"{gib(forecast.budget(name).need_bytes)} needed"
    there = "nobody says how much there is" if limit.bytes is None else f"{gib(limit.free_bytes or 0)} free"
    unknown = f"; not counted: {forecast.unknown[name]}" if name in forecast.unknown else ""
    return f"{needed}, {there} ({limit.source}): {forecast.verdict(name, limit)}{unknown}"
