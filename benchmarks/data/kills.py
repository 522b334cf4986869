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


def run(command: Sequence[str]) -> None:
    """Run a command to its end. Ends this process when it fails."""
    process = _started(command)
    _, told = process.communicate()
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{told.decode()}")


def strike(command: Sequence[str], journal: Path, parts: int, then_s: float) -> bool:
    """Kill a command and all its children `then_s` seconds after so many parts are in its journal.

    False when it had ended by then.
    """
    process = _started(command)
    while _parts(journal) < parts and process.poll() is None:
        time.sleep(_LOOK_S)
    try:
        process.wait(then_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True
    process.communicate()
    return False


def tree(root: Path) -> dict[str, str]:
    """A hash of every file below a folder."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _started(command: Sequence[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


def _parts(journal: Path) -> int:
    """How many parts a journal has, and -1 before it has a beginning."""
    try:
        return journal.read_bytes().count(b"\n") - 1
    except FileNotFoundError:
        return -1
