"""How an attempt ended that did not finish its stage: the error it stands for, and where the next one goes on."""

from dataclasses import dataclass
from pathlib import Path

from sainet.errors import GuardStopError, Interrupted, SainetError, error_for_exit_code
from sainet.files import last_lines
from sainet.guard.diagnosis import first_error_line
from sainet.protocol import ProcessFailed
from sainet.state import Command, StageFolder, StageState

_ORDERED = GuardStopError.exit_code
_SIGKILL = 9
_LOG_LINES = 1000


@dataclass(frozen=True)
class Remains:
    """What an attempt has left to go on from, in words for people."""

    command: Command
    paths: StageFolder
    record: StageState

    @property
    def position(self) -> str | None:
        """Where the exact state stands; None where only whole epochs are kept."""
        at = self.record.goes_on_at if self.paths.has_checkpoint else None
        return None if at is None else at.text(self.record.epochs)

    def __str__(self) -> str:
        if self.position is not None:
            return f"it goes on at {self.position}"
        if self.paths.has_begun:
            return f"{self.record.epochs_done} epochs are kept" if self.record.epochs_done else "its state is kept"
        return "no epoch was finished"

    @property
    def how_to_resume(self) -> str:
        """A hint that follows these words, and so needs not name the place."""
        return self._again("from there")

    @property
    def where_to_resume(self) -> str:
        """A hint that names the place."""
        return self._again("from there" if self.position is None else f"at {self.position}")

    def _again(self, where: str) -> str:
        command = "the same command" + ("" if self.command == "full-workflow" else " --resume")
        return f"{command} goes on {where}" if self.paths.has_begun else f"{command} starts anew"


def stop_reason(signal_number: int, returncode: int) -> str:
    """Why an attempt ended whose supervisor was asked to stop by that signal."""
    name = "Ctrl-C" if signal_number == 2 else "SIGTERM"
    return f"asked to stop ({name})" + (" and had to be killed" if returncode == -_SIGKILL else "")


def failure(returncode: int, told: ProcessFailed | None, log: Path, remains: Remains) -> SainetError:
    """The training process ended by itself; `told` is what it said about that."""
    if told is not None:
        kind = error_for_exit_code(told.exit_code)
        return kind(told.message, where=told.where, hint=told.hint or f"the whole log: {log}")
    if returncode == _ORDERED:
        return GuardStopError("the training was ordered to stop", hint=remains.where_to_resume)
    if returncode in {143, -15}:
        return Interrupted(
            "somebody else asked the training process to stop (SIGTERM)",
            signal_number=15,
            hint=remains.where_to_resume,
        )
    if returncode < 0:
        return SainetError(
            f"the training process was killed by signal {-returncode}"
            + (" (SIGKILL: often the kernel, out of memory)" if returncode == -_SIGKILL else ""),
            hint=f"{remains.where_to_resume}; the log: {log}",
        )
    said = first_error_line(last_lines(log, _LOG_LINES)) or "it said nothing"
    return SainetError(f"the training process ended with {returncode}: {said}", hint=f"the whole log: {log}")
