"""The shipped profiles and presets hold the values of the users' documents, and nothing changes them unnoticed.

Two independent checks: the documents' values written out by hand, and a snapshot of everything that resolves.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from config_cases import settle
from fakes import GIB

from sainet.config.library import Profile, profile_names
from sainet.config.resolve import Resolved
from sainet.hardware.gpu import Gpu
from sainet.protocol import Stage
from sainet.run.admission import refusals

SNAPSHOT = Path(__file__).parent / "snapshots" / "shipped_profiles.json"
RENEW = "RENEW_SNAPSHOTS"
"""Not SAINET_...: every variable of that name is a setting."""


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# --- the documents, by hand -------------------------------------------------------------------------------------------

RECTANGLE = [1440, 808]
H200 = {
    "train.device": 0,
    "train.batch": 128,
    "train.imgsz": RECTANGLE,
    "train.amp": True,
    "train.save_period": 5,
    "train.sync_bn": False,
    "loader.workers": 8,
    "loader.prefetch_factor": 2,
    "loader.pin_memory": False,
    "loader.persistent_workers": True,
    "loader.cache": "disk",
    "staging.to": None,
    "hardware.gpu": "H200",
    "hardware.gpus": 1,
    "hardware.vram_gib": 140,
    "hardware.ram_gib": 258,
    "hardware.cpus": 192,
    "hardware.disk_gib": 200,
    "reference.vram_gib": 10.0,
    "reference.ram_gib": 72.5,
    "reference.stage1_hours": [12, 18],
    "reference.stage2_hours": [4, 8],
}
H200_SHM = {
    "train.device": 0,
    "train.batch": 96,
    "train.imgsz": RECTANGLE,
    "train.amp": True,
    "loader.workers": 12,
    "loader.cache": False,
    "staging.to": "shm",
    "hardware.gpu": "H200",
    "hardware.ram_gib": 258,
    "hardware.shm_gib": 125,
    "reference.images": 37413,
    "reference.s_per_batch": 1.24,
    "reference.vram_gib": 105,
    "reference.stage1_hours": [12, 12],
}
A100X2 = {
    "train.device": "0,1",
    "train.batch": 60,
    "train.imgsz": RECTANGLE,
    "train.amp": True,
    "train.sync_bn": True,
    "train.save_period": 5,
    "loader.workers": 8,
    "loader.pin_memory": True,
    "loader.persistent_workers": True,
    "loader.cache": "ram",
    "env.CUDA_VISIBLE_DEVICES": "0,1",
    "env.OMP_NUM_THREADS": "8",
    "env.PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:512",
    "hardware.gpu": "A100",
    "hardware.gpus": 2,
    "hardware.vram_gib": 40,
    "hardware.ram_gib": 500,
    "reference.vram_gib": 32.2,
    "reference.ram_gib": 400,
    "reference.epoch_min": 16.7,
    "reference.stage1_hours": [30, 35],
    "reference.stage2_hours": [8, 12],
    "reference.map50": 0.478,
    "reference.map50_after_epochs": 1,
}
# The document's batches (192, 256, 320) are a classifier's at 224 px; their proportions are kept.
A10G = {
    "train.device": 0,
    "train.batch": 24,
    "train.imgsz": RECTANGLE,
    "train.amp": True,
    "train.compile": True,
    "train.channels_last": True,
    "train.tf32": True,
    "train.lr_scaling": "linear",
    "loader.workers": 12,
    "loader.prefetch_factor": 3,
    "loader.pin_memory": True,
    "loader.persistent_workers": True,
    "hardware.gpu": "A10G",
    "hardware.gpus": 1,
    "hardware.vram_gib": 22.5,  # "23GB" in one place of the document, 23028 MiB in another
    "hardware.ram_gib": 62,
    "hardware.cpus": 16,
    "hardware.storage": "FSx Lustre",
}
DOCUMENTED: dict[tuple[str, str | None], dict[str, Any]] = {
    ("h200", None): H200,
    ("h200", "stable"): H200 | {"train.batch": 96, "loader.workers": 6, "loader.prefetch_factor": 1},
    ("h200", "fast"): H200 | {"loader.workers": 12, "loader.prefetch_factor": 3, "loader.cache": "ram"},
    ("h200", "emergency"): H200
    | {"train.batch": 64, "loader.workers": 4, "loader.prefetch_factor": 1, "loader.cache": False},
    ("h200", "validated-896"): {
        "train.device": 0,
        "train.batch": 128,
        "train.imgsz": 896,
        "train.amp": True,
        "train.save_period": 3,
        "loader.workers": 12,
        "loader.cache": "disk",
        "reference.vram_gib": 56.6,
        "reference.ram_gib": 81,
        "reference.epoch_min": 3.5,
        "reference.stage1_hours": [6.4, 6.4],
        "reference.stage2_hours": None,
    },
    ("h200-shm", None): H200_SHM,
    ("h200-shm", "batch-128"): H200_SHM
    | {
        "train.batch": 128,
        "reference.s_per_batch": 1.07,
        "reference.vram_gib": 138,
        "reference.epoch_min": 6.06,
        "reference.stage1_hours": [9.5, 9.5],
        "reference.map50": 0.467,
        "reference.map50_after_epochs": 1,
    },
    ("a100x2", None): A100X2,
    ("a100x2", "stable"): A100X2 | {"train.batch": 48},
    ("a10g", None): A10G,
    ("a10g", "conservative"): A10G
    | {"train.batch": 18, "train.compile": False, "loader.workers": 8, "loader.prefetch_factor": 2},
    ("a10g", "balanced"): A10G,
    ("a10g", "aggressive"): A10G | {"train.batch": 30, "loader.workers": 16, "loader.prefetch_factor": 4},
    ("cpu", None): {"train.device": "cpu", "loader.workers": 0, "loader.cache": False, "train.amp": False},
}
BOTH_STAGES = {
    "schedule.patience": 10,
    "optim.optimizer": "SGD",
    "optim.lrf": 0.01,
    "optim.momentum": 0.937,
    "optim.weight_decay": 0.0005,
    "optim.warmup_epochs": 5,
    "optim.cos_lr": True,
    "augment.hsv_h": 0.015,
    "augment.hsv_s": 0.7,
    "augment.hsv_v": 0.4,
    "loss.box": 7.5,
    "loss.cls": 0.5,
    "loss.dfl": 1.5,
}
LEARNING: dict[Stage, dict[str, Any]] = {
    1: BOTH_STAGES
    | {
        "weights": "yolov8s.pt",
        "schedule.epochs": 110,
        "schedule.single_cls": False,
        "schedule.classes": ["fire", "smoke"],
        "optim.lr0": 0.01,
        "augment.mosaic": 1.0,
        "augment.mixup": 0.15,
        "augment.copy_paste": 0.1,
    },
    2: BOTH_STAGES
    | {
        "weights": "stage-1",
        "schedule.epochs": 60,
        "schedule.single_cls": True,
        "schedule.classes": ["smoke"],
        "optim.lr0": 0.001,
        "augment.mosaic": 0.5,
        "augment.mixup": 0.1,
        "augment.copy_paste": 0.0,
    },
}
# What the documents leave open is Ultralytics' own default.
STOCK = {
    "schedule.close_mosaic": 10,
    "schedule.seed": 0,
    "optim.warmup_momentum": 0.8,
    "optim.warmup_bias_lr": 0.1,
    "optim.nbs": 64,
    "augment.cutmix": 0.0,
    "augment.degrees": 0.0,
    "augment.translate": 0.1,
    "augment.scale": 0.5,
    "augment.shear": 0.0,
    "augment.perspective": 0.0,
    "augment.flipud": 0.0,
    "augment.fliplr": 0.5,
    "augment.bgr": 0.0,
    "augment.multi_scale": 0.0,
}


OWNED = ("data", "weights", "schedule", "optim", "augment", "loss")


def differences(resolved: Resolved, wanted: dict[str, Any]) -> list[str]:
    values = {key: settings[-1].value for key, settings in resolved.history.items()}
    return [
        f"{key} is {values.get(key)!r}, the document has {value!r}"
        for key, value in wanted.items()
        if (values.get(key), type(values.get(key)) is bool) != (value, type(value) is bool)
    ]


def combinations() -> Iterator[tuple[str, str | None]]:
    for name in profile_names():
        for tier in (None, *Profile(name).tiers):
            yield name, tier


@pytest.mark.parametrize(("profile", "tier"), list(combinations()))
def test_a_profile_holds_what_its_document_says(profile: str, tier: str | None) -> None:
    for stage in LEARNING:
        resolved = settle(stage=stage, profile=profile, tier=tier)
        assert differences(resolved, DOCUMENTED[profile, tier] | LEARNING[stage] | STOCK) == []


def test_the_documents_are_written_out_for_every_tier() -> None:
    assert set(DOCUMENTED) == set(combinations())


def test_the_preset_of_a_stage_is_the_same_on_every_machine() -> None:
    for stage in LEARNING:
        learned = [
            {key: value for key, value in settle(stage=stage, profile=name).config.model_dump().items() if key in OWNED}
            for name in profile_names()
        ]
        assert all(one == learned[0] for one in learned)


# --- the start on the machine that a profile is written for ---------------------------------------------------------

CAPABILITIES = {"H200": (9, 0), "A100": (8, 0), "A10G": (8, 6)}
NOT_YET = {
    "a100x2": ["train.device: several GPUs cannot be used yet"],
}


@pytest.mark.parametrize(("profile", "tier"), list(combinations()))
def test_a_profile_may_start_on_its_own_machine(profile: str, tier: str | None, tmp_path: Path) -> None:
    (tmp_path / "gcc").write_text("#!/bin/sh\n")
    (tmp_path / "gcc").chmod(0o755)
    for stage in LEARNING:
        resolved = settle(stage=stage, profile=profile, tier=tier)
        machine = resolved.config.hardware
        name = str(machine.gpu)
        gpus = [Gpu(i, name, 40 * GIB, 0, compute_capability=CAPABILITIES[name]) for i in range(machine.gpus)]
        found = refusals(resolved, gpus, {"PATH": str(tmp_path)})
        assert [problem.message for problem in found] == NOT_YET.get(profile, [])


# --- the snapshot -----------------------------------------------------------------------------------------------------


def described() -> dict[str, dict[str, list[Any]]]:
    """Every key's value and origin for each stage on `cpu`, then for each profile and tier what differs from that.

    The claims have a page of their own under test (docs/memory.md).
    """
    found = {}
    for stage in LEARNING:
        base = found[f"stage {stage}"] = _described(stage, "cpu", None)
        for profile, tier in combinations():
            now = _described(stage, profile, tier)
            assert base.keys() <= now.keys()
            name = f"stage {stage}, {profile}, tier {tier}" if tier else f"stage {stage}, {profile}"
            found[name] = {key: value for key, value in now.items() if value != base.get(key)}
    return found


def _described(stage: Stage, profile: str, tier: str | None) -> dict[str, list[Any]]:
    history = settle(stage=stage, profile=profile, tier=tier).history
    return {
        key: [settings[-1].value, str(settings[-1].origin)]
        for key, settings in history.items()
        if key != "reference.claims"
    }


def test_what_the_shipped_files_resolve_to_is_what_it_was() -> None:
    now = json.loads(json.dumps(described()))
    if os.environ.get(RENEW):
        SNAPSHOT.parent.mkdir(exist_ok=True)
        SNAPSHOT.write_text(_as_text(now), encoding="utf-8")
    before = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    changed = [
        f"{name}: {key}: {before.get(name, {}).get(key)} -> {now.get(name, {}).get(key)}"
        for name in sorted(before.keys() | now.keys())
        for key in sorted(before.get(name, {}).keys() | now.get(name, {}).keys())
        if before.get(name, {}).get(key) != now.get(name, {}).get(key)
    ]
    listed = "\n".join(changed)
    assert not changed, (
        f"{len(changed)} values or origins differ; if they should: {RENEW}=1 pytest {__file__}\n{listed}"
    )


def _as_text(snapshot: dict[str, dict[str, list[Any]]]) -> str:
    """JSON with a line for each key, so that a change is a line in a diff."""
    blocks = []
    for name, keys in snapshot.items():
        lines = ",\n".join(f"    {json.dumps(key)}: {json.dumps(value)}" for key, value in keys.items())
        blocks.append(f"  {json.dumps(name)}: {{\n{lines}\n  }}")
    return "{\n" + ",\n".join(blocks) + "\n}\n"
