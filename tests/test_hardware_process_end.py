"""Waiting for the end of a process."""

import os
import subprocess
import time

import pytest

from sainet.hardware.process_end import waiting_for_end


@pytest.mark.parametrize("has_descriptors", [True, False])
def test_it_returns_when_the_process_ends_and_leaves_its_status_to_the_caller(
    has_descriptors: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_descriptors:

        def refused(_pid: int) -> int:
            raise OSError("not here")

        monkeypatch.setattr(os, "pidfd_open", refused)
    process = subprocess.Popen(["sh", "-c", "sleep 0.3; exit 7"])
    began_s, looks = time.monotonic(), 0
    with waiting_for_end(process.pid) as end:
        while process.poll() is None:
            end.wait(30.0)
            looks += 1
    assert time.monotonic() - began_s < 10
    assert process.returncode == 7
    assert looks <= 2 if has_descriptors else looks > 1


def test_it_waits_no_longer_than_asked() -> None:
    process = subprocess.Popen(["sleep", "30"])
    try:
        with waiting_for_end(process.pid) as end:
            began_s = time.monotonic()
            end.wait(0.2)
            assert 0.15 < time.monotonic() - began_s < 10
            assert process.poll() is None
    finally:
        process.kill()
        process.wait()
