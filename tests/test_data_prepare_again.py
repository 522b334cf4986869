"""Preparing that is run again: after a kill, after Ctrl-C, after it was done, and for something else."""

import json
import random
import signal
import time
from pathlib import Path

import pytest
from conftest import DiskMaker
from data_prepare_cases import FIRE, SMOKE, FasddRelease, files_of, prepared, shards
from running import sainet, spawn

from benchmarks.data import prepare_kills
from sainet.data.prepare import folder as folder_module
from sainet.data.prepare import preparing
from sainet.data.prepare.folder import JOURNAL
from sainet.data.prepare.pyrosdis import PYROSDIS
from sainet.data.prepare.writing import Part, write_part
from sainet.errors import RunLockedError, StorageError, UsageError


@pytest.fixture
def release(tmp_path: Path) -> FasddRelease:
    """Of several parts."""
    train = {f"train{number}.jpg": [FIRE] * (number % 3) for number in range(150)}
    return FasddRelease(tmp_path / "fasdd", {"train": train, "val": {"val.jpg": [SMOKE]}}).coco()


class Killed(BaseException):
    """In the place of a kill."""


@pytest.mark.parametrize("changes", [{}, {"regroup": True, "backgrounds": "ratio=0.1"}, {"how": "copy"}])
def test_ended_after_any_part_it_goes_on_to_the_same_result(
    changes: dict[str, object], release: FasddRelease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(release.root, tmp_path / "alone", **changes)
    expected, done = files_of(tmp_path / "alone"), list[str]()

    def counted(part: Part) -> object:
        done.extend(entry.name for entry in part.entries)
        if len(done) in stops:
            raise Killed
        return write_part(part)

    monkeypatch.setattr(preparing, "write_part", counted)
    stops = {64, 128, 150, 151} if "regroup" not in changes else {len(done)}
    for _ in range(6):
        try:
            prepared(release.root, tmp_path / "set", **changes)
        except Killed:
            stops -= {len(done)}
            continue
        break
    assert files_of(tmp_path / "set") == expected


@pytest.mark.parametrize("step", ["write_manifest", "replacing", "replace_text", "unlink"])
def test_ended_at_any_of_the_last_steps_it_goes_on_to_the_same_result(
    step: str, release: FasddRelease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(release.root, tmp_path / "alone")

    def kill(*_: object) -> None:
        raise Killed

    def kill_for_the_journal(path: Path, *, missing_ok: bool = False) -> None:
        if path.name == JOURNAL:
            raise Killed
        unlink(path, missing_ok=missing_ok)

    unlink = Path.unlink
    with monkeypatch.context() as patch:
        if step == "unlink":
            patch.setattr(Path, "unlink", kill_for_the_journal)
        else:
            patch.setattr(folder_module, step, kill)
        with pytest.raises(Killed):
            prepared(release.root, tmp_path / "set")
    assert (tmp_path / "set" / "data.yaml").exists() == (step == "unlink")
    written: list[object] = []
    monkeypatch.setattr(preparing, "write_part", written.append)
    prepared(release.root, tmp_path / "set")
    assert not written, "what was done was done again"
    assert files_of(tmp_path / "set") == files_of(tmp_path / "alone")


def test_half_a_file_that_a_kill_left_is_written_anew(release: FasddRelease, tmp_path: Path) -> None:
    """With its temporary name too, and a label file of a part that was not finished."""
    prepared(release.root, tmp_path / "alone", how="copy")
    expected = files_of(tmp_path / "alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparing, "write_part", lambda _part: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            prepared(release.root, tmp_path / "set", how="copy")
    image = tmp_path / "set" / "images" / "train" / "train7.jpg"
    image.write_bytes(expected["images/train/train7.jpg"][:100])
    (image.parent / ".train7.jpg.tmp").write_bytes(b"half")
    (tmp_path / "set" / "labels" / "train" / "train7.txt").write_text("0 0.5", encoding="utf-8")
    prepared(release.root, tmp_path / "set", how="copy")
    assert files_of(tmp_path / "set") == expected


def test_half_a_link_never_costs_the_source_its_bytes(release: FasddRelease, tmp_path: Path) -> None:
    before = files_of(release.root)
    for _ in range(2):
        prepared(release.root, tmp_path / "set")
        (tmp_path / "set" / "data.yaml").rename(tmp_path / "kept.yaml")
        (tmp_path / "set" / "prepared.json").unlink()
        request = preparing.Options(**_options()).request(preparing.Tree(release.root))
        (tmp_path / "set" / JOURNAL).write_text(json.dumps(request) + "\n", encoding="utf-8")
    prepared(release.root, tmp_path / "set")
    assert files_of(release.root) == before


def _options() -> dict[str, object]:
    from sainet.data.prepare.backgrounds import read_backgrounds
    from sainet.data.prepare.fasdd import FASDD

    return {"release": FASDD, "how": "link", "backgrounds": read_backgrounds("keep", "train"), "regroup": False}


def test_what_is_done_is_left_as_it_is(release: FasddRelease, tmp_path: Path) -> None:
    first = prepared(release.root, tmp_path / "set")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "set").rglob("*")}
    again = prepared(release.root, tmp_path / "set")
    assert (first.created, again.created) == (True, False)
    assert again.summary == first.summary
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "set").rglob("*")} == before


