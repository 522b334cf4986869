"""What may start on which machine, and what is refused by name."""

from pathlib import Path

import pytest
from config_cases import on_gpu, settle
from fakes import GIB

from sainet.config.resolve import Resolved
from sainet.errors import Problem
from sainet.hardware.gpu import Gpu, GpuReading
from sainet.hardware.machine import Machine
from sainet.hardware.ram import RamReading
from sainet.hardware.storage import Shm
from sainet.run.admission import refusals
from sainet.run.preflight import Preflight, Standing, Surroundings, inspect

H200 = Gpu(0, "NVIDIA H200", 141 * GIB, 0, uuid="GPU-a", compute_capability=(9, 0))
T4 = Gpu(0, "Tesla T4", 15 * GIB, 0, compute_capability=(7, 5))
P100 = Gpu(0, "Tesla P100", 16 * GIB, 0, compute_capability=(6, 0))
UNKNOWN = Gpu(0, "some card", 16 * GIB, 0)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def problems(resolved: Resolved, *gpus: Gpu, environ: dict[str, str] | None = None) -> list[Problem]:
    return refusals(resolved, gpus, environ or {"PATH": "/usr/bin:/bin"})


def refused(resolved: Resolved, *gpus: Gpu) -> list[str]:
    return [problem.message.partition(":")[0] for problem in problems(resolved, *gpus)]


@pytest.mark.parametrize("engine", ["sainet", "stock"])
def test_a_plain_configuration_is_refused_nothing_where_its_device_is(engine: str) -> None:
    assert refused(on_gpu(f"train.engine={engine}"), H200) == []
    assert refused(settle(sets=[f"train.engine={engine}"])) == []


def test_a_missing_gpu_is_named() -> None:
    (problem,) = problems(on_gpu())
    assert problem.message == "train.device: GPU 0 is not here (none visible)"
    assert refused(on_gpu("train.device=3"), H200, H200) == ["train.device"]


# --- the engines

STOCK_CANNOT = [
    "train.imgsz=[1440, 808]",
    "train.micro_batch=2",
    "loader.prefetch_factor=2",
    "loader.pin_memory=false",
    "loader.persistent_workers=false",
    "loader.timeout_s=60",
    "loader.val.workers=2",
    "loader.val.prefetch_factor=2",
    "loader.val.pin_memory=false",
    "loader.val.timeout_s=60",
]


@pytest.mark.parametrize("setting", STOCK_CANNOT)
def test_what_the_stock_engine_cannot_honour_is_refused_by_name_and_the_other_engine_does_it(setting: str) -> None:
    (problem,) = problems(on_gpu(setting, "train.engine=stock"), H200)
    assert problem.message.startswith(setting.partition("=")[0] + ": the stock engine ")
    assert str(problem.hint).startswith("--engine sainet does it; or ")
    assert refused(on_gpu(setting), H200) == []


def test_workers_on_a_cpu_are_for_our_engine() -> None:
    two = settle(sets=["loader.workers=2", "train.engine=stock"])
    assert refused(two) == ["loader.workers"]
    assert refused(settle(sets=["loader.workers=2", "loader.val.workers=1"])) == []


@pytest.mark.parametrize(
    "setting",
    ["loader.prefetch_factor=4", "loader.pin_memory=true", "loader.timeout_s=300", "train.imgsz=[640, 630]"],
)
def test_what_ultralytics_does_anyway_is_not_refused(setting: str) -> None:
    assert refused(on_gpu(setting, "train.engine=stock"), H200) == []


@pytest.mark.parametrize("engine", ["sainet", "stock"])
def test_several_gpus_are_refused_with_either_engine_and_staging_is_not(engine: str) -> None:
    two = on_gpu("train.device=0,1", "train.sync_bn=true", f"train.engine={engine}", gpus=2)
    assert refused(two, H200, H200) == ["train.device"]
    assert refused(on_gpu("staging.to=shm", f"train.engine={engine}"), H200) == []


def test_sync_bn_on_one_gpu_is_no_more_than_a_warning() -> None:
    alone = on_gpu("train.sync_bn=true")
    assert refused(alone, H200) == []
    assert "train.sync_bn has no effect on one device" in alone.warnings


# --- the machine


@pytest.mark.parametrize(
    "setting",
    [
        "train.amp=true",
        "train.amp=bf16",
        "train.channels_last=true",
        "train.tf32=true",
        "train.tf32=false",
        "loader.pin_memory=true",
        "loader.val.pin_memory=true",
    ],
)
def test_what_would_be_switched_off_in_silence_on_a_cpu_is_refused_by_name(setting: str) -> None:
    assert refused(settle(sets=[setting])) == [setting.partition("=")[0]]


def test_cudnn_is_not_for_a_cpu() -> None:
    sets = ["train.cudnn_benchmark=true", "train.deterministic=false"]
    assert refused(settle(sets=sets)) == ["train.cudnn_benchmark"]
    assert refused(on_gpu(*sets), H200) == []


