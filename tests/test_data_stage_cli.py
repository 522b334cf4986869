"""`sainet data stage` and `unstage` as they are typed: what they print where, and how they end."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from data_check_cases import Folder
from running import command, environment, sainet, spawn
from stage_cases import contents

from sainet.data.stage import layout
from sainet.data.stage.form import AS_IS
from sainet.data.stage.layout import default_place, partial_of
from sainet.data.stage.record import held


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    """Nothing that was staged from it is left in /dev/shm."""
    made = Folder(tmp_path / "set")
    yield made
    for place in (default_place(made.yaml, AS_IS), partial_of(default_place(made.yaml, AS_IS))):
        shutil.rmtree(place, ignore_errors=True)


def test_the_place_is_in_dev_shm_and_its_yaml_is_all_that_stdout_gets(folder: Folder, tmp_path: Path) -> None:
    done = sainet("data", "stage", folder.yaml, cwd=tmp_path)
    place = default_place(folder.yaml, AS_IS)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{place}/data.yaml\n"
    assert str(place).startswith(f"/dev/shm/sainet-{os.getuid()}/set-")
    assert "stay free there" in done.stderr
    assert "verified: 12 images, 12 label files" in done.stderr
    again = sainet("data", "stage", folder.yaml, "--json", cwd=tmp_path)
    assert again.returncode == 0
    assert "unchanged; it was left as it is" in again.stderr
    told = json.loads(again.stdout)
    assert (told["place"], told["is_new"], told["record"]["splits"]) == (str(place), False, {"train": 8, "val": 4})
    assert (place.parent.stat().st_mode & 0o777) == 0o700


def states(cwd: Path) -> dict[str, str]:
    told = json.loads(sainet("data", "stage", "--status", "--json", cwd=cwd).stdout)
    assert told["shm"]["size_bytes"] > 0
    return {one["place"]: one["state"] for one in told["sets"]}


def test_status_tells_whether_it_is_still_what_it_was_made_from(folder: Folder, tmp_path: Path) -> None:
    place = str(default_place(folder.yaml, AS_IS))
    assert place not in states(tmp_path)
    sainet("data", "stage", folder.yaml, cwd=tmp_path)
    assert states(tmp_path)[place] == "unchanged"
    table = sainet("data", "stage", "--status", cwd=tmp_path).stdout
    assert "unchanged" in table
    assert str(folder.yaml) in table
    assert "/dev/shm: " in table
    folder.label().write_text("")
    assert states(tmp_path)[place] == "changed"
    shutil.move(folder.yaml, tmp_path / "away.yaml")
    assert states(tmp_path)[place] == "source gone"
    Path(place, "images", "val", "val0.jpg").unlink()
    assert states(tmp_path)[place] == "damaged"


def test_a_half_is_told_as_one_and_unstaged_like_a_whole(folder: Folder, tmp_path: Path) -> None:
    place = default_place(folder.yaml, AS_IS)
    image = folder.image().read_bytes()
    for number in range(4000):
        folder.image(stem=f"more{number}").write_bytes(image)
    process = spawn("data", "stage", folder.yaml, cwd=tmp_path)
    while not (partial_of(place) / "set").exists():
        time.sleep(0.01)
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGSTOP)
    assert states(tmp_path)[str(partial_of(place))] == "being staged"
    at_once = sainet("data", "unstage", place, cwd=tmp_path)
    assert at_once.returncode == 2
    assert f"process {process.pid} is working on" in at_once.stderr
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert states(tmp_path)[str(partial_of(place))] == "half-staged"
    assert str(folder.yaml) in sainet("data", "stage", "--status", cwd=tmp_path).stdout
    assert sainet("data", "unstage", folder.yaml, cwd=tmp_path).returncode == 0
    assert not partial_of(place).exists()


def test_unstage_removes_what_was_staged_from_a_yaml_and_nothing_that_was_not_staged(
    folder: Folder, tmp_path: Path
) -> None:
    for arguments in (("--format", "raw-64"), ()):
        assert sainet("data", "stage", folder.yaml, *arguments, cwd=tmp_path).returncode == 0
    done = sainet("data", "unstage", folder.yaml, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr.count("removed /dev/shm/sainet-") == 2
    before = contents(folder.root)
    for what in (folder.root, folder.yaml, tmp_path / "nothing"):
        refused = sainet("data", "unstage", what, cwd=tmp_path)
        assert refused.returncode == 2
        assert "no staged set" in refused.stderr
    assert contents(folder.root) == before


def test_what_a_training_uses_is_not_unstaged(folder: Folder, tmp_path: Path) -> None:
    sainet("data", "stage", folder.yaml, "--to", "staged", cwd=tmp_path)
    with held(tmp_path / "staged"):
        refused = sainet("data", "unstage", "staged", cwd=tmp_path)
        assert refused.returncode == 2
        assert f"is in use by process {os.getpid()}" in refused.stderr
        assert (tmp_path / "staged" / "data.yaml").exists()
    assert sainet("data", "unstage", "staged", cwd=tmp_path).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


def small_shm(size: str, *arguments: str | Path, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """The command line with a /dev/shm of its own."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespace of its own here")
    script = f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$@"'
    words = ["unshare", "--mount", "sh", "-c", script, "sh", *command(*arguments)]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, env=environment(), timeout=60)


