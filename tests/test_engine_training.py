"""A real stage 2 of seconds: what it starts from, what it leaves behind, and by which metric it chooses."""

import io
import json
import os
import pickletools
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import PlanMaker, TinySetMaker, WorkerResult, make_plan, make_tiny_set, worker_result
from engine_cases import all_of, checkpoint, first, listing

from sainet.protocol import (
    EpochDone,
    Plan,
    TrainingDone,
    TrainingStarted,
)

pytestmark = pytest.mark.train

HEAD = [f"model.22.cv3.{level}.2.{part}" for level in range(3) for part in ("weight", "bias")]
"""The tensors of the head that have one row for each class."""


# --- stage 2 starts from what stage 1 knows about smoke


@pytest.mark.parametrize(
    "names", [("fire", "smoke"), ("smoke", "fire"), ("Smoke",), ("FIRE", "SMOKE")], ids=lambda names: "-".join(names)
)
def test_the_smoke_row_of_the_head_is_carried_over_by_name(
    engine: SimpleNamespace,
    tiny_set: TinySetMaker,
    plan_for: PlanMaker,
    stage_1_weights: Path,
    names: tuple[str, ...],
) -> None:
    """Whatever order and case the second data set has its classes in: stage 1 has fire, smoke."""
    training = engine.training(plan_for(tiny_set(names), stage=2, weights=stage_1_weights, classes=["smoke"]))
    training.setup_model()
    before = checkpoint(stage_1_weights)["model"].float().state_dict()
    after = training.model.state_dict()
    for key in HEAD:
        assert after[key].shape[0] == 1
        assert torch.equal(after[key][0], before[key][1]), key
        if key.endswith("weight"):  # in so short a training the biases of the two classes stay the same
            assert not torch.equal(after[key][0], before[key][0]), key
    assert training.transferred == "355/355"


# --- one real stage 2, watched from all sides


GUARD = """
import os, socket

def note(what):
    with open(os.environ["NETWORK_LOG"], "a") as stream:
        stream.write(f"{what}\\n")
    raise OSError(f"the network is not for this process: {what}")

def guarded(original, name):
    def call(*arguments, **options):
        host = arguments[0]
        if isinstance(host, socket.socket):
            if host.family == socket.AF_UNIX:
                return original(*arguments, **options)
            host = arguments[-1][0]
        if host not in ("localhost", "127.0.0.1", "::1", None, ""):
            note(f"{name} {host}")
        return original(*arguments, **options)
    return call

for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
    setattr(socket, name, guarded(getattr(socket, name), name))
for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, guarded(getattr(socket.socket, name), name))
"""


class Watched(SimpleNamespace):
    """A stage 2 that was trained for one epoch in surroundings that are watched."""

    plan: Plan
    result: WorkerResult
    network_log: Path
    env: dict[str, str]
    home: Path
    before: dict[str, tuple[int, str]]
    after: dict[str, tuple[int, str]]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, stage_1_weights: Path) -> Watched:
    """The data cannot be written, the network is refused, and the user has Ultralytics settings of their own."""
    root = tmp_path_factory.mktemp("watched")
    (root / "guard").mkdir()
    (root / "guard" / "sitecustomize.py").write_text(GUARD, encoding="utf-8")
    home = root / "home" / ".config" / "Ultralytics"
    home.mkdir(parents=True)
    (home / "settings.json").write_text('{"settings_version": "0.0.1", "wandb": true}', encoding="utf-8")
    env = {
        "PYTHONPATH": str(root / "guard"),
        "NETWORK_LOG": str(root / "network.log"),
        "HOME": str(root / "home"),
        "XDG_CONFIG_HOME": str(root / "home" / ".config"),
        "YOLO_CONFIG_DIR": str(root / "home" / ".config"),
        "RANK": "0",
        "WORLD_SIZE": "1",
    }
    data = make_tiny_set(root / "set", ("smoke", "fire"))
    for path in [*data.root.rglob("*"), data.root]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before, home_before = listing(data.root), listing(root / "home")
    # lr0 alone would leave the biases their warm-up rate.
    still = {"lr0": 0.0, "warmup_epochs": 0.0, "optimizer": "SGD"}
    plan = make_plan(
        root / "run", data, stage=2, weights=stage_1_weights, classes=["smoke"], cache="disk", plots=True, **still
    )
    result = worker_result(plan, env=env)
    assert result.exit_code == 0, result.log
    return Watched(
        plan=plan,
        result=result,
        network_log=root / "network.log",
        env=env,
        home_before=home_before,
        home_after=listing(root / "home"),
        before=before,
        after=listing(data.root),
    )


