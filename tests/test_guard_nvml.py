"""The ladder for VRAM over the real pynvml and a scripted card: a ramp, a step, saw-teeth and a stranger."""

import shutil
import subprocess
import sys

import pytest
from conftest import PROJECT

STEPS = {
    "ramp": "release vram (soft); micro-batch: micro_batch 1 -> 2 (hard)",
    "step": "micro-batch: micro_batch 1 -> 2 (hard)",
    "saw-tooth": "nothing",
    "stranger": "micro-batch: micro_batch 1 -> 2 (hard); stop (hard)",
}


@pytest.mark.skipif(not (shutil.which("cc") or shutil.which("gcc")), reason="no C compiler here")
def test_a_scripted_card_leads_down_the_ladder_as_far_as_it_has_to() -> None:
    words = [sys.executable, "-m", "benchmarks.guard.nvml"]
    result = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    lines = dict(line.split(" as designed: ", 1) for line in result.stdout.splitlines())
    assert lines.keys() == {name.ljust(10).rstrip().ljust(10) for name in STEPS}
    for name, steps in STEPS.items():
        assert lines[name.ljust(10)].startswith(steps), result.stdout