def test_a_dev_shm_that_does_not_hold_it_is_refused_with_what_would_fit(folder: Folder, tmp_path: Path) -> None:
    for force in ((), ("--force",)):
        done = small_shm("64k", "data", "stage", folder.yaml, *force, cwd=tmp_path)
        assert done.returncode == 3, done.stderr
        assert "no room: 0 MiB needed, 0 MiB free of 0 MiB" in done.stderr
        assert "--format jpeg-1440" in done.stderr
    assert small_shm("1m", "data", "stage", folder.yaml, cwd=tmp_path).returncode == 0


def test_another_form_prints_what_it_costs_and_saves(folder: Folder, tmp_path: Path) -> None:
    done = sainet("data", "stage", folder.yaml, "--to", "staged", "--format", "raw-64", cwd=tmp_path)
    assert done.returncode == 0
    assert "-> raw-64 about 0 MiB, by a sample of 12 images" in done.stderr
    assert "decoding one: " in done.stderr
    assert "-> raw-64 0 MiB; 0 images stayed as they were" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "no data YAML"),
        (("gone.yaml", "--status"), "--status shows all"),
        (("gone.yaml", "--format", "webp"), "no format to stage in"),
    ],
)
def test_what_cannot_be_is_refused_with_2(arguments: tuple[str, ...], told: str, tmp_path: Path) -> None:
    done = sainet("data", "stage", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr


def test_bad_data_end_with_5(folder: Folder, tmp_path: Path) -> None:
    assert sainet("data", "stage", "gone.yaml", cwd=tmp_path).returncode == 5
    (folder.root / "train.txt").write_text("./images/train/gone.jpg\n")
    folder.yaml_says("train: train.txt\nval: images/val")
    assert sainet("data", "stage", folder.yaml, "--to", "staged", cwd=tmp_path).returncode == 5


def test_somebody_elses_folder_in_dev_shm_is_not_written_into(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "SHM", tmp_path)
    (tmp_path / "theirs").mkdir()
    layout.default_root().symlink_to(tmp_path / "theirs")
    with pytest.raises(Exception, match="somebody else's"):
        layout.make_default_root(default_place(folder.yaml, AS_IS))


def test_it_imports_nothing_heavy(folder: Folder, tmp_path: Path) -> None:
    script = (
        "import sys, runpy; sys.argv = ['sainet', 'data', 'stage', sys.argv[1], '--to', 'staged']\n"
        "try: runpy.run_module('sainet', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print('HEAVY', sorted({'torch', 'ultralytics', 'cv2', 'PIL', 'numpy'} & sys.modules.keys()))"
    )
    words = [sys.executable, "-c", script, str(folder.yaml)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, env=environment(), check=False)
    assert "HEAVY []" in done.stdout, done.stdout + done.stderr
