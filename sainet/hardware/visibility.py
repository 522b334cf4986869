"""What CUDA shows to a program: its reading of CUDA_VISIBLE_DEVICES, as pure text matching."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["VARIABLE", "Device", "Place", "visible_places"]

VARIABLE = "CUDA_VISIBLE_DEVICES"

Place = tuple[int, int | None]
"""A physical GPU's index, and the place of one of its MIG instances; None for the whole GPU."""


@dataclass(frozen=True)
class Device:
    """One physical GPU by its UUID (empty: not known); `instances` are the UUIDs of its MIG instances.

    `instances` is None where MIG mode is off. Where it is on, nothing can compute on the GPU as a whole.
    """

    uuid: str
    instances: Sequence[str] | None = None


def visible_places(asked: str | None, devices: Mapping[int, Device]) -> list[Place]:
    """What a program sees with this CUDA_VISIBLE_DEVICES (None: not set), in the order of its numbers there.

    CUDA stops at the first entry it does not know: ``0,-1,1`` shows device 0 only; a device named twice hides all.
    Numbers are taken as NVML's, which is CUDA's order where all devices are alike or CUDA_DEVICE_ORDER is PCI_BUS_ID.

    A program sees either whole GPUs or one MIG instance, the first of those that it could see (NVIDIA's "MIG User
    Guide", CUDA Device Enumeration). An instance is named by its UUID in full; a number or UUID of a GPU in MIG mode
    stands for its first instance.
    """
    named = _named(asked, devices)
    instance = next((place for place in named if place[1] is not None), None)
    return named if instance is None else [instance]


def _named(asked: str | None, devices: Mapping[int, Device]) -> list[Place]:
    if asked is None:
        return [place for index in sorted(devices) if (place := _first(index, devices[index])) is not None]
    places: list[Place] = []
    for entry in asked.split(","):
        place = _place(entry.strip(), devices)
        if place is None:
            break
        if place in places:
            return []
        places.append(place)
    return places


def _place(entry: str, devices: Mapping[int, Device]) -> Place | None:
    if entry.startswith("MIG-"):
        instances = ((index, device.instances or ()) for index, device in devices.items())
        return next(((index, uuids.index(entry)) for index, uuids in instances if entry in uuids), None)
    if entry.isdecimal():
        index = int(entry)
        return _first(index, devices[index]) if index in devices else None
    matches = [index for index, device in devices.items() if entry.startswith("GPU-") and device.uuid.startswith(entry)]
    return _first(matches[0], devices[matches[0]]) if len(matches) == 1 else None


def _first(index: int, device: Device) -> Place | None:
    """What the GPU as a whole stands for; None where MIG mode is on and nobody made an instance."""
    if device.instances is None:
        return index, None
    return (index, 0) if device.instances else None
