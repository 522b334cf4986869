"""`sainet doctor`: the judgement over machines that we do not have, and the command on the one that we have."""

import json
import subprocess
import sys
import sysconfig
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import GIB, MIB, build_nvml, nvml_environment

import sainet
from sainet.hardware.gpu import Gpu, GpuProcess, GpuReading, UnreadableGpu
from sainet.hardware.machine import Machine, Versions
from sainet.hardware.ram import RamReading
from sainet.hardware.storage import Disk, Shm
from sainet.report.doctor import Finding, diagnose

H200 = Gpu(0, "NVIDIA H200", 141 * GIB, 300 * MIB)
MACHINE = Machine(
    ram=RamReading(200 * GIB, 20 * GIB, 180 * GIB, "the host's memory"),
    cpus=32,
    gpus=GpuReading((H200,), driver="580.65.06", cuda=(13, 0)),
    shm=Shm(100 * GIB, 0),
    host_ram_bytes=200 * GIB,
    host_cpus=32,
)
VERSIONS = Versions(sainet="0.1.0", python="3.11.9", torch="2.9.1+cu126", torch_cuda="12.6", ultralytics="8.4.190")
DISK = Disk(Path("/data"), 500 * GIB, 1000 * GIB, "ext4")
NO_GPU = GpuReading((), "no NVIDIA driver is installed")


def finding(topic: str, machine: Machine = MACHINE, versions: Versions = VERSIONS, disk: Disk = DISK) -> Finding:
    (found,) = [finding for finding in diagnose(machine, versions, disk) if finding.topic == topic]
    return found


def test_a_good_machine_has_nothing_to_say() -> None:
    findings = diagnose(MACHINE, VERSIONS, DISK)
    assert [finding.topic for finding in findings] == [
        "sainet", "python", "torch", "ultralytics", "nvidia driver", "gpu 0", "ram", "cpus", "/dev/shm", "runs folder",
    ]  # fmt: skip
    assert {(finding.verdict, finding.hint) for finding in findings} == {("ok", None)}


def test_no_gpu_leaves_the_cpu_profile_and_says_why() -> None:
    found = finding("gpu", replace(MACHINE, gpus=NO_GPU))
    assert (found.verdict, found.hint) == ("note", "only the cpu profile trains here")
    assert "no NVIDIA driver is installed" in found.value


def test_a_lost_gpu_is_a_problem() -> None:
    gpus = replace(MACHINE.gpus, unreadable=(UnreadableGpu(1, "GPU is lost"),))
    assert (finding("gpu 1", replace(MACHINE, gpus=gpus)).verdict) == "problem"


def test_a_gpu_in_use_names_who_uses_it() -> None:
    busy = replace(H200, used_bytes=30 * GIB, processes=(GpuProcess(4711, 30 * GIB),))
    found = finding("gpu 0", replace(MACHINE, gpus=replace(MACHINE.gpus, gpus=(busy,))))
    assert found.verdict == "note"
    assert "30.0 GiB in use" in found.value
    assert "4711" in (found.hint or "")


def test_hiding_every_gpu_is_a_problem_hiding_one_is_not() -> None:
    hidden = replace(H200, visible=False)
    gpus = replace(MACHINE.gpus, gpus=(hidden,))
    assert finding("gpu", replace(MACHINE, gpus=gpus)).verdict == "problem"
    gpus = replace(MACHINE.gpus, gpus=(hidden, replace(H200, index=1)))
    findings = diagnose(replace(MACHINE, gpus=gpus), VERSIONS, DISK)
    assert [finding.verdict for finding in findings if finding.topic.startswith("gpu")] == ["note", "ok"]


@pytest.mark.parametrize(
    ("torch_cuda", "driver_cuda", "verdict"),
    [("13.0", (12, 4), "problem"), ("12.6", (12, 4), "ok"), ("12.6", (13, 0), "ok"), (None, (13, 0), "ok")],
)
def test_a_torch_newer_than_the_driver_will_not_see_the_gpu(
    torch_cuda: str | None, driver_cuda: tuple[int, int], verdict: str
) -> None:
    machine = replace(MACHINE, gpus=replace(MACHINE.gpus, cuda=driver_cuda))
    assert finding("nvidia driver", machine, replace(VERSIONS, torch_cuda=torch_cuda)).verdict == verdict


def test_a_torch_without_cuda_is_a_problem_only_beside_a_gpu() -> None:
    cpu_build = replace(VERSIONS, torch="2.9.1+cpu", torch_cuda=None)
    assert finding("torch", MACHINE, cpu_build).verdict == "problem"
    assert finding("torch", replace(MACHINE, gpus=NO_GPU), cpu_build).verdict == "ok"


@pytest.mark.parametrize(
    ("version", "verdict"),
    [
        ("8.4.189", "problem"),
        ("8.4.190", "ok"),
        ("8.4.1000", "ok"),
        ("8.5.0", "problem"),
        ("9.0", "problem"),
        (None, "problem"),
    ],
)
def test_ultralytics_outside_the_supported_range_is_a_problem(version: str | None, verdict: str) -> None:
    assert finding("ultralytics", versions=replace(VERSIONS, ultralytics=version)).verdict == verdict


