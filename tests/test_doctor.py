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
from sainet.hardware.block_device import DiskKind
from sainet.hardware.gpu import Gpu, GpuProcess, GpuReading, UnreadableGpu
from sainet.hardware.machine import Machine, Versions
from sainet.hardware.ram import RamReading
from sainet.hardware.storage import Disk, Shm
from sainet.report.doctor import DataOnDisk, Finding, diagnose, diagnose_data

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
        "sainet", "python", "torch", "ultralytics", "nvidia driver", "gpu 0", "ram", "cpus", "/dev/shm",
        "runs and cache",
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
    processes = (GpuProcess(4711, 29 * GIB, "python", "ada"), GpuProcess(4712, None))
    busy = replace(H200, used_bytes=30 * GIB, processes=processes)
    found = finding("gpu 0", replace(MACHINE, gpus=replace(MACHINE.gpus, gpus=(busy,))))
    assert found.verdict == "note"
    assert "30.0 GiB in use" in found.value
    assert "in use by process 4711 (python, user ada, 29.0 GiB), 4712:" in (found.hint or "")


def test_a_hidden_gpu_in_use_still_says_so() -> None:
    busy = replace(H200, used_bytes=30 * GIB, visible=False)
    found = finding("gpu 0", replace(MACHINE, gpus=replace(MACHINE.gpus, gpus=(busy, replace(H200, index=1)))))
    assert found.value == "NVIDIA H200, 141.0 GiB, 30.0 GiB in use"
    assert "hidden" in (found.hint or "")


def test_a_gpu_in_mig_mode_is_shown_by_its_instances() -> None:
    instances = tuple(
        Gpu(0, "NVIDIA H200 MIG 3g.71gb", 70 * GIB, 0, uuid=f"MIG-{number}", visible=number == 1) for number in range(2)
    )
    cut = replace(MACHINE, gpus=replace(MACHINE.gpus, gpus=(replace(H200, instances=instances),)))
    found = {item.topic: item for item in diagnose(cut, VERSIONS, DISK) if item.topic.startswith("gpu")}
    assert {topic: item.verdict for topic, item in found.items()} == {
        "gpu 0": "note", "gpu 0 mig 0": "note", "gpu 0 mig 1": "ok",
    }  # fmt: skip
    assert found["gpu 0"].value == "NVIDIA H200, 141.0 GiB, MIG mode, 2 instances"
    assert "CUDA_VISIBLE_DEVICES=MIG-0" in (found["gpu 0 mig 0"].hint or "")
    assert found["gpu 0 mig 1"].value == "NVIDIA H200 MIG 3g.71gb, 70.0 GiB"


def test_what_hides_a_gpu_is_named() -> None:
    instance = Gpu(0, "NVIDIA H200 MIG 7g.141gb", 140 * GIB, 0, uuid="MIG-a")
    hidden = replace(H200, index=1, visible=False)
    for first, hider in ((H200, "CUDA_VISIBLE_DEVICES"), (replace(H200, instances=(instance,)), "the MIG instance")):
        gpus = replace(MACHINE.gpus, gpus=(first, hidden))
        assert (finding("gpu 1", replace(MACHINE, gpus=gpus)).hint or "").startswith(f"hidden by {hider}")


def test_mig_mode_without_instances_is_a_problem() -> None:
    cut = replace(H200, instances=(), visible=False)
    assert finding("gpu 0", replace(MACHINE, gpus=replace(MACHINE.gpus, gpus=(cut,)))).verdict == "problem"
    assert finding("gpu", replace(MACHINE, gpus=replace(MACHINE.gpus, gpus=(cut,)))).value == "none can be used"


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


def test_shm_larger_than_the_ram_limit_says_where_it_ends() -> None:
    small = RamReading(32 * GIB, 4 * GIB, 28 * GIB, "cgroup v2: /sys/fs/cgroup/memory.max")
    found = finding("/dev/shm", replace(MACHINE, ram=small))
    assert (found.verdict, found.hint) == ("note", "what lies here is RAM too, and that ends at 32.0 GiB")


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [("ssd", "ok"), ("unknown", "ok"), ("spinning", "note"), ("network", "note"), ("memory", "note")],
)
def test_disks_that_images_are_slowly_read_from(kind: DiskKind, verdict: str) -> None:
    data, disk = diagnose_data(DataOnDisk(3, 5 * GIB, [replace(DISK, kind=kind)]))
    assert (data.topic, data.value) == ("data", "3 images, 5.0 GiB")
    assert (disk.topic, disk.verdict) == ("data disk", verdict)


def test_few_cpus_starve_a_gpu_and_a_quota_is_worth_a_note() -> None:
    assert "idle GPU time" in (finding("cpus", replace(MACHINE, cpus=2)).hint or "")
    limited = finding("cpus", replace(MACHINE, cpus=16))
    assert (limited.value, limited.verdict) == ("16 of the host's 32", "note")


