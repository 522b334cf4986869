"""Where words go: data on stdout, everything else on stderr.

rich is imported when something is printed, not when `sainet --help` starts.
"""

import errno
import json
import os
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sainet.errors import Problem, SainetError, StorageError

if TYPE_CHECKING:
    from rich.console import Console


def stdout() -> "Console":
    """For data: tables that people read. NO_COLOR is honoured by rich; a pipe gets plain text of full width."""
    return _console(sys.stdout)


def stderr() -> "Console":
    """For everything that is not data: progress, warnings, errors."""
    return _console(sys.stderr)


def _console(stream: Any) -> "Console":
    from rich.console import Console

    # Piped output has no width: tables must not be cut to 80 columns there.
    return Console(file=stream, highlight=False, width=None if stream.isatty() else 200)


class Forgiving:
    """A stream whose reader may go away (a closed terminal, a pipe): the work goes on unseen.

    Where `must_arrive`, what cannot be written for another reason, as to a full disk, is a `StorageError`.
    """

    def __init__(self, stream: Any, *, must_arrive: bool = False) -> None:
        self._stream = stream or _nowhere()
        self._must_arrive = must_arrive

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return int(self._stream.write(text))
        except UnicodeEncodeError:  # an old terminal's encoding
            return int(self._stream.write(text.encode("ascii", "replace").decode()))
        except (OSError, ValueError) as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._give_up(error)

    def _give_up(self, error: OSError | ValueError) -> None:
        self._stream = _nowhere()
        if self._must_arrive and isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageError("no space left for what goes to stdout") from error


def forgive() -> None:
    """From now on a reader of stdout or stderr that goes away cannot end a training.

    Data, which training prints when all is done, must not be lost to a full disk in silence.
    """
    sys.stdout, sys.stderr = Forgiving(sys.stdout, must_arrive=True), Forgiving(sys.stderr)


def _nowhere() -> Any:
    return Path(os.devnull).open("w", encoding="utf-8")


def print_json(value: Any) -> None:
    """One JSON value on stdout."""
    json.dump(value, sys.stdout, indent=2, default=str)
    sys.stdout.write("\n")


def print_columns(rows: Iterable[list[str]], *, right: Collection[int]) -> None:
    """Aligned columns on stdout, those in `right` to the right, two blanks in front and between.

    The last one is as long as it is. For what must not wait until rich is imported.
    """
    table = list(rows)
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        cells = [
            text.rjust(w) if i in right else text.ljust(w) for i, (text, w) in enumerate(zip(row, widths, strict=True))
        ]
        print(f"  {'  '.join(cells)}".rstrip())


def note(text: str) -> None:
    """A line for people on stderr, printed as it is."""
    print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """A warning on stderr."""
    _labelled("warning", "yellow", text)


def print_error(error: SainetError) -> None:
    """Every problem of `error`: what, where, and the hint."""
    for problem in error.problems:
        _print_problem(problem)


def _print_problem(problem: Problem) -> None:
    where = f"{problem.where}: " if problem.where else ""
    _labelled("error", "red", f"{where}{problem.message}")
    if problem.hint:
        _labelled("hint", "cyan", problem.hint, indent="  ")


def _labelled(label: str, colour: str, text: str, indent: str = "") -> None:
    """Without rich: most commands have nothing else to print with it, and it takes a while to import."""
    import typer

    head = typer.style(f"{label}:", fg=colour, bold=colour == "red") if _takes_colours(sys.stderr) else f"{label}:"
    print(f"{indent}{head} {text}", file=sys.stderr, flush=True)


def _takes_colours(stream: Any) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
