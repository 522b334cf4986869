"""Killed at any moment, a staging leaves no half of a set behind, and the next run ends as one that was not killed."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from data_check_cases import Folder, picture
from running import sainet, spawn
from stage_cases import contents, leftovers, stage

from sainet.data.stage import finishing, staging, workshop
from sainet.data.stage.layout import partial_of
from sainet.data.stage.record import RECORD, read_record
from sainet.data.stage.removing import remove

KILLS, IMAGES = 5, 1500


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    folder = Folder(tmp_path_factory.mktemp("large") / "set")
    image = folder.image().read_bytes()
    for number in range(IMAGES):
        folder.image(stem=f"more{number}").write_bytes(image + b"%d" % number)
        folder.label(stem=f"more{number}").write_text(f"0 0.5 0.5 0.1 0.{number % 9 + 1}\n")
    return folder


def test_kill_9_of_the_whole_group_at_random_moments(large: Folder, tmp_path: Path) -> None:
    command = ("data", "stage", large.yaml, "--to")
    began_s = time.monotonic()
    assert sainet(*command, tmp_path / "whole", cwd=tmp_path).returncode == 0
    took_s = time.monotonic() - began_s
    whole, chance = contents(tmp_path / "whole"), random.Random(0)
    landed = 0
    for number in range(KILLS):
        place = tmp_path / f"killed-{number}"
        process = spawn(*command, place, cwd=tmp_path)
        time.sleep(chance.uniform(0.3, 1.05) * took_s)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        landed += partial_of(place).exists()
        assert not place.exists() or contents(place) == whole, "whole or not there"
        again = sainet(*command, place, cwd=tmp_path)
        assert again.returncode == 0, again.stderr
        assert contents(place) == whole
        assert leftovers(place) == []
        assert read_record(place) is not None
    assert landed, "none of the kills came while something was there to be spoilt"


# --- right before and right after each step that makes or takes away --------------------------------------------------


def killed(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, *, after: bool, work: Callable[[], object]) -> None:
    """Do `work` in a process that dies where it calls `owner.name`, before or after the call is done."""
    original = getattr(owner, name)

    def die(*arguments: Any, **options: Any) -> None:
        if after:
            original(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    pid = os.fork()
    if pid == 0:
        try:
            monkeypatch.setattr(owner, name, die)
            work()
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), f"{name} was not called"


STEPS: list[tuple[Any, str]] = [
    (workshop.Workshop, "begin"),
    (staging, "copy_part"),
    (workshop.Workshop, "deliver"),
    (workshop.Workshop, "clear"),
    (workshop.Workshop, "close"),
    (finishing, "_record"),
]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("owner", "name"), STEPS)
def test_killed_at_a_step(owner: Any, name: str, after: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, place = Folder(tmp_path / "set"), tmp_path / "staged"
    whole = contents(stage(folder.yaml, tmp_path / "whole").place)
    killed(monkeypatch, owner, name, after=after, work=lambda: stage(folder.yaml, place))
    assert not place.exists() or contents(place) == whole
    staged = stage(folder.yaml, place)
    assert contents(staged.place) == whole
    assert leftovers(place) == []


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("owner", "name"), [*STEPS[1:], (workshop.Workshop, "retire"), (workshop.Workshop, "_remove")])
def test_killed_while_another_is_replaced(
    owner: Any, name: str, after: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, place = Folder(tmp_path / "set"), tmp_path / "staged"
    old = contents(stage(folder.yaml, place).place)
    picture("changed").save(folder.image())
    whole = contents(stage(folder.yaml, tmp_path / "whole").place)
    killed(monkeypatch, owner, name, after=after, work=lambda: stage(folder.yaml, place))
    assert not place.exists() or contents(place) in (old, whole)
    assert contents(stage(folder.yaml, place).place) == whole
    assert leftovers(place) == []


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("name", ["retire", "_remove", "clear"])
def test_killed_while_one_is_removed(name: str, after: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, place = Folder(tmp_path / "set"), tmp_path / "staged"
    whole = contents(stage(folder.yaml, place).place)
    killed(monkeypatch, workshop.Workshop, name, after=after, work=lambda: remove(place))
    assert not (place / RECORD).exists() or contents(place) == whole
    remove(place)
    assert not place.exists()
    assert leftovers(place) == []


def test_these_tests_can_fail_and_a_half_that_got_the_name_all_the_same_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, place = Folder(tmp_path / "set"), tmp_path / "staged"
    whole = contents(stage(folder.yaml, tmp_path / "whole").place)

    def deliver_badly(shop: workshop.Workshop) -> None:
        place.mkdir()
        for name in (RECORD, "data.yaml"):
            (shop.set / name).rename(place / name)

    with monkeypatch.context() as patch:
        patch.setattr(workshop.Workshop, "deliver", deliver_badly)
        killed(monkeypatch, workshop.Workshop, "deliver", after=True, work=lambda: stage(folder.yaml, place))
    assert place.exists()
    assert contents(place) != whole
    assert stage(folder.yaml, place).is_new
    assert contents(place) == whole