@pytest.mark.parametrize(
    ("disk", "verdict"),
    [
        (replace(DISK, free_bytes=GIB), "problem"),
        (replace(DISK, writable=False), "problem"),
        (replace(DISK, filesystem="nfs4", kind="network"), "note"),
        (replace(DISK, filesystem="tmpfs", kind="memory"), "note"),
        (replace(DISK, kind="spinning"), "note"),
        (replace(DISK, filesystem="overlay"), "note"),
        (replace(DISK, kind="ssd"), "ok"),
    ],
)
def test_disks_that_runs_should_not_be_kept_on(disk: Disk, verdict: str) -> None:
    assert finding("runs and cache", disk=disk).verdict == verdict


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
    assert set(report) == {"findings", "machine", "profile"}
    assert report["profile"] is None
    assert {"topic", "value", "verdict", "hint"} == set(report["findings"][0])
    assert report["machine"]["ram"]["limit_bytes"] > GIB
    assert report["machine"]["runs_disk"]["path"] == str(tmp_path)
    assert report["machine"]["versions"]["sainet"] == sainet.__version__


def a_set(folder: Path) -> Path:
    for split in ("train", "val"):
        (folder / split).mkdir(parents=True)
        (folder / split / "a.jpg").write_bytes(bytes(1000))
    (folder / "data.yaml").write_text("train: train\nval: val\nnames: [smoke]\n")
    return folder / "data.yaml"


def test_the_data_and_their_disk_are_shown(tmp_path: Path) -> None:
    report = json.loads(run_doctor("--json", "--data", str(a_set(tmp_path / "set"))).stdout)
    assert (report["machine"]["data"]["images"], report["machine"]["data"]["file_bytes"]) == (2, 2000)
    (disk,) = report["machine"]["data"]["disks"]
    assert disk["path"] == str(tmp_path / "set" / "train")
    assert {"data", "data disk"} <= {finding["topic"] for finding in report["findings"]}


def test_data_that_are_not_good_are_a_finding(tmp_path: Path) -> None:
    yaml = a_set(tmp_path / "set")
    (tmp_path / "set" / "val" / "a.jpg").unlink()
    result = run_doctor("--json", "--data", str(yaml))
    assert result.returncode == 0
    (found,) = [item for item in json.loads(result.stdout)["findings"] if item["topic"] == "data"]
    assert found["verdict"] == "problem"
    assert f"{yaml}:2: `val` has no images" in found["value"]


def test_the_machine_is_compared_with_a_profile_and_its_tier(tmp_path: Path) -> None:
    """On a machine with one H200 and one more that the profile does not name."""
    script = tmp_path / "script"
    script.write_text("gpu 143771 500 0 NVIDIA H200\ngpu 143771 500 0 NVIDIA H200\n")
    environ = nvml_environment(build_nvml(tmp_path), script)
    result = run_doctor("--profile", "h200", "--tier", "stable", "--json", environ=environ)
    assert (result.returncode, result.stderr) == (0, "")
    report = json.loads(result.stdout)
    assert (report["profile"]["name"], report["profile"]["tier"]) == ("h200", "stable")
    assert report["profile"]["hardware"]["vram_gib"] == 140
    (line,) = [item for item in report["findings"] if item["topic"] == "profile h200"]
    assert "GPUs, GPU model, VRAM" in line["value"]


def test_the_profiles_own_cuda_visible_devices_counts_and_its_tiers(tmp_path: Path) -> None:
    """It goes over that of the shell in the training too."""
    profile = tmp_path / "mine.yaml"
    text = "hardware: {gpu: A100, gpus: 2}\nenv:\n  CUDA_VISIBLE_DEVICES: 0,1\n"
    profile.write_text(f"{text}tiers:\n  huge:\n    hardware: {{vram_gib: 80}}\n")
    script = tmp_path / "script"
    script.write_text("gpu 40960 500 0 NVIDIA A100\n" * 2)
    environ = nvml_environment(build_nvml(tmp_path), script, CUDA_VISIBLE_DEVICES="0")
    result = run_doctor("--profile", str(profile), "--json", environ=environ)
    (line,) = [item for item in json.loads(result.stdout)["findings"] if "mine" in item["topic"]]
    assert (line["topic"], line["value"]) == ("profile mine", "as it expects, or more: GPUs, GPU model")
    result = run_doctor("--profile", str(profile), "--tier", "huge", "--json", environ=environ)
    (less,) = [item for item in json.loads(result.stdout)["findings"] if item["topic"].startswith("mine:")]
    assert (less["topic"], less["value"]) == ("mine: VRAM", "40.0 GiB of 80 GiB")


def test_the_table_shows_the_instances_of_a_gpu_in_mig_mode(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(
        "gpu 40960 9000 0 NVIDIA A100\nmig 0\n"
        "instance 0 0 19968 12 NVIDIA A100 MIG 3g.20gb\ninstance 0 3 4864 12 NVIDIA A100 MIG 1g.5gb\n"
    )
    environ = nvml_environment(build_nvml(tmp_path), script, CUDA_VISIBLE_DEVICES="MIG-03000000-fake")
    lines = run_doctor(environ=environ).stdout.splitlines()
    seen = [line.split()[0] for line in lines if "gpu 0 mig" in line]
    assert seen == ["note", "ok"]


def test_a_tier_without_a_profile_is_refused() -> None:
    result = run_doctor("--tier", "stable")
    assert result.returncode != 0
    assert "--profile" in result.stderr


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
