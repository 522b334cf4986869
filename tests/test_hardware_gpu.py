"""GPUs through the real pynvml, over a driver library that reads a script."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fakes import GIB, MIB, build_nvml, nvml_environment

from sainet.hardware.gpu import Gpu, GpuReading, UnreadableGpu, visible_devices, visible_gpus

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
process 0 4711 1000
process 0 4712 24
capability 0 8 0
"""


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
    assert first["processes"] == [{"pid": 4711, "used_bytes": 1000 * MIB}, {"pid": 4712, "used_bytes": 24 * MIB}]
    assert (second["index"], second["processes"], second["visible"]) == (1, [], True)
    assert (first["compute_capability"], second["compute_capability"]) == ([8, 0], None)
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


UUIDS = {0: "GPU-aa11", 1: "GPU-bb22", 2: "GPU-bc33"}


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
    ],
)
def test_visible_devices_as_cuda_reads_them(asked: str | None, expected: list[int]) -> None:
    assert visible_devices(asked, UUIDS) == expected


def test_gpus_of_another_environment_come_in_the_order_of_their_numbers_there() -> None:
    gpus = tuple(Gpu(index, f"card {index}", GIB, 0, uuid=uuid, visible=index == 0) for index, uuid in UUIDS.items())
    reading = GpuReading(gpus, unreadable=(UnreadableGpu(3, "GPU is lost"),))
    assert visible_gpus(reading, {"CUDA_VISIBLE_DEVICES": "3,2,GPU-aa"}) == [gpus[2], gpus[0]]
    assert visible_gpus(reading, {}) == list(gpus)
    assert visible_gpus(reading, {"CUDA_VISIBLE_DEVICES": ""}) == []