def test_nothing_is_written_into_the_data(watched: Watched) -> None:
    """No label cache, no decoded image beside the images, no JPEG rewritten; both caches lie in the run."""
    assert watched.after == watched.before
    assert len(list((watched.plan.cache_dir / "images").glob("*.npy"))) == 6
    assert {path.name for path in watched.plan.cache_dir.glob("*.cache")} == {
        "stage-2-train.labels.cache",
        "stage-2-val.labels.cache",
    }


def test_the_training_asks_for_no_network(watched: Watched) -> None:
    assert not watched.network_log.exists(), watched.network_log.read_text(encoding="utf-8")


def test_the_guard_would_have_caught_it(watched: Watched, tmp_path: Path) -> None:
    """Plain Ultralytics asks the network as soon as it is imported."""
    env = {**os.environ, **watched.env, "NETWORK_LOG": str(tmp_path / "network.log")}
    env.pop("YOLO_OFFLINE", None)
    subprocess.run([sys.executable, "-c", "import ultralytics.utils"], env=env, capture_output=True)
    assert "getaddrinfo one.one.one.one" in (tmp_path / "network.log").read_text(encoding="utf-8")


def test_the_users_ultralytics_settings_are_neither_read_nor_written(watched: Watched) -> None:
    assert watched.home_after == watched.home_before
    ours = json.loads((watched.plan.cache_dir / "ultralytics" / "Ultralytics" / "settings.json").read_text())
    assert ours["wandb"] is False


def test_all_of_stage_1_fits_and_the_detector_is_called_smoke(watched: Watched, stage_1_weights: Path) -> None:
    assert first(TrainingStarted, watched.result.events).transferred == "355/355"
    best = checkpoint(watched.plan.weights_dir / "best.pt")
    assert best["model"].names == {0: "smoke"}
    assert best["train_args"]["single_cls"] is False
    before = checkpoint(stage_1_weights)["model"].state_dict()
    for key in HEAD:  # nothing was learned at a rate of zero
        assert torch.equal(best["model"].state_dict()[key][0], before[key][1])


def test_the_events_tell_the_whole_training(watched: Watched) -> None:
    events = [event.event for event in watched.result.events if event.event != "warning"]
    assert events == [
        *["phase"] * 2,  # building the model, scanning labels
        "checkpoint",  # before the first batch
        "training_started",
        *["phase", "batch", "phase", "epoch", "checkpoint"],  # training, then validating
        *["phase", "training_done"],
    ]
    done = first(TrainingDone, watched.result.events)
    assert (done.epochs_trained, done.stopped_early) == (1, False)
    assert set(done.metrics) == {"precision", "recall", "map50", "map50-95"}


def test_a_cluster_that_numbers_its_containers_gets_an_ordinary_training(watched: Watched) -> None:
    """With RANK set, Ultralytics would wait for others in a process group that nobody made."""
    assert watched.env["RANK"] == "0"
    assert first(TrainingDone, watched.result.events)


def test_only_whole_weights_are_left_and_none_in_the_attempt(watched: Watched) -> None:
    assert sorted(path.name for path in watched.plan.weights_dir.iterdir()) == ["best.pt", "last.pt"]
    assert not list(watched.plan.attempt_dir.rglob("*.pt"))
    assert {"args.yaml", "results.csv", "results.png", "labels.jpg"} <= {
        path.name for path in watched.plan.attempt_dir.iterdir()
    }


WITHOUT_SAINET = """
import sys

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "sainet":
            raise ImportError("sainet is not installed here")

sys.meta_path.insert(0, Refusing())
from ultralytics import YOLO

model = YOLO(sys.argv[1])
found = model.predict(sys.argv[2], imgsz=64, device="cpu", verbose=False, save=False)
assert len(found) == 1
assert not any(name.startswith("sainet") for name in sys.modules)
print("names", model.names)
"""


