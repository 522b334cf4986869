"""Starting the training process: its command, its environment, its own process group."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


def command(plan: Path) -> list[str]:
    """What is run for one attempt."""
    return [sys.executable, "-m", "sainet.engine.worker", str(plan)]


def environment(base: Mapping[str, str], profile_env: Mapping[str, str]) -> dict[str, str]:
    """The surroundings of the training process: ours, and over them the profile's `env`.

    PYTHONSAFEPATH: a folder `ultralytics` or `torch` in the user's working directory is not what we train with.
    """
    return {**base, "PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1", **profile_env}


def start(plan: Path, log: Path, profile_env: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """Start the training in a process group of its own, so that signals reach it only from here.

    Its output goes to `log`.
    """
    with log.open("ab") as stream:
        return subprocess.Popen(
            command(plan),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment(os.environ, profile_env),
            start_new_session=True,
        )
