"""Staging is admitted by one budget: the staged set, the loader, the limit of the place and that of the RAM."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from config_cases import on_gpu
from conftest import DiskMaker
from data_check_cases import Folder
from fakes import GIB, MIB
from stage_cases import stage
from test_memory_admission import H200, hint, look, machine, refused

from sainet.data.source import read_source
from sainet.data.stage.form import AS_IS
from sainet.data.stage.layout import default_place
from sainet.data.stage.need import Need, need_of
from sainet.data.stage.removing import remove
from sainet.data.stage.survey import take_survey
from sainet.errors import RefusedError
from sainet.hardware.ram import RamReading
from sainet.hardware.storage import Shm, disk_of, in_memory
from sainet.memory.limits import machine_limits
from sainet.run.staging_room import Reserve, Room, admit, room_at

RAM = RamReading(8 * GIB, 0, 8 * GIB, "cgroup v2: /memory.max")
ROOM = Room(4 * GIB, 8 * GIB, 1000, RAM)


@pytest.fixture
def need(tmp_path: Path) -> Callable[..., Need]:
    survey = take_survey(read_source(str(Folder(tmp_path / "set").yaml)))

    def make(size_bytes: int, **more: int) -> Need:
        return replace(Need(survey, Path("/dev/shm/x"), AS_IS, size_bytes, 24, in_memory=True), **more)

    return make


def refusal(need: Need, room: Room = ROOM, reserve: Reserve = Reserve(), *, force: bool = False) -> str | None:
    try:
        admit(need, room, reserve, force=force)
    except RefusedError as error:
        return str(error)
    return None


def test_files_in_memory_take_whole_pages(tmp_path: Path) -> None:
    survey = take_survey(read_source(str(Folder(tmp_path / "set").yaml)))
    shm = need_of(survey, AS_IS, Path("/dev/shm/x/y"))
    disk = need_of(survey, AS_IS, tmp_path / "x")
    assert (shm.in_memory, shm.bytes) == (True, 24 * 4096)
    assert disk.bytes == (shm.bytes if in_memory(tmp_path) else survey.bytes)
    staged = stage(tmp_path / "set" / "data.yaml", tmp_path / "staged")
    assert staged.record.page_bytes == 25 * 4096, "and the YAML"


def test_what_fits_is_refused_nothing(need: Callable[..., Need]) -> None:
    assert refusal(need(4 * GIB)) is None
    assert refusal(need(5 * GIB, frees_bytes=GIB)) is None, "the old set goes first"


def test_the_place_is_too_small_and_nothing_overrides_that(need: Callable[..., Need]) -> None:
    for force in (False, True):
        told = refusal(need(5 * GIB), force=force)
        assert told is not None
        assert "no room: 5.0 GiB needed, 4.0 GiB free of 8.0 GiB" in told
        assert "--format jpeg-1440, about 0 MiB by a sample of 12: fits; fewer images; a place on a disk (--to)" in told


def test_the_ram_is_too_small_and_force_tries_it(need: Callable[..., Need]) -> None:
    room = replace(ROOM, free_bytes=100 * GIB)
    told = refusal(need(9 * GIB), room)
    assert told is not None
    assert "RAM does not hold it: 9.0 GiB needed, 8.0 GiB free of 8.0 GiB (cgroup v2: /memory.max)" in told
    assert refusal(need(9 * GIB), room, force=True) is None
    assert refusal(need(9 * GIB), replace(room, ram=None)) is None, "on a disk only the disk counts"


def test_the_loader_and_the_processes_are_in_the_same_budget(need: Callable[..., Need]) -> None:
    assert refusal(need(3 * GIB), reserve=Reserve(5 * GIB, GIB)) is None
    told = refusal(need(3 * GIB), reserve=Reserve(5 * GIB, GIB + 1))
    assert "no room: 3.0 GiB needed beside 1.0 GiB for the loader, 4.0 GiB free" in str(told)
    told = refusal(need(3 * GIB), reserve=Reserve(5 * GIB + 1, GIB))
    assert "3.0 GiB needed beside 5.0 GiB for the training" in str(told)


def test_too_many_files_for_the_place_are_told(need: Callable[..., Need], small_disk: DiskMaker) -> None:
    disk = small_disk("8m,nr_inodes=20")
    room = room_at(disk / "set", in_memory=True)
    assert "no room for 24 files: 19 more can be made there" in str(refusal(need(MIB), room, force=True))


# --- with a training -------------------------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Folder(tmp_path / "set").yaml


def test_a_set_that_lies_there_already_does_not_count_twice(data: Path) -> None:
    asked = on_gpu("staging.to=shm", f"data={data}", "loader.workers=0", "loader.val.workers=0")
    bare = look(asked, machine(H200))
    assert bare.staging is not None
    assert bare.fit is not None
    takes = bare.fit.forecast.budget("shm").need_bytes
    assert takes == bare.staging.bytes == 24 * 4096
    full = replace(machine(H200), shm=Shm(GIB, GIB - takes + 1))
    assert set(refused(look(asked, full))) == {"memory.shm"}
    place = default_place(data, AS_IS)
    staged = stage(data, place)
    try:
        found = look(asked, replace(full, shm=Shm(GIB, GIB)))
        assert refused(found) == {}
        assert found.staging is not None
        assert found.staging.there is not None
        assert found.staging.own_bytes == staged.record.page_bytes
        data.with_name("images").joinpath("val", "val0.jpg").unlink()
        changed = look(asked, replace(full, shm=Shm(GIB, GIB)))
        assert refused(changed) == {}, "the old set goes before the new one comes"
    finally:
        remove(place)


def test_what_stage_1_leaves_staged_is_not_there_for_stage_2(tmp_path: Path) -> None:
    disk = disk_of(tmp_path)
    before = machine_limits(machine(H200), disk, [])
    after = machine_limits(machine(H200), disk, [], promised_shm_bytes=GIB)
    for name in ("ram", "shm"):
        assert (before[name].free_bytes or 0) - (after[name].free_bytes or 0) == GIB
        assert "what stage 1 will leave there" in after[name].source


def test_data_that_lie_in_dev_shm_are_not_staged_once_more_and_count_as_in_use(data: Path) -> None:
    place = default_place(data, AS_IS)
    stage(data, place)
    try:
        asked = on_gpu("staging.to=shm", f"data={place}/data.yaml", "loader.workers=0", "loader.val.workers=0")
        found = look(asked, machine(H200))
        assert found.staging is None
        assert found.fit is not None
        assert found.fit.forecast.budget("shm").need_bytes == 0
    finally:
        remove(place)


def test_what_cannot_be_staged_stands_against_the_start(data: Path) -> None:
    data.write_text("train: train.txt\nval: images/val\nnames: {0: fire, 1: smoke}\n")
    data.with_name("train.txt").write_text("./images/train/train0.jpg\n./images/train/gone.jpg\n")
    asked = on_gpu("staging.to=shm", f"data={data}")
    (error,) = look(asked, machine(H200)).errors
    assert "images that Ultralytics would silently leave out: 1 image-absent" in str(error)
    assert look(asked, machine(H200), force=True).errors == []


def test_a_set_that_cannot_fit_is_refused_with_ways_out(data: Path) -> None:
    found = look(on_gpu("staging.to=shm", f"data={data}", "loader.workers=0"), machine(H200, shm_gib=32 / 2**20))
    assert set(refused(found)) == {"memory.shm"}
    assert "staged data" in refused(found)["memory.shm"]
    assert "--set staging.to=null, which reads the images where they lie" in hint(found)
    assert "--format jpeg-1440" in hint(found)
