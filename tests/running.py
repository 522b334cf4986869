"""Driving the real command line in real processes, as a user or a killer would."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from sainet.files import replace_text
from sainet.protocol import Event, Orders, StageStarted, read_events
from sainet.state import RunFolder

SMALL = [
    *("--profile", "cpu", "--weights", "yolov8n.yaml", "--imgsz", "64", "--batch", "8"),
    *("--set", "train.plots=false"),
]
"""Options that let a stage train in seconds."""

WORKER = "sainet.engine.worker"


def sainet(*arguments: str | Path, cwd: Path, timeout_s: float = 240) -> "subprocess.CompletedProcess[str]":
    """Run `python -m sainet` to its end."""
    return subprocess.run(
        command(*arguments), cwd=cwd, capture_output=True, text=True, timeout=timeout_s, env=environment()
    )


def spawn(*arguments: str | Path, cwd: Path) -> "subprocess.Popen[str]":
    """Start `python -m sainet` in a session of its own, as a terminal would."""
    return subprocess.Popen(
        command(*arguments),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
        start_new_session=True,
    )


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "sainet", *map(str, arguments)]


def environment() -> dict[str, str]:
    """Ours, without any configuration of the person who runs the tests."""
    return {key: value for key, value in os.environ.items() if not key.startswith("SAINET_")}


def wait_for(
    folder: RunFolder, wanted: Callable[[Event], bool], process: "subprocess.Popen[str]", *, timeout_s: float = 90
) -> Event:
    """The first event, old or new, that is wanted; fails when the process ends before or the time is over."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        found = next((event for event in read_events(folder.events) if wanted(event)), None)
        if found is not None:
            return found
        if process.poll() is not None:
            raise AssertionError(f"ended with {process.returncode}:\n{process.communicate()[0]}")
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"not seen within {timeout_s} s:\n{process.communicate()[0]}")


def order(
    folder: RunFolder,
    process: "subprocess.Popen[str]",
    *,
    attempt: int,
    at: tuple[int, int],
    checkpoint: bool = False,
    stop: bool = False,
) -> None:
    """Give the first order of an attempt of stage 1, as soon as its training process has been started."""
    wait_for(folder, lambda event: isinstance(event, StageStarted) and event.attempt == attempt, process)
    asked = Orders(number=1, at=at, checkpoint=checkpoint, stop=stop)
    replace_text(folder.stage(1).orders(attempt), asked.model_dump_json())


def training_pid(folder: RunFolder) -> int:
    """The training process that was started last."""
    return [event.pid for event in read_events(folder.events) if isinstance(event, StageStarted)][-1]


def workers_below(folder: RunFolder) -> list[int]:
    """Training processes of this run that are alive, whoever their parent is."""
    alive = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = process.info["cmdline"] or []
        is_ours = WORKER in line and any(str(folder.root) in word for word in line)
        if is_ours and process.info["status"] != psutil.STATUS_ZOMBIE:
            alive.append(process.pid)
    return alive


def wait_until_alone(folder: RunFolder, *, timeout_s: float = 15) -> None:
    """Until no training process of this run is left."""
    deadline_s = time.monotonic() + timeout_s
    while workers_below(folder):
        assert time.monotonic() < deadline_s, f"still alive: {workers_below(folder)}"
        time.sleep(0.1)


def interrupt(process: "subprocess.Popen[str]") -> None:
    """Ctrl-C reaches the whole foreground group of a terminal, which the training process is not part of."""
    os.killpg(process.pid, signal.SIGINT)
