"""Killing a command at a moment, and telling whether what it left in the end is what an undisturbed one leaves."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

__all__ = ["SAINET", "run", "strike", "tree"]

SAINET = (sys.executable, "-m", "sainet")
_LOOK_S = 0.001


def run(command: Sequence[str], begins: Path) -> float:
    """Run a command to its end; seconds from when the file `begins` was there. Ends this process when it fails."""
    process = _started(command)
    began = _waited_for(begins, process)
    _, told = process.communicate()
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{told.decode()}")
    return time.perf_counter() - began


def strike(command: Sequence[str], begins: Path, after_s: float) -> bool:
    """Kill a command and all its children `after_s` seconds from when the file `begins` was there.

    False when it had ended by then.
    """
    process = _started(command)
    _waited_for(begins, process)
    time.sleep(after_s)
    struck = process.poll() is None
    os.killpg(process.pid, signal.SIGKILL) if struck else None
    process.communicate()
    return struck


def tree(root: Path) -> dict[str, str]:
    """A hash of every file below a folder."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _started(command: Sequence[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


def _waited_for(begins: Path, process: "subprocess.Popen[bytes]") -> float:
    while not begins.exists() and process.poll() is None:
        time.sleep(_LOOK_S)
    return time.perf_counter()
