"""The factor that a real run leaves behind for the predictions after it."""

import json
import shutil
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from conftest import DiskMaker

from sainet.errors import SainetError, StorageError
from sainet.memory import calibration

GIB = 1024**3


def stored(folder: Path, name: str = "a card", **changes: Any) -> calibration.Measurement:
    values = {"predicted_bytes": 10 * GIB, "measured_bytes": 11 * GIB, "configuration": "batch 8", **changes}
    return calibration.store(folder, name, **values)[0]


def test_what_was_measured_is_found_again(tmp_path: Path) -> None:
    folder = tmp_path / "not there yet"
    stored(folder, "a card")
    stored(folder, "cpu", measured_bytes=8 * GIB, configuration="batch 4")
    found = calibration.read(folder)
    assert found.factor("a card") == pytest.approx(1.1)
    assert found.factor("cpu") == pytest.approx(0.8)
    kept = found.measurement("cpu")
    assert kept is not None
    assert kept.configuration == "batch 4"
    assert abs(kept.time_s - time.time()) < 60


def test_nothing_measured_is_no_factor(tmp_path: Path) -> None:
    assert calibration.read(tmp_path).factor("a card") is None
    assert calibration.read(tmp_path).factor(None) is None


def test_the_newest_run_counts(tmp_path: Path) -> None:
    stored(tmp_path)
    stored(tmp_path, measured_bytes=12 * GIB)
    assert calibration.read(tmp_path).factor("a card") == pytest.approx(1.2)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"measurements": {"a card": 1.1}}', '{"measurements": 3}', "\xff"])
def test_a_damaged_file_is_none_and_is_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / "calibration.json").write_bytes(text.encode("latin-1"))
    assert calibration.read(tmp_path).factor("a card") is None
    stored(tmp_path)
    assert calibration.read(tmp_path).factor("a card") == pytest.approx(1.1)


@pytest.mark.parametrize(("measured", "is_kept"), [(5, True), (20, True), (4.99, False), (20.1, False)])
def test_only_a_factor_that_a_machine_explains_is_kept(tmp_path: Path, measured: float, is_kept: bool) -> None:
    stored(tmp_path)
    if is_kept:
        stored(tmp_path, measured_bytes=round(measured * GIB))
        assert calibration.read(tmp_path).factor("a card") == pytest.approx(measured / 10)
        return
    with pytest.raises(SainetError, match=r"times predicted: outside of 0\.5 to 2"):
        stored(tmp_path, measured_bytes=round(measured * GIB))
    assert calibration.read(tmp_path).factor("a card") == pytest.approx(1.1)


def test_a_factor_edited_into_nonsense_is_not_used(tmp_path: Path) -> None:
    stored(tmp_path)
    file = tmp_path / "calibration.json"
    tree = json.loads(file.read_text())
    tree["measurements"]["a card"]["measured_bytes"] = 90 * GIB
    file.write_text(json.dumps(tree))
    assert calibration.read(tmp_path).factor("a card") is None


def test_a_key_names_the_device_and_its_pytorch() -> None:
    torch = version("torch")
    assert calibration.key("cuda", "NVIDIA A10G") == f"NVIDIA A10G, torch {torch}"
    assert calibration.key("cpu", "NVIDIA A10G") == calibration.key("cpu") == f"cpu, torch {torch}"
    assert calibration.key("cuda") is None  # planned for a card that is not here


def test_a_full_disk_is_told_and_leaves_what_was_there(small_disk: DiskMaker) -> None:
    disk = small_disk("64k")
    stored(disk)
    (disk / "filler").write_bytes(b"x" * (shutil.disk_usage(disk).free - 4096))
    with pytest.raises(StorageError, match="no space left"):
        stored(disk, "another card", configuration="x" * 20_000)
    assert calibration.read(disk).factor("a card") == pytest.approx(1.1)
