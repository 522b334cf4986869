"""How long the command line takes to answer, as a ratio to importing its own libraries in the same run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from running import command, environment

_LIBRARIES = [sys.executable, "-c", "import typer, rich, yaml, pydantic"]
_ROUNDS = 7


@pytest.mark.alone
def test_help_takes_at_most_twice_and_a_dry_run_four_times_the_import_of_their_libraries(tmp_path: Path) -> None:
    dry_run = command("train", "--stage", "1", "--profile", "h200", "--dry-run")
    commands = {"libraries": _LIBRARIES, "help": command("--help"), "dry run": dry_run}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(_ROUNDS):  # in turns, so that a busy moment hits all of them
        for name, words in commands.items():
            times[name].append(_cpu_s(words, tmp_path))
    fastest = {name: min(values) for name, values in times.items()}
    assert fastest["help"] <= 2 * fastest["libraries"], fastest
    assert fastest["dry run"] <= 4 * fastest["libraries"], fastest


def _cpu_s(words: list[str], folder: Path) -> float:
    """User and system time of one command, seconds: of a single thread that waits for nothing it is what one waits,
    on a machine that has nothing else to do."""
    process = subprocess.Popen(
        words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
    )
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = 0  # it was waited for
    return used.ru_utime + used.ru_stime


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys, runpy; sys.argv = ['sainet', '--help']\n"
        "try: runpy.run_module('sainet', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'ultralytics', 'cv2', 'numpy', 'PIL', 'pydantic', 'yaml', 'psutil', 'pynvml'}\n"
        "print('HEAVY', sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment())
    assert "full-workflow" in done.stdout
    assert done.stdout.rstrip().endswith("HEAVY []")
