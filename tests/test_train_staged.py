"""A training whose profile stages: it stages by itself, trains the very same from memory, and keeps what it uses."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from data_check_cases import snapshot
from running import SMALL, order, sainet, spawn, wait_for
from test_resume import same_weights

from sainet.data.demo import write_demo
from sainet.data.stage.form import AS_IS
from sainet.data.stage.layout import default_place
from sainet.data.stage.removing import remove
from sainet.protocol import BatchDone, DataStaged, read_events
from sainet.state import RunFolder

pytestmark = pytest.mark.train

BATCHES = 6


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory with data, and the run `plain`, which is not staged."""
    home = tmp_path_factory.mktemp("home")
    write_demo(home / "demo", train=4 * BATCHES, val=4, width=128, height=72, seed=0)
    done = sainet(*stage_1("plain"), cwd=home)
    assert done.returncode == 0, done.stderr
    yield home
    shutil.rmtree(place(home), ignore_errors=True)


def stage_1(run: str, *extra: str) -> list[str]:
    small = [*SMALL, "--batch", "4", "--epochs", "2", "--data", "demo/stage-1/data.yaml"]
    return ["train", "--stage", "1", *small, "--run", run, *extra]


STAGED = ("--set", "staging.to=shm")


def place(home: Path) -> Path:
    return default_place(home / "demo" / "stage-1" / "data.yaml", AS_IS)


def staged(folder: RunFolder) -> list[DataStaged]:
    return [event for event in read_events(folder.events) if isinstance(event, DataStaged)]


def test_a_dry_run_says_what_would_be_staged_and_stages_nothing(home: Path) -> None:
    done = sainet(*stage_1("dry", *STAGED, "--dry-run", "--json"), cwd=home)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)["staging"]
    assert told["place"] == str(place(home))
    assert (told["images"], told["is_there"], told["format"]) == (28, False, "as-is")
    assert told["bytes"] >= 28 * 4096
    assert not place(home).exists()
    assert "28 images would be copied to " in sainet(*stage_1("dry", *STAGED, "--dry-run"), cwd=home).stdout
    assert json.loads(sainet(*stage_1("dry", "--dry-run", "--json"), cwd=home).stdout)["staging"] is None


def test_stopped_in_the_middle_and_gone_on_without_its_copy_the_weights_are_those_of_a_run_that_was_not_staged(
    home: Path,
) -> None:
    folder, before = RunFolder(home / "runs" / "staged"), snapshot(home / "demo")
    process = spawn(*stage_1("staged", *STAGED), cwd=home)
    order(folder, process, attempt=1, at=(0, 4), stop=True)
    wait_for(folder, lambda event: isinstance(event, BatchDone), process)
    in_use = sainet("data", "unstage", place(home), cwd=home)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 4, output
    assert in_use.returncode == 2
    assert f"is in use by process {process.pid}" in in_use.stderr
    assert "staging the data" in output
    assert f"staged and verified 28 images in {place(home)}" in output
    plan = json.loads(folder.stage(1).plan(1).read_text())["data"]
    assert plan["train"] == [f"{place(home)}/images/train"]
    assert plan["yaml"] == str(home / "demo" / "stage-1" / "data.yaml"), "what was asked for stays"
    assert folder.read_state().stages[1].settings["data"] == plan["yaml"]

    remove(place(home))  # as a restart of the machine does
    done = sainet(*stage_1("staged", *STAGED, "--resume"), cwd=home)
    assert done.returncode == 0, done.stderr
    assert [event.reused for event in staged(folder)] == [False, False]
    assert f"free it with: sainet data unstage {place(home)}" in done.stderr
    assert same_weights(folder, RunFolder(home / "runs" / "plain"))
    assert snapshot(home / "demo") == before
    again = sainet("data", "stage", "demo/stage-1/data.yaml", cwd=home)
    assert "unchanged; it was left as it is" in again.stderr, "the training has written nothing into it"


def test_the_next_training_uses_what_is_staged_and_a_cache_of_the_profile_is_off(home: Path) -> None:
    sainet("data", "stage", "demo/stage-1/data.yaml", cwd=home)
    shipped = sainet("profiles", "show", "cpu", cwd=home).stdout
    mine = home / "mine.yaml"
    sainet("profiles", "cp", "cpu", mine, cwd=home)
    assert "cache" in shipped
    text = mine.read_text()
    mine.write_text(text.replace("cache: false", "cache: ram") + "\nstaging:\n  to: shm\n")
    assert "cache: ram" in mine.read_text()
    arguments = [str(mine) if word == "cpu" else word for word in stage_1("reused", "--epochs", "1")]
    done = sainet(*arguments, cwd=home)
    assert done.returncode == 0, done.stderr
    assert "loader.cache is off: the images are staged in memory, in place of ram" in done.stderr
    assert [event.reused for event in staged(RunFolder(home / "runs" / "reused"))] == [True]
    assert f"the data are staged already: 28 images in {place(home)}" in done.stderr
    plan = json.loads(RunFolder(home / "runs" / "reused").stage(1).plan(1).read_text())
    assert not plan["arguments"]["cache"]

    typed = sainet(*arguments, "--run", "typed", "--cache", "ram", cwd=home)
    assert typed.returncode == 3
    assert "a second copy" in typed.stderr


def test_asked_to_stop_while_it_stages_it_goes_on_from_there(home: Path) -> None:
    remove(place(home)) if place(home).exists() else None
    many = home / "many"
    write_demo(many, train=4, val=4, width=64, height=64, seed=1)
    images = many / "stage-1" / "images" / "train"
    first = next(images.iterdir()).read_bytes()
    for number in range(6000):
        (images / f"more{number}.jpg").write_bytes(first)
    data = many / "stage-1" / "data.yaml"
    arguments = [str(data) if word == "demo/stage-1/data.yaml" else word for word in stage_1("many", *STAGED)]
    folder = RunFolder(home / "runs" / "many")
    partial = default_place(data, AS_IS).with_name(f"{default_place(data, AS_IS).name}.partial")
    process = spawn(*arguments, cwd=home)
    while not (partial / "set").exists():
        assert process.poll() is None
    os.kill(process.pid, signal.SIGTERM)
    output = process.communicate(timeout=60)[0]
    try:
        assert process.returncode == 143, output
        assert "images were staged" in output
        assert not default_place(data, AS_IS).exists()
        assert not staged(folder)
    finally:
        remove(default_place(data, AS_IS))