@pytest.mark.parametrize(("version", "verdict"), [("2.3.1", "problem"), ("2.10.0", "ok"), (None, "problem")])
def test_torch_that_is_missing_or_too_old_is_a_problem(version: str | None, verdict: str) -> None:
    assert finding("torch", versions=replace(VERSIONS, torch=version)).verdict == verdict


def test_a_limit_below_the_host_is_named_with_its_place() -> None:
    ram = RamReading(32 * GIB, 4 * GIB, 28 * GIB, "cgroup v2: /sys/fs/cgroup/memory.max")
    found = finding("ram", replace(MACHINE, ram=ram))
    assert found.verdict == "note"
    assert found.value == "32.0 GiB, 28.0 GiB free (cgroup v2: /sys/fs/cgroup/memory.max)"
    assert "the host has 200.0 GiB" in (found.hint or "")


def test_docker_with_its_default_shm_is_a_problem_that_says_what_to_do() -> None:
    found = finding("/dev/shm", replace(MACHINE, shm=Shm(64 * MIB, 0)))
    assert (found.verdict, found.value) == ("problem", "64 MiB, 64 MiB free")
    assert "--shm-size" in (found.hint or "")


@pytest.mark.parametrize(
    ("shm", "verdict"),
    [(Shm(0, 0), "problem"), (Shm(64 * GIB, 64 * GIB - 1), "problem"), (Shm(4 * GIB, 0), "note")],
)
def test_shm_that_is_missing_full_or_small(shm: Shm, verdict: str) -> None:
    assert finding("/dev/shm", replace(MACHINE, shm=shm)).verdict == verdict


def test_few_cpus_starve_a_gpu_and_a_quota_is_worth_a_note() -> None:
    assert "idle GPU time" in (finding("cpus", replace(MACHINE, cpus=2)).hint or "")
    limited = finding("cpus", replace(MACHINE, cpus=16))
    assert (limited.value, limited.verdict) == ("16 of the host's 32", "note")


@pytest.mark.parametrize(
    ("disk", "verdict"),
    [
        (replace(DISK, free_bytes=GIB), "problem"),
        (replace(DISK, writable=False), "problem"),
        (replace(DISK, filesystem="nfs4"), "note"),
        (replace(DISK, filesystem="tmpfs"), "note"),
        (replace(DISK, filesystem="overlay"), "note"),
    ],
)
def test_disks_that_runs_should_not_be_kept_on(disk: Disk, verdict: str) -> None:
    assert finding("runs folder", disk=disk).verdict == verdict


COMMAND = """
import sys, typer
from sainet.cli.doctor import doctor
heavy = {"torch", "ultralytics", "cv2", "rich.table", "psutil", "pynvml"}
assert not heavy & set(sys.modules), "sainet --help would be slow"
app = typer.Typer()
app.command()(doctor)
try:
    app()
finally:
    assert not {"torch", "ultralytics", "cv2"} & set(sys.modules), "doctor must not import them"
"""


def run_doctor(
    *arguments: str, environ: dict[str, str] | None = None, options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *options, "-c", COMMAND, *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


def test_the_command_prints_one_json_object_with_bytes_and_imports_no_torch(tmp_path: Path) -> None:
    result = run_doctor("--json", "--runs-dir", str(tmp_path / "not" / "yet"))
    assert (result.returncode, result.stderr) == (0, "")
    report = json.loads(result.stdout)
    assert set(report) == {"findings", "machine"}
    assert {"topic", "value", "verdict", "hint"} == set(report["findings"][0])
    assert report["machine"]["ram"]["limit_bytes"] > GIB
    assert report["machine"]["runs_disk"]["path"] == str(tmp_path)
    assert report["machine"]["versions"]["sainet"] == sainet.__version__


def test_the_table_shows_the_gpus_of_the_driver(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("driver 580.65.06 13000\ngpu 144384 500 0 NVIDIA H200 [a]\n")
    result = run_doctor(environ=nvml_environment(build_nvml(tmp_path), script))
    assert (result.returncode, result.stderr) == (0, "")
    (line,) = [line for line in result.stdout.splitlines() if "gpu 0" in line]
    assert "NVIDIA H200 [a], 141.0 GiB" in line
    assert "580.65.06 (CUDA up to 13.0)" in result.stdout


def test_the_command_exits_with_1_only_where_torch_or_ultralytics_is_missing(tmp_path: Path) -> None:
    # The packages of this environment, without those two.
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(("torch", "ultralytics")):
            (tmp_path / entry.name).symlink_to(entry)
    environ = {"PYTHONPATH": f"{Path(sainet.__file__).parent.parent}:{tmp_path}"}
    result = run_doctor("--json", environ=environ, options=("-S",))
    assert (result.returncode, result.stderr) == (1, "")
    verdicts = {finding["topic"]: finding for finding in json.loads(result.stdout)["findings"]}
    for package in ("torch", "ultralytics"):
        assert (verdicts[package]["value"], verdicts[package]["verdict"]) == ("not installed", "problem")
