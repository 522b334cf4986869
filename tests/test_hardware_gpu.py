"""GPUs through the real pynvml, over a driver library that reads a script."""

import getpass
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fakes import GIB, MIB, build_nvml, nvml_environment

from sainet.hardware.gpu import Gpu, GpuReading, UnreadableGpu, visible_gpus
from sainet.hardware.owner import process_name, process_user
from sainet.hardware.visibility import Device, Place, visible_places

READ = """
import json, sys
from dataclasses import asdict
from sainet.hardware.gpu import read_gpus
readings = [asdict(read_gpus())]
for line in sys.stdin:
    with open(line.strip()) as new, open(sys.argv[1], "w") as script:
        script.write(new.read())
    readings.append(asdict(read_gpus()))
print(json.dumps(readings))
"""

TWO_A100 = """driver 550.54 12040
gpu 40960 1024 0 NVIDIA A100-SXM4-40GB
gpu 40960 3 0 NVIDIA A100-SXM4-40GB
process 0 4200001 1000
process 0 4200002 24
capability 0 8 0
"""
"""The pids are above what Linux gives out, so that no process of this machine has them."""

MIG_AND_WHOLE = """gpu 40960 9000 0 NVIDIA A100-SXM4-40GB
gpu 40960 3 0 NVIDIA A100-SXM4-40GB
capability 0 8 0
mig 0
instance 0 1 19968 8000 NVIDIA A100-SXM4-40GB MIG 3g.20gb
instance 0 4 4864 12 NVIDIA A100-SXM4-40GB MIG 1g.5gb
instanceprocess 0 1 4200001 7900
"""
"""The first device is cut into two instances, with empty slots between them; the second is not."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_nvml(tmp_path_factory.mktemp("nvml"))


def read(library: Path, folder: Path, *scripts: str, **environ: str) -> list[dict[str, Any]]:
    """What `read_gpus` gives in a process of its own: first for one script, then after each further one."""
    files = [folder / f"script-{number}" for number in range(len(scripts))]
    for file, text in zip(files, scripts, strict=True):
        file.write_text(text)
    later = "".join(f"{file}\n" for file in files[1:])
    command = [sys.executable, "-c", READ, str(files[0])]
    environment = nvml_environment(library, files[0], **environ)
    result = subprocess.run(command, env=environment, input=later, capture_output=True, text=True, check=True)
    return list(json.loads(result.stdout))


def test_every_device_with_its_memory_its_processes_and_the_driver(library: Path, tmp_path: Path) -> None:
    (reading,) = read(library, tmp_path, TWO_A100)
    first, second = reading["gpus"]
    assert (first["index"], first["name"]) == (0, "NVIDIA A100-SXM4-40GB")
    assert (first["total_bytes"], first["used_bytes"]) == (40 * GIB, GIB)
    assert [(process["pid"], process["used_bytes"]) for process in first["processes"]] == [
        (4200001, 1000 * MIB),
        (4200002, 24 * MIB),
    ]
    assert (second["index"], second["processes"], second["visible"]) == (1, [], True)
    assert (first["compute_capability"], second["compute_capability"]) == ([8, 0], None)
    assert first["instances"] is None
    assert (reading["driver"], reading["cuda"]) == ("550.54", [12, 4])
    assert reading["unavailable_reason"] is None


def test_memory_that_moves_is_seen_by_the_next_reading(library: Path, tmp_path: Path) -> None:
    before, after = read(library, tmp_path, "gpu 24576 100 0 NVIDIA A10G\n", "gpu 24576 9000 0 NVIDIA A10G\n")
    assert (before["gpus"][0]["used_bytes"], after["gpus"][0]["used_bytes"]) == (100 * MIB, 9000 * MIB)


def test_a_lost_gpu_is_reported_beside_the_healthy_one(library: Path, tmp_path: Path) -> None:
    lost = TWO_A100.replace("1024 0 NVIDIA", "1024 15 NVIDIA", 1)
    _, reading = read(library, tmp_path, TWO_A100, lost)
    assert [gpu["index"] for gpu in reading["gpus"]] == [1]
    assert reading["unreadable"] == [{"index": 0, "reason": "GPU is lost"}]


def test_a_driver_that_does_not_tell_its_processes_still_tells_its_memory(library: Path, tmp_path: Path) -> None:
    (reading,) = read(library, tmp_path, TWO_A100 + "processes 4\n")
    assert [(gpu["used_bytes"], gpu["processes"]) for gpu in reading["gpus"]] == [(GIB, []), (3 * MIB, [])]


def test_when_every_gpu_is_lost_there_is_a_reason(library: Path, tmp_path: Path) -> None:
    (reading,) = read(library, tmp_path, "gpu 24576 0 15 NVIDIA A10G\n")
    assert (reading["gpus"], reading["unavailable_reason"]) == ([], "no GPU answers")


def test_a_driver_without_devices_has_a_reason(library: Path, tmp_path: Path) -> None:
    (reading,) = read(library, tmp_path, "")
    assert (reading["gpus"], reading["unavailable_reason"]) == ([], "the NVIDIA driver is there, but shows no GPU")


def test_a_driver_that_is_not_loaded_has_a_reason_and_is_tried_again(library: Path, tmp_path: Path) -> None:
    failed, healthy = read(library, tmp_path, "init 9\n", TWO_A100)
    assert failed["gpus"] == []
    assert failed["unavailable_reason"] == "the NVIDIA driver does not start (Driver Not Loaded)"
    assert len(healthy["gpus"]) == 2


def test_no_driver_library_has_a_reason(tmp_path: Path) -> None:
    # A broken library first on the path, so that the test also holds where there is a real one.
    (tmp_path / "libnvidia-ml.so.1").write_text("not a library")
    (reading,) = read(tmp_path, tmp_path, "")
    assert reading["gpus"] == []
    assert "no NVIDIA driver" in reading["unavailable_reason"]


def test_hidden_devices_are_still_listed(library: Path, tmp_path: Path) -> None:
    (reading,) = read(library, tmp_path, TWO_A100, CUDA_VISIBLE_DEVICES="1")
    assert [gpu["visible"] for gpu in reading["gpus"]] == [False, True]


def test_a_process_on_a_gpu_has_a_name_and_a_user_where_they_can_be_seen(library: Path, tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as busy:
        try:
            script = f"gpu 24576 100 0 NVIDIA A10G\nprocess 0 {busy.pid} 90\nprocess 0 4200001 5\n"
            (reading,) = read(library, tmp_path, script)
        finally:
            busy.kill()
    seen, hidden = reading["gpus"][0]["processes"]
    assert (seen["pid"], seen["name"], seen["user"]) == (busy.pid, "sleep", getpass.getuser())
    assert (hidden["pid"], hidden["name"], hidden["user"]) == (4200001, None, None)


def test_a_user_without_a_name_is_told_by_number(tmp_path: Path) -> None:
    folder = tmp_path / "proc" / "7"
    folder.mkdir(parents=True)
    (folder / "comm").write_text("train one\n")
    assert process_name(7, tmp_path) == "train one"
    assert process_user(7, tmp_path) == getpass.getuser()
    try:
        os.chown(folder, 4_200_001, -1)
    except PermissionError:
        pytest.skip("only root may give a folder to somebody else")
    assert process_user(7, tmp_path) == "4200001"


# --- MIG


def test_a_gpu_in_mig_mode_lists_its_instances_as_devices(library: Path, tmp_path: Path) -> None:
    (reading,) = read(library, tmp_path, MIG_AND_WHOLE)
    cut, whole = reading["gpus"]
    large, small = cut["instances"]
    assert (large["name"], large["uuid"]) == ("NVIDIA A100-SXM4-40GB MIG 3g.20gb", "MIG-01000000-fake")
    assert (large["total_bytes"], large["used_bytes"]) == (19968 * MIB, 8000 * MIB)
    assert (large["index"], large["compute_capability"]) == (0, [8, 0])
    assert [process["pid"] for process in large["processes"]] == [4200001]
    assert (small["uuid"], small["total_bytes"], small["processes"]) == ("MIG-04000000-fake", 4864 * MIB, [])
    assert whole["instances"] is None


def test_the_gpu_itself_has_the_memory_and_the_processes_of_all_instances(library: Path, tmp_path: Path) -> None:
    (reading,) = read(library, tmp_path, MIG_AND_WHOLE)
    cut = reading["gpus"][0]
    assert (cut["total_bytes"], cut["used_bytes"]) == (40 * GIB, 9000 * MIB)
    assert [process["pid"] for process in cut["processes"]] == [4200001]


def test_a_container_that_may_not_ask_about_the_whole_gpu_sums_its_instances(library: Path, tmp_path: Path) -> None:
    (reading,) = read(library, tmp_path, MIG_AND_WHOLE + "aggregate 4\n")
    assert reading["unreadable"] == []
    cut = reading["gpus"][0]
    assert (cut["total_bytes"], cut["used_bytes"]) == ((19968 + 4864) * MIB, (8000 + 12) * MIB)
    assert (cut["name"], cut["uuid"], len(cut["instances"])) == ("NVIDIA A100-SXM4-40GB", "GPU-00000000-fake", 2)


def test_a_gpu_in_mig_mode_without_instances_cannot_be_seen(library: Path, tmp_path: Path) -> None:
    (reading,) = read(library, tmp_path, "gpu 40960 3 0 NVIDIA A100-SXM4-40GB\nmig 0\n")
    assert [(gpu["instances"], gpu["visible"]) for gpu in reading["gpus"]] == [([], False)]


@pytest.mark.parametrize(
    ("environ", "gpus", "instances"),
    [
        ({}, [True, False], [True, False]),
        ({"CUDA_VISIBLE_DEVICES": "MIG-04000000-fake"}, [True, False], [False, True]),
        ({"CUDA_VISIBLE_DEVICES": "1"}, [False, True], [False, False]),
    ],
)
def test_one_process_sees_one_instance_or_whole_gpus(
    library: Path, tmp_path: Path, environ: dict[str, str], gpus: list[bool], instances: list[bool]
) -> None:
    (reading,) = read(library, tmp_path, MIG_AND_WHOLE, **environ)
    assert [gpu["visible"] for gpu in reading["gpus"]] == gpus
    assert [instance["visible"] for instance in reading["gpus"][0]["instances"]] == instances


# --- what CUDA shows

WHOLE = {0: Device("GPU-aa11"), 1: Device("GPU-bb22"), 2: Device("GPU-bc33")}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("-1", []),
        ("2,0", [2, 0]),
        ("0,-1,1", [0]),
        ("0,7,1", [0]),
        ("0,1,0", []),
        (" 1 ", [1]),
        ("GPU-bb", [1]),
        ("GPU-b", []),
        ("bb22", []),
        ("MIG-bb22", []),
    ],
)
def test_visible_devices_as_cuda_reads_them(asked: str | None, expected: list[int]) -> None:
    assert visible_places(asked, WHOLE) == [(index, None) for index in expected]


CUT = {0: Device("GPU-aa"), 1: Device("GPU-bb", ["MIG-b1", "MIG-b2"]), 2: Device("GPU-cc", ["MIG-c1"])}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (None, [(1, 0)]),
        ("MIG-b2", [(1, 1)]),
        ("MIG-b2,MIG-c1", [(1, 1)]),
        ("MIG-c1,MIG-b2", [(2, 0)]),
        ("MIG-b", []),
        ("1", [(1, 0)]),
        ("GPU-c", [(2, 0)]),
        ("0", [(0, None)]),
        ("0,1", [(1, 0)]),
        ("MIG-b1,MIG-b1", []),
    ],
)
def test_an_instance_is_seen_alone(asked: str | None, expected: list[Place]) -> None:
    assert visible_places(asked, CUT) == expected


def test_a_number_of_a_gpu_in_mig_mode_without_instances_ends_the_list() -> None:
    devices = {0: Device("GPU-aa", []), 1: Device("GPU-bb")}
    assert visible_places("1,0", devices) == [(1, None)]
    assert visible_places("0,1", devices) == []
    assert visible_places(None, devices) == [(1, None)]


UUIDS = {0: "GPU-aa11", 1: "GPU-bb22", 2: "GPU-bc33"}


def test_gpus_of_another_environment_come_in_the_order_of_their_numbers_there() -> None:
    gpus = tuple(Gpu(index, f"card {index}", GIB, 0, uuid=uuid, visible=index == 0) for index, uuid in UUIDS.items())
    reading = GpuReading(gpus, unreadable=(UnreadableGpu(3, "GPU is lost"),))
    assert visible_gpus(reading, {"CUDA_VISIBLE_DEVICES": "3,2,GPU-aa"}) == [gpus[2], gpus[0]]
    assert visible_gpus(reading, {}) == list(gpus)
    assert visible_gpus(reading, {"CUDA_VISIBLE_DEVICES": ""}) == []


def test_an_instance_takes_the_place_of_its_gpu() -> None:
    small = Gpu(0, "card MIG 1g", GIB, 0, uuid="MIG-a")
    reading = GpuReading((Gpu(0, "card", 8 * GIB, 0, uuid="GPU-a", instances=(small,)), Gpu(1, "card", 8 * GIB, 0)))
    assert visible_gpus(reading, {}) == [small]
    assert visible_gpus(reading, {"CUDA_VISIBLE_DEVICES": "MIG-a"}) == [small]
    assert visible_gpus(reading, {"CUDA_VISIBLE_DEVICES": "1"}) == [reading.gpus[1]]