def test_something_else_in_the_same_folder_is_refused(release: FasddRelease, tmp_path: Path) -> None:
    prepared(release.root, tmp_path / "set")
    with pytest.raises(UsageError, match="prepared otherwise: backgrounds differ"):
        prepared(release.root, tmp_path / "set", backgrounds="drop")
    with pytest.raises(UsageError, match="prepared otherwise: release, source differ"):
        prepared(shards(tmp_path / "pyro"), tmp_path / "set", PYROSDIS)
    release.put("annotations/COCO_CV/Annotations/val.json", json.dumps(release.coco_of("val")) + " ")
    with pytest.raises(UsageError, match="prepared otherwise: source differ"):
        prepared(release.root, tmp_path / "set")


def test_a_begun_set_is_not_gone_on_with_for_something_else(
    release: FasddRelease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(_part: Part) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(preparing, "write_part", kill)
        with pytest.raises(Killed):
            prepared(release.root, tmp_path / "set")
    with pytest.raises(UsageError, match='begun otherwise: how was "link" and is "copy"'):
        prepared(release.root, tmp_path / "set", how="copy")
    prepared(release.root, tmp_path / "set")


def test_two_at_once_are_refused(release: FasddRelease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def meanwhile(part: Part) -> object:
        with pytest.raises(RunLockedError):
            prepared(release.root, tmp_path / "set")
        return write_part(part)

    monkeypatch.setattr(preparing, "write_part", meanwhile)
    prepared(release.root, tmp_path / "set")


def test_a_full_disk_is_told_and_leaves_no_half_of_an_image(release: FasddRelease, small_disk: DiskMaker) -> None:
    disk = small_disk("400k")
    with pytest.raises(StorageError, match="no space left"):
        prepared(release.root, disk / "set")
    assert not (disk / "set" / "data.yaml").exists()
    for path in (disk / "set").rglob("*"):
        if path.parent.name == "train" and path.suffix == ".jpg":
            assert path.read_bytes() == (release.root / "images" / path.name).read_bytes()


def test_killed_at_random_moments_it_comes_to_the_same(tmp_path: Path) -> None:
    """Real processes of the command line; benchmarks/data/prepare_kills.py does more of it on larger sets."""
    assert prepare_kills.kill_all(tmp_path, 3, 300, random.Random(1)) == 0


def test_a_result_that_differs_is_noticed() -> None:
    assert prepare_kills.differences({"a": b"1", "b": b"2"}, {"a": b"1", "b": b"3", ".c.tmp": b""}) == [
        "{'left over': 1, 'wrong': 1}: .c.tmp, b"
    ]


def test_ctrl_c_ends_with_130_and_the_same_command_goes_on(tmp_path: Path) -> None:
    source = prepare_kills.make_release(tmp_path / "fasdd", 1500)
    process = spawn("data", "prepare", "fasdd", source, tmp_path / "set", cwd=tmp_path)
    deadline_s = time.monotonic() + 60
    while prepare_kills.parts_done(tmp_path / "set") < 3 and process.poll() is None and time.monotonic() < deadline_s:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 130, said
    assert "run the same command again" in said
    assert "Traceback" not in said
    again = sainet("data", "prepare", "fasdd", source, tmp_path / "set", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert len(list((tmp_path / "set" / "images").rglob("*.jpg"))) == 1500
    assert not (tmp_path / "set" / JOURNAL).exists()


def test_what_a_worker_cannot_read_is_told_as_by_one_process_and_it_goes_on_when_mended(tmp_path: Path) -> None:
    """So many images that other processes work on them."""
    source = prepare_kills.make_release(tmp_path / "fasdd", 300)
    image = source / "images" / "bothFireAndSmoke_CV000200.jpg"
    data = image.read_bytes()
    image.unlink()
    image.symlink_to("gone")
    failed = sainet("data", "prepare", "fasdd", source, tmp_path / "set", cwd=tmp_path)
    assert failed.returncode == 5
    assert failed.stderr.splitlines()[-1] == f"error: {image}: cannot be read: No such file or directory"
    image.unlink()
    image.write_bytes(data)
    done = sainet("data", "prepare", "fasdd", source, tmp_path / "set", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "set" / "images").rglob("*.jpg"))) == 300
