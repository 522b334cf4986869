"""`sainet doctor --profile`: a machine beside what a profile was written for."""

from dataclasses import replace
from pathlib import Path

import pytest
from fakes import GIB, MIB

from sainet.config.check import checked_config
from sainet.config.library import Profile
from sainet.config.schema import Config
from sainet.hardware.block_device import DiskKind
from sainet.hardware.gpu import Gpu, GpuReading
from sainet.hardware.machine import Machine
from sainet.hardware.ram import RamReading
from sainet.hardware.storage import Disk, Shm
from sainet.report.doctor import DataOnDisk
from sainet.report.expectations import Found, compare
from sainet.report.findings import Finding

H200 = Gpu(0, "NVIDIA H200", 143771 * MIB, 600 * MIB)
"""As NVML reports one."""
A10G = Gpu(0, "NVIDIA A10G", 23028 * MIB, 300 * MIB)


def ram(gib: float, headroom_gib: float | None = None) -> RamReading:
    free = gib if headroom_gib is None else headroom_gib
    return RamReading(round(gib * GIB), round((gib - free) * GIB), round(free * GIB), "the host's memory")


MACHINE = Machine(
    ram=ram(258),
    cpus=192,
    gpus=GpuReading((H200,)),
    shm=Shm(125 * GIB, 0),
    host_ram_bytes=258 * GIB,
    host_cpus=192,
)
DISK = Disk(Path("/data"), 200 * GIB, 400 * GIB, "ext4", kind="ssd")
FOUND = Found(MACHINE, [H200], DISK)


def config(name: str, tier: str | None = None) -> Config:
    profile = Profile(name)
    return checked_config([profile.layer(), *([profile.tier_layer(tier)] if tier else [])])


def shortfalls(found: Found, name: str = "h200", tier: str | None = None) -> dict[str, Finding]:
    """What is less than the profile expects, by what it is."""
    prefix = f"{name}: "
    findings = compare(name, tier, config(name, tier), found)
    return {item.topic.removeprefix(prefix): item for item in findings if item.topic.startswith(prefix)}


def with_machine(**changes: object) -> Found:
    return replace(FOUND, machine=replace(MACHINE, **changes))  # type: ignore[arg-type]


def test_the_machine_of_the_profile_is_one_good_line() -> None:
    (line,) = compare("h200", None, config("h200"), FOUND)
    expected = "as it expects, or more: GPUs, GPU model, VRAM, RAM, CPUs, free disk, storage"
    assert (line.topic, line.value, line.verdict, line.hint) == ("profile h200", expected, "ok", None)


def test_a_larger_machine_is_as_good() -> None:
    machine = replace(MACHINE, ram=ram(900), cpus=256)
    more = Found(machine, [replace(H200, total_bytes=280 * GIB), H200], replace(DISK, free_bytes=GIB**2))
    assert shortfalls(more) == {}


def test_a_profile_for_any_machine_expects_nothing() -> None:
    (line,) = compare("cpu", None, config("cpu"), replace(FOUND, gpus=[]))
    assert (line.value, line.verdict) == ("expects nothing of the machine", "ok")


@pytest.mark.parametrize(("gib", "short"), [(245.2, False), (245.0, True), (64, True)])
def test_up_to_five_percent_below_the_nominal_size_is_enough(gib: float, short: bool) -> None:
    """95% of 258 GiB is 245.1 GiB."""
    assert ("RAM" in shortfalls(with_machine(ram=ram(gib)))) is short


def test_what_nvml_reports_of_the_profiles_own_cards_is_enough() -> None:
    assert "VRAM" not in shortfalls(FOUND)
    assert "VRAM" not in shortfalls(replace(FOUND, gpus=[A10G]), "a10g")


def test_no_gpu_and_too_few_are_problems() -> None:
    none = shortfalls(replace(FOUND, gpus=[]))
    assert (none["GPUs"].value, none["GPUs"].verdict) == ("0 of 1", "problem")
    assert not {"VRAM", "GPU model"} & set(none)
    a100 = Gpu(0, "NVIDIA A100-SXM4-40GB", 40 * GIB, 0)
    one = shortfalls(replace(FOUND, gpus=[a100]), "a100x2")
    assert (one["GPUs"].value, one["GPUs"].verdict) == ("1 of 2", "problem")


def test_a_smaller_card_of_another_model_is_two_notes_that_lead_to_the_budget() -> None:
    found = shortfalls(replace(FOUND, gpus=[A10G]), tier="stable")
    assert (found["VRAM"].value, found["VRAM"].verdict) == ("22.5 GiB of 140 GiB", "note")
    assert "sainet profile-memory --profile h200 --tier stable" in (found["VRAM"].hint or "")
    assert found["GPU model"].value == "NVIDIA A10G for H200"