@pytest.mark.parametrize("setting", ["train.amp=bf16", "train.tf32=true"])
def test_a_gpu_before_ampere_has_neither_bf16_nor_tf32(setting: str) -> None:
    (problem,) = problems(on_gpu(setting), T4)
    assert problem.message.startswith(setting.partition("=")[0])
    assert problem.message.endswith("needs compute capability 8.0; Tesla T4 has 7.5")
    for able in (H200, UNKNOWN):
        assert refused(on_gpu(setting), able) == []
    assert refused(on_gpu("train.tf32=false", "train.amp=fp16"), T4) == []


def test_the_gpu_that_counts_is_the_one_that_the_training_gets() -> None:
    assert refused(on_gpu("train.amp=bf16"), H200, T4) == []
    assert refused(on_gpu("train.amp=bf16", "train.device=1"), H200, T4) == ["train.amp"]


def test_compiling_needs_a_compiler_and_on_a_gpu_one_that_triton_knows() -> None:
    compiled = on_gpu("train.compile=true")
    nothing = {"PATH": ""}
    (problem,) = problems(compiled, H200, environ=nothing)
    assert problem.message == (
        "train.compile: cannot work here: Triton needs a C compiler, and there is no gcc and no clang"
    )
    assert problem.hint == "apt install gcc, or name one in env.CC; or --set train.compile=false"
    (problem,) = problems(settle(sets=["train.compile=true"]), environ=nothing)
    assert "a CPU needs a C++ compiler, and there is no g++" in problem.message
    assert problems(on_gpu(), H200, environ=nothing) == []
    assert "train.compile" in refused(compiled, P100)


def test_the_same_allocator_setting_from_the_shell_and_from_the_profile_must_agree() -> None:
    mine = on_gpu("env.PYTORCH_ALLOC_CONF=max_split_size_mb:512")
    shell = {"PATH": "/usr/bin", "PYTORCH_ALLOC_CONF": "max_split_size_mb:512"}
    (problem,) = problems(mine, H200, environ={**shell, "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"})
    assert problem == Problem(
        "env.PYTORCH_ALLOC_CONF: PYTORCH_CUDA_ALLOC_CONF of your shell is the same setting and differs",
        "--set env.PYTORCH_ALLOC_CONF=max_split_size_mb:512",
        "unset PYTORCH_CUDA_ALLOC_CONF",
    )
    assert problems(mine, H200, environ={**shell, "PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:512"}) == []


# --- where the machine meets the configuration


def machine(*gpus: Gpu, cpus: int = 16) -> Machine:
    ram = RamReading(200 * GIB, 20 * GIB, 180 * GIB, "the host's memory")
    return Machine(ram, cpus, GpuReading(gpus), Shm(100 * GIB, 0), 200 * GIB, cpus)


def look(resolved: Resolved, *gpus: Gpu, cpus: int = 16) -> Preflight:
    around = Surroundings(
        machine(*gpus, cpus=cpus), Path.cwd(), Path("runs/one"), stage_1_weights=None, tiers=dict, tell=lambda _: None
    )
    return inspect(resolved, around, Standing(in_workflow=False), force=False)


def messages(resolved: Resolved, *gpus: Gpu) -> list[str]:
    return [problem.message for problem in look(resolved, *gpus).refusals]


def test_the_profiles_own_cuda_visible_devices_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    t4 = Gpu(1, "Tesla T4", 15 * GIB, 0, uuid="GPU-b", compute_capability=(7, 5))
    assert messages(on_gpu(), H200, t4) == []
    hidden = messages(on_gpu("env.CUDA_VISIBLE_DEVICES=1", "train.device=1"), H200, t4)
    assert hidden == ["train.device: GPU 1 is not here (1 visible)"]
    (swapped,) = messages(on_gpu("env.CUDA_VISIBLE_DEVICES=1,0", "train.amp=bf16"), H200, t4)
    assert swapped.endswith("Tesla T4 has 7.5"), "the GPU that the training will call 0"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert messages(on_gpu(), H200, t4) == ["train.device: GPU 0 is not here (none visible)"]
    assert messages(on_gpu("env.CUDA_VISIBLE_DEVICES=0"), H200, t4) == []


def test_workers_are_lowered_for_training_and_for_validation_unless_they_were_typed() -> None:
    mine = Path("mine.yaml")
    mine.write_text("train: {device: 0}\nloader: {workers: 12, val: {workers: 6}}\n")
    resolved = settle(profile="mine.yaml")
    found = look(resolved, H200, cpus=4)
    assert (found.workers, found.val_workers) == (4, 4)
    assert [text for text in found.warnings if "lowered" in text] == [
        "loader.workers 12 is lowered to 4, each GPU's share of the 4 CPU threads here",
        "loader.val.workers 6 is lowered to 4, each GPU's share of the 4 CPU threads here",
    ]
    typed = settle(profile="mine.yaml", sets=["workers=9", "loader.val.workers=5"])
    found = look(typed, H200, cpus=4)
    assert (found.workers, found.val_workers) == (9, 5)
    assert not [text for text in found.warnings if "lowered" in text]
