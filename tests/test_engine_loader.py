"""The loaders: what they deliver never depends on how they work, and what stops them is told."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from conftest import PlanMaker, TinySetMaker

from sainet.engine.loader import TrainLoader, ValLoader
from sainet.engine.order import EpochOrder, Sample
from sainet.errors import SainetError
from sainet.protocol import LoaderPlan, ProcessFailed, read_events

IMAGES, BATCH, EPOCHS = 23, 4, 3


class Numbers:
    """Samples that say who they are, made as slowly and as large as a test wants."""

    def __init__(self, seconds: float = 0.0, floats: int = 1, stuck_at: int | None = None) -> None:
        self.seconds, self.floats, self.stuck_at = seconds, floats, stuck_at

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, key: Sample | int) -> tuple[int, int, torch.Tensor]:
        epoch, image = (key.epoch, key.image) if isinstance(key, Sample) else (-1, key)
        time.sleep(3600 if image == self.stuck_at else self.seconds)
        return epoch, image, torch.zeros(self.floats)

    @staticmethod
    def collate_fn(samples: list[tuple[int, int, torch.Tensor]]) -> dict[str, Any]:
        return {"who": [sample[:2] for sample in samples], "img": torch.stack([sample[2] for sample in samples])}


def plan(workers: int, **settings: Any) -> LoaderPlan:
    values = {"prefetch_factor": 2, "pin_memory": False, "persistent_workers": True, "timeout_s": 30.0}
    return LoaderPlan(workers=workers, **{**values, **settings})


@pytest.fixture
def train_loader() -> Iterator[Any]:
    made: list[TrainLoader] = []

    def make(workers: int, dataset: Any = None, **settings: Any) -> TrainLoader:
        made.append(TrainLoader(dataset or Numbers(), EpochOrder(IMAGES, BATCH, 7), plan(workers, **settings), EPOCHS))
        return made[-1]

    yield make
    for loader in made:
        loader.close()


def delivered(loader: TrainLoader, changes: dict[tuple[int, int], dict[str, int]] | None = None) -> list[Any]:
    """Who is in every batch of every epoch; `changes` are made before the batches that they name."""
    batches = []
    for epoch in range(EPOCHS):
        for number in range(len(loader)):
            loader.change(**(changes or {}).get((epoch, number), {}))
            batches.append(loader.batch(epoch, number)["who"])
    return batches


def workers_of_this_process() -> list[int]:
    alive = (child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE)
    return [child.pid for child in alive if not any("multiprocessing" in word for word in child.cmdline())]


def expected() -> list[Any]:
    order = EpochOrder(IMAGES, BATCH, 7)
    batches = [order.samples(epoch, number) for epoch in range(EPOCHS) for number in range(order.batches)]
    return [[(sample.epoch, sample.image) for sample in batch] for batch in batches]


@pytest.mark.parametrize(
    ("workers", "prefetch", "persistent"), [(0, 2, True), (1, 1, True), (2, 2, True), (2, 3, False), (4, 1, True)]
)
def test_any_number_of_workers_delivers_the_same(
    train_loader: Any, workers: int, prefetch: int, persistent: bool
) -> None:
    loader = train_loader(workers, prefetch_factor=prefetch, persistent_workers=persistent)
    assert delivered(loader) == expected()


def test_a_change_in_mid_epoch_loses_no_batch_and_repeats_none(train_loader: Any) -> None:
    changes = {
        (0, 2): {"workers": 1},
        (0, 5): {"workers": 0},
        (1, 0): {"workers": 2, "prefetch_factor": 1},
        (1, 4): {"prefetch_factor": 3},
        (2, 5): {"workers": 1},
    }
    assert delivered(train_loader(2), changes) == expected()


def test_a_change_says_what_it_changed_and_leaves_the_workers_alone_where_it_changes_nothing(train_loader: Any) -> None:
    loader = train_loader(2)
    loader.batch(0, 0)
    before = workers_of_this_process()
    assert len(before) == 2
    assert loader.change(workers=2) == {}
    loader.batch(0, 1)
    assert workers_of_this_process() == before
    assert loader.change(workers=1, prefetch_factor=2) == {"workers": (2, 1)}
    loader.batch(0, 2)
    assert len(workers_of_this_process()) == 1


def test_it_begins_at_any_batch(train_loader: Any) -> None:
    loader = train_loader(2)
    assert loader.batch(1, 3)["who"] == expected()[len(loader) + 3]
    assert loader.batch(0, 1)["who"] == expected()[1]


def test_workers_live_on_between_epochs_only_when_they_persist(train_loader: Any) -> None:
    for persistent in (True, False):
        loader = train_loader(2, persistent_workers=persistent)
        for number in range(len(loader)):
            loader.batch(0, number)
        assert len(workers_of_this_process()) == (2 if persistent else 0)
        loader.close()
        assert workers_of_this_process() == []


def test_closing_takes_one_sample_and_not_one_batch(train_loader: Any) -> None:
    loader = train_loader(2, Numbers(seconds=0.4))
    loader.batch(0, 0)
    time.sleep(0.1)  # the workers are in the middle of the batches that they load ahead, 1.6 s each
    began_s = time.monotonic()
    loader.close()
    assert time.monotonic() - began_s < 1.2
    assert workers_of_this_process() == []


def test_a_worker_is_the_first_that_the_kernel_ends_and_leaves_signals_to_its_parent(train_loader: Any) -> None:
    loader = train_loader(1, Numbers(seconds=0.05))
    loader.batch(0, 0)
    (worker,) = workers_of_this_process()
    assert Path(f"/proc/{worker}/oom_score_adj").read_text().strip() == "1000"
    assert Path("/proc/self/oom_score_adj").read_text().strip() != "1000"
    os.kill(worker, signal.SIGTERM)
    os.kill(worker, signal.SIGINT)
    assert loader.batch(0, 1)["who"] == expected()[1]
    assert workers_of_this_process() == [worker]


ORPHANS = """
import os, sys, time
sys.path.insert(0, {tests!r})
from test_engine_loader import *
loader = TrainLoader(Numbers(seconds=0.2), EpochOrder(IMAGES, BATCH, 7), plan(2), EPOCHS)
loader.batch(0, 0)
print(*workers_of_this_process(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_load_where_proc_is_read_only(train_loader: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sainet.engine.loader_worker._OOM_SCORE", Path("/proc/version"))
    assert train_loader(1).batch(0, 0)["who"] == expected()[0]


def test_workers_die_at_once_when_their_parent_is_killed() -> None:
    script = ORPHANS.format(tests=str(Path(__file__).parent))
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    workers = [int(pid) for pid in killed.stdout.split()]
    assert len(workers) == 2
    deadline_s = time.monotonic() + 1  # PyTorch's own watchdog takes five seconds
    while any(_lives(pid) for pid in workers):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# --- what stops a loader


def failure_of(loader: TrainLoader) -> Exception:
    with pytest.raises(RuntimeError) as caught:
        delivered(loader)
    return loader.explain(caught.value)


def test_a_stuck_worker_is_told_within_the_time_out(train_loader: Any) -> None:
    stuck = expected()[1][0][1]
    began_s = time.monotonic()
    loader = train_loader(1, Numbers(stuck_at=stuck), timeout_s=1.5)
    error = failure_of(loader)
    assert time.monotonic() - began_s < 10
    assert isinstance(error, SainetError)
    assert error.message.startswith("no batch came from the training loader within 1.5 s")
    assert "loader.timeout_s" in (error.hint or "")


def test_a_killed_worker_is_told(train_loader: Any) -> None:
    loader = train_loader(1, Numbers(seconds=0.2))
    loader.batch(0, 0)
    (worker,) = workers_of_this_process()
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(RuntimeError) as caught:
        [loader.batch(0, number) for number in range(1, len(loader))]
    error = loader.explain(caught.value)
    assert isinstance(error, SainetError)
    assert error.message == f"a worker of the training loader was killed (pid {worker}: SIGKILL)"


def test_an_error_of_the_data_stays_what_it_is(train_loader: Any) -> None:
    class Broken(Numbers):
        def __getitem__(self, key: Any) -> Any:
            raise ValueError(f"image {key.image} is broken")

    with pytest.raises(ValueError, match="is broken"):
        train_loader(2, Broken()).batch(0, 0)


def _need_a_mount_namespace() -> None:
    probe = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip(f"no mount namespace of its own here: {probe.stderr.decode().strip()}")


FULL_SHM = """
import sys, time
sys.path.insert(0, {tests!r})
from test_engine_loader import *
loader = TrainLoader(Numbers(floats=1_000_000), EpochOrder(IMAGES, BATCH, 7), plan(2, timeout_s=60), EPOCHS)
began_s = time.monotonic()
try:
    delivered(loader)
except RuntimeError as error:
    told = loader.explain(error)
    print(type(told).__name__, told, f"after {{time.monotonic() - began_s:.1f}} s")
"""


def test_a_full_dev_shm_is_told_at_once_instead_of_a_deadlock() -> None:
    """In a mount namespace of its own with 20 MB of /dev/shm, where each batch takes 16 MB."""
    script = FULL_SHM.format(tests=str(Path(__file__).parent))
    inside = 'mount -t tmpfs -o size=20m tmpfs /dev/shm && exec "$0" -c "$1"'
    command = ["unshare", "--mount", "sh", "-c", inside, sys.executable, script]
    _need_a_mount_namespace()
    ended = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert ended.stdout.startswith("StorageError /dev/shm is full"), ended.stdout + ended.stderr
    assert "docker run --shm-size" in ended.stdout
    assert float(ended.stdout.split()[-2]) < 20, "the time-out is 60 s"


@pytest.mark.train
def test_the_training_process_ends_with_what_the_loader_says(
    tiny_set: TinySetMaker, plan_for: PlanMaker, tmp_path: Path
) -> None:
    """As the supervisor starts it, with a /dev/shm that holds less than a batch."""
    plan = plan_for(tiny_set(images=64), batch=32, imgsz=320, loader={"workers": 2})
    script = tmp_path / "start.sh"
    script.write_text(f"mount -t tmpfs -o size=2m tmpfs /dev/shm && exec {sys.executable} -m sainet.engine.worker $1\n")
    _need_a_mount_namespace()
    command = ["unshare", "--mount", "sh", str(script), str(plan.attempt_dir / "plan.json")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 7, ended.stdout + ended.stderr
    (failed,) = [event for event in read_events(plan.events) if isinstance(event, ProcessFailed)]
    assert failed.message.startswith("/dev/shm is full: a worker of the training loader")
    assert "loader.workers" in (failed.hint or "")


NO_SEMAPHORE = """
import os, sys
sys.path.insert(0, {tests!r})
from test_engine_loader import *
filling = os.open("/dev/shm/filling", os.O_CREAT | os.O_WRONLY)
try:
    while os.write(filling, bytes(4096)):
        pass
except OSError:
    pass
for batches in (lambda: TrainLoader(Numbers(), EpochOrder(IMAGES, BATCH, 7), plan(2), EPOCHS).batch(0, 0),
                lambda: list(ValLoader(Numbers(), 5, plan(2)))):
    try:
        batches()
    except Exception as error:
        print(type(error).__name__, error.args)
"""


def test_a_dev_shm_that_is_full_before_the_workers_start_is_told() -> None:
    """There is no room for a semaphore, which PyTorch would say without a name of what is full."""
    _need_a_mount_namespace()
    script = NO_SEMAPHORE.format(tests=str(Path(__file__).parent))
    inside = 'mount -t tmpfs -o size=1m tmpfs /dev/shm && exec "$0" -c "$1"'
    command = ["unshare", "--mount", "sh", "-c", inside, sys.executable, script]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    told = [line.partition("(")[0] for line in ended.stdout.splitlines()]
    assert len(told) == 2, ended.stdout + ended.stderr
    assert all(line.startswith("StorageError") for line in told), told
    assert "the training loader could not be started" in ended.stdout
    assert "the validation loader could not be started" in ended.stdout


def test_a_kernel_that_times_out_is_not_the_loaders(train_loader: Any) -> None:
    loader = train_loader(1)
    loader.batch(0, 0)
    error = RuntimeError("CUDA error: the launch timed out and was terminated")
    assert loader.explain(error) is error


# --- validation


def test_validations_workers_live_only_while_it_validates() -> None:
    loader = ValLoader(Numbers(), 5, plan(2, persistent_workers=False))
    for _ in range(2):
        assert workers_of_this_process() == []
        seen, most = [], 0
        for batch in loader:
            seen += [image for _, image in batch["who"]]
            most = max(most, len(workers_of_this_process()))
        assert seen == list(range(IMAGES))
        assert most == 2
    assert workers_of_this_process() == []
    assert (len(loader), loader.num_workers) == (5, 2)


def test_validation_that_is_left_early_leaves_no_worker() -> None:
    batches = iter(ValLoader(Numbers(), 5, plan(2, persistent_workers=False)))
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert workers_of_this_process() == []


def test_a_failure_in_validation_names_its_own_settings() -> None:
    loader = ValLoader(Numbers(stuck_at=7), 5, plan(1, timeout_s=1.0, persistent_workers=False))
    with pytest.raises(SainetError) as caught:
        list(loader)
    assert "validation loader" in caught.value.message
    assert "loader.val.timeout_s" in (caught.value.hint or "")
    assert workers_of_this_process() == [], "a stuck worker is ended too"
