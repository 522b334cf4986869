"""The budget of RAM and /dev/shm against real loaders that read real images: three cases of benchmarks/memory."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT

WITHIN_SHM, WITHIN_RAM = 5.0, 10.0
"""Percent."""


@pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="no smaps_rollup here: not Linux, or before 4.14"
)
def test_real_loaders_take_what_the_budget_says(shared_data: Path) -> None:
    data = shared_data / "fire-smoke" / "data.yaml"
    words = [sys.executable, "-m", "benchmarks.memory.loader_memory", str(data), "--quick", "--rows"]
    result = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stderr
    cases = re.findall(r"^(?:sainet|stock) \d.* ([+-]\d+\.\d)% .* ([+-]\d+\.\d)%$", result.stdout, re.MULTILINE)
    assert len(cases) == 3, result.stdout
    for shm, ram in cases:
        assert abs(float(shm)) <= WITHIN_SHM, result.stdout
        assert abs(float(ram)) <= WITHIN_RAM, result.stdout
