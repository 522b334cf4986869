"""Every error that sainet raises on purpose, with the exit code that scripts can trust.

    SainetError               1   the training failed for a reason of its own
    ├── UsageError            2   the command line, or a file named on it, is wrong
    │   ├── ConfigError       2   one or more problems in the configuration, all reported at once
    │   ├── WeightsError      2   initial weights are missing, or are not a checkpoint
    │   ├── RunExistsError    2   a run of that name is there already
    │   └── RunLockedError    2   another process drives that run
    ├── RefusedError          3   refused before the start (a missing device, a setting that cannot be honoured)
    ├── GuardStopError        4   the guard stopped the run; a checkpoint was kept, resumable
    ├── DataError             5   a data YAML or its images are missing, empty or would be silently dropped
    ├── ExhaustedError        6   every rung or restart is used up
    ├── StorageError          7   disk full, or no checkpoint that verifies
    └── Interrupted         130   Ctrl-C (130) or SIGTERM (143); what was saved is resumable

0 means done, also for a finished run that is asked for again.

A message says what is wrong; `where` says where (``file:line`` or a dotted key); `hint` says what to do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

__all__ = [
    "ConfigError",
    "DataError",
    "ExhaustedError",
    "GuardStopError",
    "Interrupted",
    "Problem",
    "RefusedError",
    "RunExistsError",
    "RunLockedError",
    "SainetError",
    "StorageError",
    "UsageError",
    "WeightsError",
    "combined",
    "error_for_exit_code",
]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: what, where (``file:line``, a flag or a dotted key) and what to do about it."""

    message: str
    where: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\n  hint: {self.hint}" if self.hint else text


class SainetError(Exception):
    """Base of all errors that are part of the product: one or more problems, and an exit code."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.problems: tuple[Problem, ...] = (Problem(message, where, hint),)
        super().__init__(str(self.problems[0]))

    @property
    def message(self) -> str:
        return self.problems[0].message

    @property
    def hint(self) -> str | None:
        return self.problems[0].hint

    @property
    def code(self) -> int:
        """The exit code of this very error (`Interrupted` has two)."""
        return self.exit_code


class UsageError(SainetError):
    """The command line asks for something that cannot be."""

    exit_code = 2


class ConfigError(UsageError):
    """Problems in the configuration; all of them, so that the user mends the file once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        if not problems:
            raise ValueError("a ConfigError needs at least one problem")
        super().__init__(problems[0].message, where=problems[0].where, hint=problems[0].hint)
        self.problems = tuple(problems)
        self.args = ("\n".join(str(problem) for problem in problems),)


class WeightsError(UsageError):
    """Initial weights are missing, or are not what their name promises."""


class RunExistsError(UsageError):
    """A run of that name is there already and was not asked to go on."""


class RunLockedError(UsageError):
    """Another process drives that run at this moment."""


class RefusedError(SainetError):
    """Refused before anything started."""

    exit_code = 3


class GuardStopError(SainetError):
    """The guard stopped the run before memory ran out; it can be resumed."""

    exit_code = 4


class DataError(SainetError):
    """The data cannot be trained on as they are."""

    exit_code = 5


class ExhaustedError(SainetError):
    """Every rung of the ladder, or every restart, is used up."""

    exit_code = 6


class StorageError(SainetError):
    """A disk is full, or nothing that was saved verifies."""

    exit_code = 7


class Interrupted(SainetError):  # noqa: N818 - an interruption is not an error of anybody's
    """The user or the machine's owner asked the run to stop (SIGINT: 130, SIGTERM: 143)."""

    exit_code = 130

    def __init__(self, message: str, *, signal_number: int = 2, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.signal_number = signal_number

    @property
    def code(self) -> int:
        return 128 + self.signal_number


def combined(errors: Sequence[SainetError]) -> SainetError:
    """The first error, which decides the exit code, with the problems of all of them."""
    first, *others = errors
    if others:
        first.problems = tuple(dict.fromkeys(problem for error in errors for problem in error.problems))
    return first


_BY_CODE: dict[int, type[SainetError]] = {
    2: UsageError,
    3: RefusedError,
    4: GuardStopError,
    5: DataError,
    6: ExhaustedError,
    7: StorageError,
}


def error_for_exit_code(code: int) -> type[SainetError]:
    """The class that stands for an exit code another process ended with; `SainetError` for any other code."""
    return _BY_CODE.get(code, SainetError)
