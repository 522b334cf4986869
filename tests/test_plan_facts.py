"""What a dry run says about how a stage would be trained here, and the option that chooses the engine."""

import json
from pathlib import Path
from typing import Any

import pytest
from config_cases import on_gpu, settle
from running import sainet

from sainet.cli.plan_facts import fact_lines, plan_facts
from sainet.config.resolve import Resolved
from sainet.run.preflight import by_settings


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def lines(resolved: Resolved, *, cpus: int = 16) -> dict[str, str]:
    return fact_lines(by_settings(resolved, cpus))


def facts(resolved: Resolved, *, cpus: int = 16) -> dict[str, Any]:
    return json.loads(json.dumps(plan_facts(by_settings(resolved, cpus))))  # type: ignore[no-any-return]


def test_a_profile_meets_the_machine() -> None:
    assert lines(settle(profile="a10g"), cpus=4) == {
        "engine": "sainet",
        "image shape": "832x1440 (H x W)",
        "optimizer step": "72 images (3 x 24)",
        "learning rate": "0.01125 (lr0 0.01 x 72 / 64 images a step)",
        "loader": "4 workers, each 3 batches ahead, pinned, kept between epochs, time-out 300 s",
        "validation loader": "2 workers, each 2 batches ahead, pinned, only while validating, time-out 300 s",
        "exact state saved": "about every 5 min, and at each epoch's end",
    }


def test_programs_get_the_same() -> None:
    assert facts(settle(profile="a10g"), cpus=4) == {
        "engine": "sainet",
        "shape": [832, 1440],
        "workers": 4,
        "loader": {
            "workers": 4, "prefetch_factor": 3, "pin_memory": True, "persistent_workers": True, "timeout_s": 300.0,
        },
        "val_loader": {
            "workers": 2, "prefetch_factor": 2, "pin_memory": True, "persistent_workers": False, "timeout_s": 300.0,
        },
        "effective_batch": 72,
        "micro_batch": {"pieces": 1, "images": 24},
        "learning_rate": pytest.approx(0.01125),
        "checkpoint_minutes": 5.0,
    }  # fmt: skip


def test_the_stock_engine_is_described_as_what_it_is() -> None:
    stock = on_gpu("train.engine=stock")
    assert lines(stock) | {"optimizer step": "", "image shape": "", "learning rate": ""} == {
        "engine": "stock (Ultralytics' own loader and augmentation)",
        "image shape": "",
        "optimizer step": "",
        "learning rate": "",
        "loader": "4 workers, each 4 batches ahead, pinned, kept between epochs, no time-out",
        "validation loader": "8 workers, each 2 batches ahead, pinned, kept between validations, no time-out",
        "exact state saved": "never: a resume starts at the last whole epoch",
    }
    assert facts(stock)["checkpoint_minutes"] is None


def test_pieces_say_what_batchnorm_sees() -> None:
    pieces = on_gpu("train.batch=30", "train.micro_batch=4")
    assert lines(pieces)["optimizer step"] == (
        "60 images (2 x 30), each batch in 4 pieces of at most 8 images, which is what BatchNorm sees"
    )
    assert facts(pieces)["micro_batch"] == {"pieces": 4, "images": 8}


def test_a_learning_rate_that_ultralytics_chooses_is_not_named() -> None:
    auto = on_gpu("optim.optimizer=auto")
    assert lines(auto)["learning rate"] == "Ultralytics chooses"
    assert facts(auto)["learning_rate"] is None
    assert lines(on_gpu())["learning rate"] == "0.01 (lr0)"


def test_without_workers_the_training_process_loads() -> None:
    assert lines(settle())["loader"] == lines(settle())["validation loader"] == "in the training process, not pinned"
    assert lines(on_gpu("loader.workers=1", "loader.prefetch_factor=1", "loader.persistent_workers=false"))[
        "loader"
    ].startswith("1 worker, each 1 batch ahead, pinned, new in each epoch, ")


# --- the option


def dry_run(folder: Path, *more: str) -> dict[str, Any]:
    done = sainet("train", "--stage", "1", "--profile", "cpu", "--dry-run", "--json", *more, cwd=folder)
    assert done.stdout, done.stderr
    return dict(json.loads(done.stdout))


def test_the_engine_is_an_option_over_the_key(tmp_path: Path) -> None:
    Path("sainet.yaml").write_text("train: {engine: stock}\n")
    plan = dry_run(tmp_path, "--engine", "sainet", "--workers", "2")
    assert (plan["engine"], plan["origins"]["train.engine"]) == ("sainet", "--engine sainet")
    assert (plan["loader"]["workers"], plan["val_loader"]["workers"]) == (2, 1)
    assert not [text for text in plan["warnings"] if "refused" in text]
    refused = [text for text in dry_run(tmp_path, "--workers", "2")["warnings"] if "refused" in text]
    assert refused == [
        "a real start is refused: loader.workers: the stock engine loads in its own process on a CPU",
    ]


def test_both_commands_know_the_option_and_its_two_values(tmp_path: Path) -> None:
    done = sainet("full-workflow", "--profile", "cpu", "--engine", "fast", "--dry-run", cwd=tmp_path)
    assert done.returncode == 2
    assert "--engine fast: `train.engine` should be 'sainet' or 'stock'; it is \"fast\"" in done.stderr