def test_the_weights_predict_where_sainet_is_not_installed(watched: Watched, tmp_path: Path) -> None:
    image = Path(watched.plan.data.val[0]) / "1000.jpg"
    plain = subprocess.run(
        [sys.executable, "-I", "-c", WITHOUT_SAINET, str(watched.plan.weights_dir / "best.pt"), str(image)],
        env={**os.environ, "YOLO_OFFLINE": "1", "YOLO_CONFIG_DIR": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert plain.returncode == 0, plain.stderr
    assert "names {0: 'smoke'}" in plain.stdout


def globals_of(path: Path) -> set[str]:
    """`module name` of every class and function that unpickling the weights would import."""
    with zipfile.ZipFile(path) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("data.pkl")]
        operations = list(pickletools.genops(io.BytesIO(archive.read(name))))
    assert not [code for code, _, _ in operations if code.name == "STACK_GLOBAL"], "these would have to be read too"
    return {str(argument) for code, argument, _ in operations if code.name == "GLOBAL"}


@pytest.mark.parametrize("name", ["best.pt", "last.pt"])
def test_nothing_of_sainet_is_inside_the_weights(watched: Watched, name: str) -> None:
    found = globals_of(watched.plan.weights_dir / name)
    assert any(entry.startswith("ultralytics.nn.tasks") for entry in found), "the reading of the file works"
    assert not [entry for entry in found if entry.startswith("sainet")]


# --- the metric that decides


SCRIPT = {  # by epoch
    "map50-95": [0.1, 0.3, 0.2, 0.2, 0.2, 0.2],
    "map50": [0.2, 0.3, 0.6, 0.5, 0.5, 0.5],
    "recall": [0.9, 0.5, 0.4, 0.4, 0.4, 0.4],
}


@pytest.mark.parametrize(("metric", "best_epoch"), [("map50-95", 1), ("map50", 2), ("recall", 0)])
def test_the_chosen_metric_decides_about_best_pt_and_about_stopping_early(
    engine: SimpleNamespace,
    tiny_set: TinySetMaker,
    plan_for: PlanMaker,
    monkeypatch: pytest.MonkeyPatch,
    metric: str,
    best_epoch: int,
) -> None:
    from ultralytics.models.yolo.detect import DetectionValidator

    from sainet.engine.validation import _METRICS

    validated = iter(range(100))
    get_stats = DetectionValidator.get_stats

    def scripted(self: Any) -> dict[str, Any]:
        epoch = min(next(validated), 5)
        chosen = {_METRICS[name]: values[epoch] for name, values in SCRIPT.items()}
        return {**get_stats(self), **chosen, "fitness": SCRIPT["map50-95"][epoch]}  # upstream's own is map50-95

    monkeypatch.setattr(DetectionValidator, "get_stats", scripted)
    plan = plan_for(tiny_set(), select_by=metric, epochs=6, patience=2)
    events = engine.train(plan)

    epochs = all_of(EpochDone, events)
    assert len(epochs) == best_epoch + 2 + 1, "patience counts from the best epoch by this metric"
    for event in epochs:
        assert event.fitness == event.metrics[metric] == SCRIPT[metric][event.epoch]
    assert [event.epoch for event in epochs if event.is_best][-1] == best_epoch
    best = checkpoint(plan.weights_dir / "best.pt")["train_metrics"]
    assert best["fitness"] == best[_METRICS[metric]] == SCRIPT[metric][best_epoch]
    done = first(TrainingDone, events)
    assert (done.epochs_trained, done.stopped_early) == (best_epoch + 3, True)


# --- memory


def test_running_out_of_memory_never_halves_the_batch(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Upstream would go on with half the batch in the first epoch, which is another training."""
    calls: list[int] = []

    def out_of_memory(batch: Any) -> Any:
        calls.append(len(batch["im_file"]))
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    training = engine.training(plan_for(tiny_set()))
    monkeypatch.setattr(training, "preprocess_batch", out_of_memory)
    with pytest.raises(RuntimeError, match="CUDA out of memory"):
        training.train()
    assert calls == [4]
    assert training.batch_size == training.args.batch == 4
