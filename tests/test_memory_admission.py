"""What does not fit is refused before the start, with the numbers and with what would fit."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from config_cases import on_gpu, settle
from fakes import GIB, MIB

from sainet.config.auto import HardwareValues
from sainet.config.resolve import Resolved
from sainet.hardware import storage
from sainet.hardware.gpu import Gpu, GpuProcess, GpuReading
from sainet.hardware.machine import Machine
from sainet.hardware.ram import RamReading
from sainet.hardware.storage import Shm
from sainet.run.preflight import Preflight, Standing, Surroundings, inspect

H200 = Gpu(0, "NVIDIA H200", 143771 * MIB, 0, uuid="GPU-a", compute_capability=(9, 0))
A10G = Gpu(0, "NVIDIA A10G", 23028 * MIB, 0, uuid="GPU-a", compute_capability=(8, 6))
LARGE = ["train.imgsz=[1440, 808]", "train.batch=128", "loader.workers=8"]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets how much room every disk has, and how much is taken on it, GiB."""

    def make(free_gib: float, used_gib: float = 0) -> None:
        free, used = round(free_gib * GIB), round(used_gib * GIB)
        usage = SimpleNamespace(total=free + used, used=used, free=free)
        monkeypatch.setattr(storage.shutil, "disk_usage", lambda _: usage)

    return make


def machine(*gpus: Gpu, ram_gib: float = 258, shm_gib: float = 125, cpus: int = 32) -> Machine:
    ram = RamReading(round(ram_gib * GIB), 0, round(ram_gib * GIB), "the host's memory")
    return Machine(ram, cpus, GpuReading(gpus), Shm(round(shm_gib * GIB), 0), round(ram_gib * GIB), cpus)


def look(
    resolved: Resolved,
    on: Machine,
    *,
    runs: str = "runs/one",
    force: bool = False,
    last: Path | None = None,
    **more: int,
) -> Preflight:
    around = Surroundings(on, Path.cwd(), Path(runs), stage_1_weights=None, tiers=dict, tell=lambda _: None, **more)
    return inspect(resolved, around, Standing(in_workflow=False, last=last), force=force)


def refused(found: Preflight) -> dict[str, str]:
    """Where -> message, of what memory stands against."""
    return {str(p.where): p.message for p in found.refusals if "memory." in str(p.where) or "shm" in p.message}


def hint(found: Preflight) -> str:
    return next(str(problem.hint) for problem in found.refusals if "memory." in str(problem.where))


def fits_after(hint_text: str, sets: list[str], on: Machine) -> bool:
    """Whether the first way of the hint, typed as it stands there, is refused no more."""
    words = hint_text.removeprefix("what fits: ").partition(";")[0].split()
    flags = {"--cache": "loader.cache", "--workers": "loader.workers", "--batch": "train.batch"}
    more = [
        value if flag == "--set" else f"{flags[flag]}={value}"
        for flag, value in zip(words[::2], words[1::2], strict=True)
    ]
    keys = {text.partition("=")[0] for text in more}
    return refused(look(on_gpu(*(s for s in sets if s.partition("=")[0] not in keys), *more), on)) == {}


def test_what_fits_is_refused_nothing() -> None:
    found = look(on_gpu(*LARGE), machine(H200))
    assert refused(found) == {}
    assert found.fit is not None
    assert found.fit.forecast.verdict("vram", found.fit.limits["vram"]) == "fits"


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_a_cache_on_top_of_staged_images_is_refused_whatever_its_size(cache: str) -> None:
    found = look(on_gpu("staging.to=shm", f"loader.cache={cache}"), machine(H200, ram_gib=4000, shm_gib=4000))
    (message,) = [problem.message for problem in found.refusals if "second copy" in problem.message]
    assert message.startswith(f"loader.cache: a cache ({cache}) on top of images in /dev/shm")


def test_a_runs_folder_in_dev_shm_is_refused_whatever_its_size_and_however_it_is_reached() -> None:
    Path("link").symlink_to("/dev/shm")
    for runs in ("/dev/shm/runs/one", "link/runs/one"):
        found = look(settle(), machine(), runs=runs)
        assert [p.message for p in found.refusals if "its checkpoints would take the memory" in p.message], runs
    assert refused(look(settle(), machine())) == {}