def test_an_instance_of_the_card_is_smaller_than_the_card() -> None:
    instance = Gpu(0, "NVIDIA H200 MIG 1g.18gb", 18 * GIB, 0, uuid="MIG-1")
    assert set(shortfalls(replace(FOUND, gpus=[instance]))) == {"VRAM"}


def test_the_smallest_of_the_gpus_decides() -> None:
    cards = [Gpu(index, "NVIDIA A100", size * GIB, 0) for index, size in enumerate((80, 20, 10))]
    assert shortfalls(replace(FOUND, gpus=cards), "a100x2")["VRAM"].value == "20.0 GiB of 40 GiB"


@pytest.mark.parametrize(
    ("cpus", "hint"), [(8, "enough for its 8 workers"), (7, "there will be fewer than its 8 workers")]
)
def test_fewer_cpus_say_what_becomes_of_the_workers(cpus: int, hint: str) -> None:
    found = shortfalls(with_machine(cpus=cpus))["CPUs"]
    assert (found.value, found.verdict, found.hint) == (f"{cpus} of 192", "note", hint)


def test_workers_count_for_each_gpu() -> None:
    settings = config("a100x2")
    settings.hardware.cpus = 32
    (found,) = [f for f in compare("mine", None, settings, with_machine(cpus=15)) if f.topic == "mine: CPUs"]
    assert found.hint == "there will be fewer than its 16 workers"


def test_a_small_disk_is_told() -> None:
    assert shortfalls(replace(FOUND, runs_disk=replace(DISK, free_bytes=62 * GIB)))["free disk"].value == (
        "62.0 GiB of 200 GiB"
    )


# --- staging


def test_a_small_shm_is_told_with_what_has_to_lie_in_it() -> None:
    found = shortfalls(with_machine(shm=Shm(64 * MIB, 0)), "h200-shm")
    assert found["/dev/shm"].value == "64 MiB of 125 GiB"
    assert "the staged images and the loader's queue" in (found["/dev/shm"].hint or "")


@pytest.mark.parametrize(
    ("data_gib", "shm_used_gib", "headroom_gib", "room"),
    [(100, 0, 200, None), (100, 60, 200, "65.0 GiB"), (100, 0, 80, "80.0 GiB")],
)
def test_data_to_be_staged_need_room_in_shm_and_in_ram(
    data_gib: int, shm_used_gib: int, headroom_gib: int, room: str | None
) -> None:
    machine = replace(MACHINE, shm=Shm(125 * GIB, shm_used_gib * GIB), ram=ram(258, headroom_gib))
    found = shortfalls(Found(machine, [H200], DISK, DataOnDisk(9, data_gib * GIB, [DISK])), "h200-shm")
    assert ("staged data" in found) is (room is not None)
    if room is not None:
        assert found["staged data"].verdict == "problem"
        assert found["staged data"].value == f"100.0 GiB of images, room for {room} in /dev/shm"


def test_data_that_are_not_staged_need_no_shm() -> None:
    data = DataOnDisk(9, 900 * GIB, [DISK])
    assert shortfalls(replace(FOUND, data=data)) == {}


# --- storage


@pytest.mark.parametrize(
    ("profile", "kind", "slower"),
    [
        ("h200", "ssd", False),
        ("h200", "memory", False),
        ("h200", "network", True),
        ("h200", "spinning", True),
        ("h200", "unknown", None),
        ("a10g", "ssd", False),
        ("a10g", "network", False),
        ("a10g", "spinning", True),
        ("h200-shm", "spinning", None),
    ],
)
def test_storage_is_compared_where_linux_says_what_it_is(profile: str, kind: DiskKind, slower: bool | None) -> None:
    """`h200` names an SSD, `a10g` a Lustre; `h200-shm` copies the images into memory from wherever they are."""
    found = replace(FOUND, data=DataOnDisk(9, GIB, [replace(DISK, kind=kind)]))
    line = compare(profile, None, config(profile), found)[0].value
    assert ("storage" in shortfalls(found, profile), "storage" in line) == (slower is True, slower is False)


def test_the_slowest_disk_of_the_data_decides_and_that_of_the_runs_where_none_are_named() -> None:
    disks = [DISK, replace(DISK, path=Path("/mnt/nas"), kind="network")]
    found = shortfalls(replace(FOUND, data=DataOnDisk(9, GIB, disks)))
    assert found["storage"].value == "network (/mnt/nas) for SSD"
    assert shortfalls(replace(FOUND, runs_disk=replace(DISK, kind="spinning")))["storage"].value == (
        "spinning (/data) for SSD"
    )
