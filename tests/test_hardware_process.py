"""Process groups, with real processes: grandchildren, stubborn ones, zombies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sainet.errors import SainetError
from sainet.hardware import process
from sainet.hardware.process import end_group, group_members, process_started_s

# Each prints a line once everything is in place.
FAMILY = """
import subprocess, sys, time
child = "import subprocess, time; subprocess.Popen(['sleep', '60']); print('ready', flush=True); time.sleep(60)"
subprocess.Popen([sys.executable, "-S", "-c", child])
time.sleep(60)
"""
STUBBORN = """
import signal, subprocess, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen(["sleep", "60"])
print("ready", flush=True)
time.sleep(60)
"""
LEADER_EXITS_FIRST = """
import subprocess
subprocess.Popen(["sleep", "60"])
print("ready", flush=True)
"""
MAIN_THREAD_EXITS = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
print("ready", flush=True)
ctypes.CDLL(None).pthread_exit(None)
"""


@pytest.fixture
def start() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start a script as the leader of a group of its own; whatever is left is killed afterwards."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-S", "-c", code]
        leader = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, text=True)
        started.append(leader)
        assert leader.stdout is not None
        assert leader.stdout.readline() == "ready\n"
        return leader

    yield start
    for leader in started:
        if group_members(leader.pid):
            os.killpg(leader.pid, signal.SIGKILL)
        leader.communicate()


def wait_for_zombie(pid: int) -> None:
    deadline = time.monotonic() + 5
    while b") Z " not in Path(f"/proc/{pid}/stat").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_grandchildren_are_members_and_other_processes_are_not(start: Callable[[str], subprocess.Popen[str]]) -> None:
    leader = start(FAMILY)
    members = group_members(leader.pid)
    assert len(members) == 3
    assert leader.pid in members
    assert os.getpid() not in members
    assert os.getpid() in group_members(os.getpgrp())


def test_the_whole_group_ends_on_sigterm_without_waiting_for_the_grace(
    start: Callable[[str], subprocess.Popen[str]],
) -> None:
    leader = start(FAMILY)
    before = time.monotonic()
    end_group(leader.pid, grace_s=30)
    assert time.monotonic() - before < 10
    assert group_members(leader.pid) == []
    assert leader.wait() == -signal.SIGTERM  # its status was left for us


def test_one_that_ignores_sigterm_is_killed_after_the_grace(start: Callable[[str], subprocess.Popen[str]]) -> None:
    leader = start(STUBBORN)
    before = time.monotonic()
    end_group(leader.pid, grace_s=0.4)
    assert time.monotonic() - before >= 0.4
    assert group_members(leader.pid) == []
    assert leader.wait() == -signal.SIGKILL


def test_orphans_are_ended_after_their_leader_is_gone(start: Callable[[str], subprocess.Popen[str]]) -> None:
    leader = start(LEADER_EXITS_FIRST)
    leader.wait()
    assert len(group_members(leader.pid)) == 1
    end_group(leader.pid, grace_s=5)
    assert group_members(leader.pid) == []


def test_a_group_that_is_gone_is_no_error(start: Callable[[str], subprocess.Popen[str]]) -> None:
    leader = start("print('ready', flush=True)")
    leader.wait()
    end_group(leader.pid, grace_s=5)


def test_a_zombie_is_neither_alive_nor_a_member(start: Callable[[str], subprocess.Popen[str]]) -> None:
    leader = start("print('ready', flush=True)")
    wait_for_zombie(leader.pid)
    assert group_members(leader.pid) == []
    assert process_started_s(leader.pid) is None
    end_group(leader.pid, grace_s=5)


def test_a_process_whose_first_thread_ended_still_holds_its_memory(
    start: Callable[[str], subprocess.Popen[str]],
) -> None:
    leader = start(MAIN_THREAD_EXITS)
    wait_for_zombie(leader.pid)
    assert group_members(leader.pid) == [leader.pid]
    end_group(leader.pid, grace_s=5)
    assert group_members(leader.pid) == []


@pytest.mark.parametrize("pgid", [-1, 0, 1])
def test_numbers_that_stand_for_other_groups_are_refused(pgid: int) -> None:
    with pytest.raises(ValueError, match="not ending"):
        end_group(pgid, grace_s=0)


def test_our_own_group_is_refused() -> None:
    with pytest.raises(ValueError, match="our own"):
        end_group(os.getpgrp(), grace_s=0)


def test_a_group_that_survives_sigkill_is_an_error_that_names_it(
    start: Callable[[str], subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only a kernel that hangs does that, so the list of members is what has to lie.
    leader = start(STUBBORN)
    monkeypatch.setattr(process, "group_members", lambda _pgid: [4711])
    monkeypatch.setattr(process, "_UNKILLABLE_AFTER_S", 0.1)
    with pytest.raises(SainetError, match="4711"):
        end_group(leader.pid, grace_s=0)


def test_start_times_tell_processes_apart(start: Callable[[str], subprocess.Popen[str]]) -> None:
    before = time.time()
    leader = start(STUBBORN)
    started = process_started_s(leader.pid)
    assert started is not None
    assert before - 2 <= started <= time.time() + 2
    assert process_started_s(leader.pid) == started
    leader.kill()
    leader.wait()
    assert process_started_s(leader.pid) is None