def test_a_ram_cache_that_cannot_fit_is_refused_and_the_hint_fits(disk: Callable[..., None]) -> None:
    sets = [*LARGE, "loader.cache=ram", "reference.images=128950"]
    disk(2000)
    found = look(on_gpu(*sets), machine(H200))
    assert set(refused(found)) == {"memory.ram"}
    assert "RAM cache" in refused(found)["memory.ram"]
    assert hint(found).startswith("what fits: --cache disk;")
    assert fits_after(hint(found), sets, machine(H200))
    disk(200)
    assert hint(look(on_gpu(*sets), machine(H200))).startswith("what fits: --cache false;")


def test_a_disk_cache_on_too_small_a_disk_is_refused(disk: Callable[..., None]) -> None:
    sets = [*LARGE, "loader.cache=disk", "reference.images=128950"]
    disk(200)
    found = look(on_gpu(*sets), machine(H200))
    assert set(refused(found)) == {"memory.disk"}
    assert "disk cache" in refused(found)["memory.disk"]
    assert fits_after(hint(found), sets, machine(H200))


def test_dockers_shm_is_refused_for_a_loader_with_workers() -> None:
    small = machine(H200, shm_gib=64 / 1024)
    found = look(on_gpu(*LARGE), small)
    assert set(refused(found)) == {"memory.shm"}
    assert "free of 64 MiB" in refused(found)["memory.shm"]
    assert fits_after(hint(found), LARGE, small)
    assert refused(look(on_gpu(*LARGE[:2], "loader.workers=0"), small)) == {}


def test_a_ram_cache_counts_once_for_each_gpu() -> None:
    sets = ["train.batch=60", "loader.cache=ram", "reference.images=30000", "train.imgsz=[1440, 808]"]
    room = machine(H200, replace(H200, index=1, uuid="GPU-b"), ram_gib=240)
    assert refused(look(on_gpu(*sets), room)) == {}
    two = look(on_gpu(*sets, "train.device=0,1", gpus=2), room)
    assert set(refused(two)) == {"memory.ram"}
    assert "2 " in refused(two)["memory.ram"]


def test_squares_at_batch_128_are_refused_on_a_card_that_they_fill_to_the_brim() -> None:
    squares = on_gpu("train.imgsz=1440", "train.batch=128", "train.channels_last=false")
    found = look(squares, machine(H200))
    assert set(refused(found)) == {"memory.vram"}
    assert "--set train.micro_batch=2" in hint(found)
    assert "--batch " in hint(found)
    assert refused(look(on_gpu("train.imgsz=1440", "train.batch=96", "train.channels_last=false"), machine(H200))) == {}


def test_a_gpu_that_somebody_else_is_using_is_refused_and_the_process_is_named() -> None:
    busy = replace(H200, used_bytes=100 * GIB, processes=(GpuProcess(4711, 100 * GIB),))
    found = look(on_gpu(*LARGE), machine(busy))
    assert set(refused(found)) == {"memory.vram"}
    assert "4711" in refused(found)["memory.vram"]


def test_workers_times_prefetch_times_batch_that_ram_cannot_hold_is_refused() -> None:
    sets = ["train.imgsz=[1440, 808]", "train.batch=128", "loader.workers=32", "loader.prefetch_factor=8"]
    found = look(on_gpu(*sets), machine(H200, ram_gib=100))
    assert "memory.ram" in refused(found)
    assert "training queue" in refused(found)["memory.ram"]
    assert fits_after(hint(found), sets, machine(H200, ram_gib=100))
    narrow = look(on_gpu(*sets), machine(H200, ram_gib=4000, shm_gib=16))
    assert set(refused(narrow)) == {"memory.shm"}


def test_force_starts_all_the_same_and_what_it_overrides_is_kept() -> None:
    small = machine(H200, shm_gib=64 / 1024)
    found = look(on_gpu(*LARGE), small, force=True)
    assert refused(found) == {}
    assert [problem.where for problem in found.forced] == ["memory.shm"]


def test_a_tier_that_fits_is_named() -> None:
    around = Surroundings(
        machine(replace(H200, total_bytes=60 * GIB)),
        Path.cwd(),
        Path("runs/one"),
        stage_1_weights=None,
        tiers=lambda: {tier: settle(profile="h200", tier=tier, hardware=ONE_H200) for tier in ("stable", "fast")},
        tell=lambda _: None,
    )
    resolved = settle(profile="h200", sets=["loader.cache=false"], hardware=ONE_H200)
    found = inspect(resolved, around, Standing(in_workflow=False), force=False)
    assert "memory.vram" in refused(found)
    assert "--tier fast" not in hint(found), "it has the same batch"


