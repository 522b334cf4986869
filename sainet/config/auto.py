"""Values that depend on the machine. The machine's figures are passed in: nothing here looks at hardware."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sainet.config.library import Profile, profile_names
from sainet.config.origin import Origin, Setting
from sainet.errors import ConfigError, Problem

_MOST_WORKERS = 8
"""More than this per GPU has to be asked for: the documents saw spawn storms and RAM run out above it."""


@dataclass(frozen=True)
class HardwareValues:
    """What `auto` is resolved from: usable CPU threads, and the names of the visible GPUs."""

    cpus: int
    gpus: tuple[str, ...] = ()


def pick_profile(hardware: HardwareValues) -> str:
    """The shipped profile for this machine (`--profile auto`).

    Raises `ConfigError` when there are GPUs that no shipped profile is written for.
    """
    if not hardware.gpus:
        return "cpu"
    for name in profile_names():
        wanted = {s.key: s.value for s in Profile(name).layer().settings if s.key.startswith("hardware.")}
        gpu = str(wanted.get("hardware.gpu", "")).lower()
        if gpu and gpu in hardware.gpus[0].lower() and wanted.get("hardware.gpus") == len(hardware.gpus):
            return name
    found = ", ".join(hardware.gpus)
    raise ConfigError(
        [
            Problem(
                f"no shipped profile is written for this machine ({found})",
                "--profile auto",
                "copy the nearest one and adapt it: sainet profiles ls, then sainet profiles cp h200 mine.yaml",
            )
        ]
    )


def auto_settings(values: dict[str, Any], hardware: HardwareValues) -> list[Setting]:
    """What each `auto` among the resolved `values` becomes, and from what."""
    settings = []
    device = values.get("train.device")
    if device == "auto":
        device = 0 if hardware.gpus else "cpu"
        why = f"GPU 0 is {hardware.gpus[0]}" if hardware.gpus else "no GPU is visible"
        settings.append(Setting("train.device", device, Origin("auto", why)))
    if values.get("loader.workers") == "auto":
        settings.append(_workers(device, hardware))
    return settings


def staging_settings(history: Mapping[str, Sequence[Setting]]) -> list[Setting]:
    """A cache that the user has not typed is off where the images are staged in memory: it would be a second copy."""
    cache = history["loader.cache"][-1]
    if history["staging.to"][-1].value != "shm" or not cache.value or cache.origin.typed_by_user:
        return []
    return [Setting("loader.cache", False, Origin("auto", f"{CACHE_IS_OFF}, in place of {cache.value}"))]


CACHE_IS_OFF = "the images are staged in memory"
"""How the origin of a cache that was turned off begins."""


def _workers(device: Any, hardware: HardwareValues) -> Setting:
    if device == "cpu":  # workers would take the cores that train
        return Setting("loader.workers", 0, Origin("auto", "training on the CPU loads in its own process"))
    share = max(1, hardware.cpus // max(1, device_count(device)))
    why = f"{hardware.cpus} usable CPU threads, at most {_MOST_WORKERS} workers per GPU"
    return Setting("loader.workers", min(_MOST_WORKERS, share), Origin("auto", why))


def device_list(device: str | int | list[int]) -> list[str]:
    """`0,1`, `[0, 1]`, `1` -> the devices' names; `cpu` is one device."""
    if isinstance(device, list):
        return [str(index) for index in device]
    return [part.strip() for part in str(device).split(",") if part.strip()]


def device_count(device: str | int | list[int]) -> int:
    return len(device_list(device))
