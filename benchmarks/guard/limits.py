#!/usr/bin/env python3
"""Commands that get too little memory: a control group with a limit around them, or a small /dev/shm of their own.

    python -m benchmarks.guard.limits [--ram-mib 900] [--shm-mib 64] [--timeout-s 600] COMMAND...

Prints how the command ended, how many processes the kernel killed in it, and the most that it took. In Python:

    with memory_group(900 * MIB) as group:
        process = subprocess.Popen(group.inside([...]))
        ...
    print(group.oom_kills, group.peak_bytes)        # still there when the group is gone

    subprocess.run(with_small_shm([...], 64 * MIB))

    with small_disk(folder, 64 * MIB): ...

The group is a child of the one that this process is in (cgroup v1 or v2), which takes root or a group that was handed
over to us; nothing in it outlives the block. The small /dev/shm is a mount of the command's own, the small disk is one
that everybody sees; both take root. All raise `Unavailable` with the reason where they cannot be had.
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from sainet.hardware.ram import Cgroup, own_cgroups

MIB = 2**20
PROJECT = Path(__file__).resolve().parents[2]
_EMPTY_WITHIN_S = 20.0
_LOOK_EVERY_S = 0.02


class Unavailable(Exception):  # noqa: N818 - a reason to skip, not an error
    """This machine, or its owner, does not allow it; the text says why."""


@dataclass(frozen=True)
class _Files:
    """What a cgroup version calls what we need."""

    limits: tuple[str, ...]
    usage: str
    kills: str
    given_back: tuple[str, ...]
    unwritten: tuple[str, ...]


_FILES = {
    1: _Files(
        ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
        "memory.usage_in_bytes",
        "memory.oom_control",
        ("active_file", "inactive_file"),
        ("dirty", "writeback"),
    ),
    2: _Files(
        ("memory.max",),
        "memory.current",
        "memory.events",
        ("active_file", "inactive_file"),
        ("file_dirty", "file_writeback"),
    ),
}


@dataclass
class MemoryGroup:
    """A control group for commands. `oom_kills` and `peak_bytes` are of now, and final once it is gone.

    The peak is that of the working set, looked at again and again: the kernel's own figure counts page cache too.
    """

    group: Cgroup
    oom_kills: int = field(default=0, init=False)
    peak_bytes: int = field(default=0, init=False)

    def inside(self, words: Sequence[str | Path]) -> list[str]:
        """The command that runs `words` in this group, in the same process."""
        script = 'echo $$ > "$0" && exec "$@"'
        return ["sh", "-c", script, str(self.group.folder / "cgroup.procs"), *map(str, words)]

    def look(self) -> int:
        """The working set, bytes; notes the peak and the kills."""
        files = _FILES[self.group.version]
        stat = _numbers(self.group.read("memory.stat"))
        cache = sum(stat.get(name, 0) for name in files.given_back) - sum(stat.get(name, 0) for name in files.unwritten)
        now = max(0, (self.group.read_bytes(files.usage) or 0) - max(0, cache))
        self.peak_bytes = max(self.peak_bytes, now)
        self.oom_kills = max(self.oom_kills, _numbers(self.group.read(files.kills)).get("oom_kill", 0))
        return now

    def pids(self) -> list[int]:
        return [int(word) for word in (self.group.read("cgroup.procs") or "").split()]

    def limit(self, limit_bytes: int) -> None:
        """Raises OSError where the kernel refuses."""
        for name in _FILES[self.group.version].limits:
            path = self.group.folder / name
            if path.exists() or "memsw" not in name:  # without it, swap is not accounted for
                path.write_text(str(limit_bytes))
        with suppress(OSError):
            (self.group.folder / "memory.swap.max").write_text("0")

    def close(self) -> None:
        """Kill whoever is left in it, and remove it. Raises RuntimeError when somebody does not go."""
        self.look()
        deadline_s = time.monotonic() + _EMPTY_WITHIN_S
        while self.group.folder.exists():
            for pid in self.pids():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with suppress(OSError):
                self.group.folder.rmdir()
                return
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"processes {self.pids()} in {self.group.name} do not end")
            time.sleep(_LOOK_EVERY_S)


@contextmanager
def memory_group(limit_bytes: int | None = None) -> Iterator[MemoryGroup]:
    """A group with a limit, or with none, to find out what a command takes. Raises `Unavailable`."""
    group, done = _new_group(), threading.Event()

    def watch() -> None:
        while not done.wait(_LOOK_EVERY_S):
            group.look()

    watcher = threading.Thread(target=watch, daemon=True)
    try:
        if limit_bytes is not None:
            _limit(group, limit_bytes)
        watcher.start()
        yield group
    finally:
        done.set()
        group.close()


def _limit(group: MemoryGroup, limit_bytes: int) -> None:
    try:
        group.limit(limit_bytes)
    except OSError as error:
        raise Unavailable(f"the kernel takes no limit of {limit_bytes} B: {error}") from error


def _new_group() -> MemoryGroup:
    own = next(iter(own_cgroups("memory")), None)
    if own is None:
        raise Unavailable("this process is in no control group for memory")
    folder = own.folder / f"limited-{os.getpid()}-{time.monotonic_ns()}"
    with suppress(OSError):  # v2 hands controllers down only where it is told to
        (own.folder / "cgroup.subtree_control").write_text("+memory")
    try:
        folder.mkdir()
    except OSError as error:
        raise Unavailable(f"no control group can be made here: {error}") from error
    made = MemoryGroup(Cgroup(own.version, folder, f"{own.name}/{folder.name}"))
    if not (folder / _FILES[own.version].limits[0]).exists():
        folder.rmdir()
        raise Unavailable(f"control groups below {own.name} cannot limit memory")
    return made


def with_small_shm(words: Sequence[str | Path], size_bytes: int) -> list[str]:
    """The command that runs `words` with an empty /dev/shm of that size, which nobody else sees.

    Raises `Unavailable` where that may not be mounted.
    """
    wrapped = _mounted(words, size_bytes)
    try:
        probe = subprocess.run(_mounted(["true"], size_bytes), capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise Unavailable(f"no {error.filename} here") from error
    if probe.returncode:
        raise Unavailable(f"no /dev/shm of its own for a command: {probe.stderr.strip()}")
    return wrapped


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """A file system of that size, empty, at `folder`, which must be there. Raises `Unavailable`."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
    try:
        made = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise Unavailable(f"no {error.filename} here") from error
    if made.returncode:
        raise Unavailable(f"no file system may be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _mounted(words: Sequence[str | Path], size_bytes: int) -> list[str]:
    script = 'mount -t tmpfs -o "size=$0" tmpfs /dev/shm && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, str(size_bytes), *map(str, words)]


def _numbers(text: str | None) -> dict[str, int]:
    pairs = (line.split() for line in (text or "").splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


# --- running a command to its end


@dataclass(frozen=True)
class Ended:
    """How a command ended. `code` is negative for a signal, None when it had to be killed after its time was over."""

    code: int | None
    seconds: float
    oom_kills: int | None = None
    peak_bytes: int | None = None
    """Both None where it ran in no group of its own."""

    def __str__(self) -> str:
        how = "still there" if self.code is None else f"exit {128 - self.code if self.code < 0 else self.code}"
        text = f"{how} after {self.seconds:.0f} s"
        if self.peak_bytes is None:
            return text
        killed = f", {self.oom_kills} killed by the kernel" if self.oom_kills else ""
        return f"{text}{killed}, {self.peak_bytes / MIB:.0f} MiB at most"


def run(
    words: Sequence[str | Path],
    log: Path | None,
    *,
    limit_bytes: int | None = None,
    shm_bytes: int | None = None,
    timeout_s: float = 600.0,
    env: Mapping[str, str] | None = None,
) -> Ended:
    """Run a command in the project's folder, its output into `log` or ours, and end all that it leaves behind.

    Raises `Unavailable` where the limits cannot be had.
    """
    began_s = time.monotonic()
    with ExitStack() as stack:
        group = _group_for(limit_bytes, stack)
        command = list(map(str, words)) if shm_bytes is None else with_small_shm(words, shm_bytes)
        process = started(command if group is None else group.inside(command), log, env)
        stack.callback(_end, process)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout_s)
        code, seconds = process.returncode, time.monotonic() - began_s
    return Ended(code, seconds) if group is None else Ended(code, seconds, group.oom_kills, group.peak_bytes)


def _group_for(limit_bytes: int | None, stack: ExitStack) -> MemoryGroup | None:
    """None where there is nothing to limit, and no group to be had."""
    try:
        return stack.enter_context(memory_group(limit_bytes))
    except Unavailable:
        if limit_bytes is not None:
            raise
        return None


def _end(process: "subprocess.Popen[bytes]") -> None:
    """It, and those that it leads."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def started(words: Sequence[str], log: Path | None, env: Mapping[str, str] | None = None) -> "subprocess.Popen[bytes]":
    """A command in the project's folder and a session of its own, its output in `log` or ours; `env` goes over ours."""
    with ExitStack() as stack:
        stream = None if log is None else stack.enter_context(log.open("wb"))
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=None if stream is None else subprocess.STDOUT,
            cwd=PROJECT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            start_new_session=True,
        )


def unwind_on_sigterm() -> None:
    """SIGTERM ends this process as Ctrl-C does: what the blocks hold is cleaned up on the way out."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)


def main() -> None:
    unwind_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ram-mib", type=int)
    parser.add_argument("--shm-mib", type=int)
    parser.add_argument("--timeout-s", type=float, default=600.0)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    limits = [None if mib is None else mib * MIB for mib in (options.ram_mib, options.shm_mib)]
    try:
        ended = run(
            options.command,
            None,
            limit_bytes=limits[0],
            shm_bytes=limits[1],
            timeout_s=options.timeout_s,
        )
    except Unavailable as reason:
        sys.exit(f"skipped: {reason}")
    print(ended, file=sys.stderr)
    sys.exit(128 + signal.SIGKILL if ended.code is None else ended.code % 256)


if __name__ == "__main__":
    main()