ONE_H200 = HardwareValues(32, ("NVIDIA H200",))


def test_a_model_that_cannot_be_traced_leaves_vram_unknown_and_stops_nothing(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("nc: 1\nbackbone: []\nhead: []\n")
    found = look(on_gpu(f"weights={broken}"), machine(H200))
    assert found.fit is not None
    assert found.fit.forecast.verdict("vram", found.fit.limits["vram"]) == "unknown"
    assert refused(found) == {}


def test_a_tier_is_judged_with_its_own_workers() -> None:
    sets = ["loader.cache=false"]

    def hint_with(ram_gib: float) -> str:
        tiers = {tier: settle(profile="h200", tier=tier, sets=sets, hardware=ONE_H200) for tier in ("stable", "fast")}
        around = Surroundings(
            machine(H200, ram_gib=ram_gib, shm_gib=ram_gib), Path.cwd(), Path("runs/one"), None, lambda: tiers, print
        )
        resolved = settle(profile="h200", sets=sets, hardware=ONE_H200)
        return hint(inspect(resolved, around, Standing(in_workflow=False), force=False))

    def need(tier: str) -> float:
        found = look(settle(profile="h200", tier=tier, sets=sets, hardware=ONE_H200), machine(H200))
        assert found.fit is not None
        return found.fit.forecast.budget("ram").need_bytes / GIB

    assert "--tier stable" in hint_with(need("stable") + 0.5)
    assert "--tier stable" not in hint_with(need("stable") - 0.5)


def test_a_resume_is_not_told_to_take_another_batch_which_it_may_not() -> None:
    small = machine(replace(H200, total_bytes=40 * GIB))
    assert "--batch" in hint(look(on_gpu(*LARGE), small))
    last = Path("stage-1/checkpoint")
    last.mkdir(parents=True)
    resumed = hint(look(on_gpu(*LARGE), small, last=last))
    assert "--batch" not in resumed
    assert "--set train.micro_batch=" in resumed


def test_a_stage_that_goes_on_before_its_first_epoch_ended_is_traced_as_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    found = look(on_gpu(*LARGE), machine(A10G), last=tmp_path / "checkpoint")
    assert set(refused(found)) == {"memory.vram"}
    assert found.fit is not None
    assert not found.fit.forecaster.untraced


def test_what_cannot_be_traced_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("nc: 1\nbackbone: []\nhead: []\n")
    warnings = look(on_gpu(f"weights={broken}"), machine(H200)).warnings
    assert [text for text in warnings if text.startswith("how much memory the model takes is not known")]


def test_the_disk_cache_of_one_stage_is_no_room_for_that_of_another(disk: Callable[..., None]) -> None:
    """Cached images lie in the run: stage 1 goes on with them, stage 2 has yet to write its own."""
    sets = ["loader.cache=disk", "reference.images=20"]
    for name, size in (("cache/images/one.npy", 60 * MIB), ("stage-1/attempts/001/log.txt", 1)):
        path = Path("runs/one") / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x" * size)
    disk(100, 1)
    whole = look(on_gpu(*sets), machine(H200))
    assert whole.fit is not None
    need_gib = whole.fit.forecast.budget("disk").need_bytes / GIB
    disk(need_gib - 0.03, 1)
    assert refused(look(on_gpu(*sets), machine(H200))) == {}
    assert set(refused(look(on_gpu(*sets, stage=2), machine(H200)))) == {"memory.disk"}
    disk(need_gib + 0.03, 1)
    assert refused(look(on_gpu(*sets, stage=2), machine(H200))) == {}
    later = look(on_gpu(*sets, stage=2), machine(H200), promised_disk_bytes=GIB)
    assert "less what stage 1 will leave there" in refused(later)["memory.disk"]


def test_a_hint_says_what_no_setting_can_mend(disk: Callable[..., None]) -> None:
    assert "--shm-size" in hint(look(on_gpu(*LARGE), machine(H200, shm_gib=64 / 1024)))
    disk(0.01)
    assert "--runs-dir" in hint(look(on_gpu(*LARGE), machine(H200)))
